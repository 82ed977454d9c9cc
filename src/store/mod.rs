//! Errors of token stores, the in-memory store, and the rules of stores as functions.

#[cfg(feature = "test-util")]
pub mod conformance;
mod error;
pub(crate) mod memory;
pub(crate) mod token;

pub use error::{StoreError, StoreErrorKind};
pub(crate) use token::{DynTokenStore, TokenStore};
