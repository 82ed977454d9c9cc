//! Where the lookup table is kept.

mod error;
mod memory;
#[cfg(feature = "sqlite")]
mod sqlite;
mod token;

pub use error::{StoreError, StoreErrorKind};
pub use memory::MemoryTokenStore;
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteTokenStore, SqliteTokenStoreOptions};
pub(crate) use token::DynTokenStore;
pub use token::TokenStore;
