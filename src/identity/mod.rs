//! User ids, user tokens and session credentials.

#[cfg(feature = "layer")]
mod attempt_credential;
mod session_credential;
pub(crate) mod user;

pub use crate::rng_error::RngError;
#[cfg(feature = "layer")]
pub(crate) use attempt_credential::{AttemptCredential, AttemptKey};
pub use session_credential::{SessionCredential, SessionKey};
pub use user::InvalidUserTokenError;
#[cfg(feature = "layer")]
pub(crate) use user::{UserId, UserToken};
