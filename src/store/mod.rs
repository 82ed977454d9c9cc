//! Where the lookup table is kept.

mod error;
mod memory;
mod token;

pub use error::{StoreError, StoreErrorKind};
pub use memory::MemoryTokenStore;
pub(crate) use token::DynTokenStore;
pub use token::TokenStore;
