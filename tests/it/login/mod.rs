//! Logins: attempts, claims, credentials, limits.

mod aliases;
mod allowed_origins;
mod claims;
mod events;
mod fixture;
mod floods;
mod known_browsers;
#[cfg(feature = "sqlite")]
mod locked_store;
mod login_page;
mod next_page;
mod owner;
mod persistent_cookie;
mod push_fatigue;
mod refused_starts;
mod repeated;
mod runtime;
mod spellings;
mod usernames;
