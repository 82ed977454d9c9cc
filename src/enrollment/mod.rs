//! Grants and registrations of phones.

pub(crate) mod enrollment_error;
pub(crate) mod enrollment_state;
pub(crate) mod grants;
#[cfg(feature = "axum")]
pub(crate) mod pending_registrations;
pub(crate) mod sms_rate_limiter;
