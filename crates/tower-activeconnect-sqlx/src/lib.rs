//! Token stores of [`tower_activeconnect`] in SQL databases.
//!
//! `SqliteTokenStore` (feature `sqlite`) keeps the users' tokens in the same file as the application's
//! users table.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteTokenStore, SqliteTokenStoreOptions};
