//! Logins: attempts, claims, credentials, limits.

mod aliases;
mod allowed_origins;
mod attempts;
mod claims;
mod edge_cases;
mod events;
mod fixture;
mod floods;
mod flow;
mod known_browsers;
mod locked_store;
mod login_page;
mod login_rate_limits;
mod next_page;
mod owner;
mod persistent_cookie;
mod push_fatigue;
mod redirect_target;
mod rejected_starts;
mod repeated_logins;
mod runtime;
mod spellings;
mod step_up;
mod user_sessions;
mod usernames;
