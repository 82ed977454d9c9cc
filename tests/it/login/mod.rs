//! Logins: attempts, claims, credentials, limits.

mod aliases;
mod claims;
mod fixture;
mod floods;
mod known_browsers;
#[cfg(feature = "sqlite")]
mod locked_store;
mod refused_starts;
mod runtime;
mod spellings;
mod usernames;
