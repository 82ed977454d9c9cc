//! Enrollment grants, registration links for phones, and their errors.

pub(crate) mod enrollment_error;
pub(crate) mod enrollment_state;
pub(crate) mod grants;
#[cfg(feature = "axum")]
pub(crate) mod pending_registrations;
pub(crate) mod sms_rate_limiter;

pub use crate::engine::{
    Authorization, MakeRegistrationLink, RegistrationLink, SendRegistrationSms,
};
pub use enrollment_error::{EnrollNewError, EnrollmentError};
pub use grants::EnrollmentGrant;
