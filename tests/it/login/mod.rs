//! Logins: attempts, claims, credentials, limits.

mod fixture;
mod usernames;
