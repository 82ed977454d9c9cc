//! The lookup table of [`tower_activeconnect`] in SQL databases: which user has which token.
//!
//! `SqliteTokenStore` (feature `sqlite`) keeps it in a file beside the application's own users table.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteTokenStore, SqliteTokenStoreOptions};
