//! Login attempts: their errors and rate limits.

pub(crate) mod attempt;
pub(crate) mod attempt_state;
#[cfg(test)]
pub(crate) mod attempt_state_tests;
pub(crate) mod attempts;
pub(crate) mod browser_epochs;
pub(crate) mod browser_proofs;
pub(crate) mod claimed_session;
pub(crate) mod device;
pub(crate) mod initiator;
pub(crate) mod login_error;
pub(crate) mod login_limits;
pub(crate) mod login_rate_limiter;
pub(crate) mod login_state;
pub(crate) mod method_sets;
pub(crate) mod push_budget;
pub(crate) mod rate_window;
pub(crate) mod start_attempt;
pub(crate) mod unknown_browsers;
pub(crate) mod username;

pub use login_error::LoginError;
pub use login_limits::LoginLimits;
pub use rate_window::RateLimit;
