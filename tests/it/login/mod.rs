//! Logins: attempts, claims, credentials, limits.

mod claims;
mod fixture;
#[cfg(feature = "sqlite")]
mod locked_store;
mod runtime;
mod usernames;
