//! Login attempts: their errors and rate limits.

pub(crate) mod attempt_state;
#[cfg(test)]
pub(crate) mod attempt_state_tests;
pub(crate) mod attempts;
pub(crate) mod browser_epochs;
pub(crate) mod browser_proofs;
pub(crate) mod device;
pub(crate) mod login_limits;
pub(crate) mod login_state;
pub(crate) mod method_sets;
pub(crate) mod push_budget;
pub(crate) mod rate_window;
pub(crate) mod unknown_browsers;
pub(crate) mod username;

pub use attempts::LoginError;
pub use login_limits::LoginLimits;
pub use rate_window::RateLimit;
