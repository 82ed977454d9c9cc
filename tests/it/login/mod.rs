//! Logins: attempts, claims, credentials, limits.

mod fixture;
#[cfg(feature = "sqlite")]
mod locked_store;
mod runtime;
mod usernames;
