//! Errors of token stores, and the in-memory store.

mod error;
pub(crate) mod memory;
pub(crate) mod token;

pub use error::{StoreError, StoreErrorKind};
pub(crate) use token::{DynTokenStore, TokenStore};
