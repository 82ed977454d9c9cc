//! Why an enrollment came to nothing.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::client::ClientError;
use crate::store::StoreError;
use crate::verdict::Denial;

/// Why an enrollment call failed.
#[non_exhaustive]
pub enum EnrollmentError {
    /// The user has no token; enroll them first.
    NotEnrolled,
    /// The token store failed.
    Store(StoreError),
    /// The service did not do its part.
    Service(ClientError),
    /// The authorizing session does not allow now, or belongs to another engine.
    SessionDenied(Denial),
    /// The grant is unknown, used, withdrawn or older than ten minutes.
    InvalidGrant,
    /// The maximum number of grants is reached; try again in some minutes.
    TooManyGrants,
    /// Too many text messages: to this user, to this number, or in all. Try again after this time.
    TooManyMessages(Duration),
    /// The operating system has no randomness to give.
    Rng,
}

crate::error_debug::debug_as_message!(EnrollmentError);

impl fmt::Display for EnrollmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEnrolled => f.write_str("the user is not enrolled; call enroll first"),
            Self::Store(error) => error.fmt(f),
            Self::Service(error) => error.fmt(f),
            Self::SessionDenied(denial) => {
                write!(f, "the session does not vouch for the user: {denial}")
            }
            Self::InvalidGrant => {
                f.write_str("the enrollment grant is not valid, or no longer; make a new one")
            }
            Self::TooManyGrants => {
                f.write_str("too many enrollment grants wait; try again in some minutes")
            }
            Self::TooManyMessages(after) => {
                write!(f, "too many text messages; try again in {} s", after.as_secs().max(1))
            }
            Self::Rng => f.write_str("the operating system has no randomness to give"),
        }
    }
}

impl Error for EnrollmentError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // A message that is an inner error's own has that error's source.
        match self {
            Self::Store(error) => error.source(),
            Self::Service(error) => error.source(),
            Self::NotEnrolled
            | Self::SessionDenied(_)
            | Self::InvalidGrant
            | Self::TooManyGrants
            | Self::TooManyMessages(_)
            | Self::Rng => None,
        }
    }
}

impl From<StoreError> for EnrollmentError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ClientError> for EnrollmentError {
    fn from(error: ClientError) -> Self {
        Self::Service(error)
    }
}

/// Why [`Activeconnect::enroll_new`](crate::Activeconnect::enroll_new) failed; `E` is the error of the application's own part.
///
/// ```
/// use tower_activeconnect::enrollment::EnrollNewError;
/// use tower_activeconnect::{Activeconnect, UserId};
///
/// enum InsertError {
///     NameTaken,
///     Database,
/// }
///
/// async fn sign_up(ac: &Activeconnect, name: String) -> Result<UserId, String> {
///     let insert = async || Err(InsertError::NameTaken); // INSERT INTO users …
///     ac.enroll_new(insert).await.map_err(|error| match error {
///         EnrollNewError::Application(InsertError::NameTaken) => format!("{name} is taken"),
///         EnrollNewError::Application(InsertError::Database) => "try again later".to_owned(),
///         EnrollNewError::Enrollment(error) => error.to_string(),
///     })
/// }
/// ```
#[derive(Debug)]
pub enum EnrollNewError<E> {
    /// The application's own part failed.
    Application(E),
    /// The store or the service failed.
    Enrollment(EnrollmentError),
}

impl<E: fmt::Display> fmt::Display for EnrollNewError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Application(error) => error.fmt(f),
            Self::Enrollment(error) => error.fmt(f),
        }
    }
}

impl<E: Error + 'static> Error for EnrollNewError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Application(error) => error.source(),
            Self::Enrollment(error) => error.source(),
        }
    }
}

impl<E> From<EnrollmentError> for EnrollNewError<E> {
    fn from(error: EnrollmentError) -> Self {
        Self::Enrollment(error)
    }
}
