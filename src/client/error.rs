use std::error::Error;
use std::fmt;
use std::time::Duration;

/// A call that did not do what it was for. [`ClientError::kind`] says why in a form to match on,
/// the message what to do about it. Neither holds a secret.
#[derive(Debug)]
pub struct ClientError {
    kind: ClientErrorKind,
    detail: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientErrorKind {
    /// No connection to the service, or it broke.
    Unreachable,
    /// No answer within the call's time.
    TimedOut,
    /// The service does not accept the signature: wrong secret, or clocks too far apart.
    SignatureRefused,
    /// The service knows no such application, user or session.
    NotFound,
    /// The user has registered no phone.
    NoMobileDevice,
    /// The service declined, giving a reason.
    Declined,
    /// Too many calls; come back after this time if the service named one.
    RateLimited(Option<Duration>),
    /// The service answered with an error status.
    ServerError(u16),
    /// The answer makes no sense.
    NotUnderstood,
    /// A URL does not have the configured server's origin.
    WrongOrigin,
    /// The call could not be made as asked.
    Invalid,
}

impl ClientError {
    pub(crate) fn new(kind: ClientErrorKind) -> Self {
        Self { kind, detail: None, source: None }
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Why the call failed.
    #[must_use]
    pub fn kind(&self) -> ClientErrorKind {
        self.kind
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ClientErrorKind::Unreachable => {
                f.write_str("the service cannot be reached; check the server and the network")
            }
            ClientErrorKind::TimedOut => {
                f.write_str("the service did not answer in time; try again")
            }
            ClientErrorKind::SignatureRefused => f.write_str(
                "the service refused the signature; check the application's id and secret, the \
                 dialect, and this machine's clock",
            ),
            ClientErrorKind::NotFound => {
                f.write_str("the service knows no such application, user or session")
            }
            ClientErrorKind::NoMobileDevice => {
                f.write_str("the user has registered no phone; share a registration link with them")
            }
            ClientErrorKind::Declined => f.write_str("the service declined"),
            ClientErrorKind::RateLimited(Some(after)) => {
                write!(f, "too many calls; come back in {} s", after.as_secs())
            }
            ClientErrorKind::RateLimited(None) => f.write_str("too many calls; come back later"),
            ClientErrorKind::ServerError(status) => {
                write!(f, "the service answered with status {status}; try again later")
            }
            ClientErrorKind::NotUnderstood => f.write_str(
                "the service's answer was not understood; is the configured server Activeconnect?",
            ),
            ClientErrorKind::WrongOrigin => f.write_str(
                "the service named a URL that does not have the configured server's origin; \
                 nothing was sent there",
            ),
            ClientErrorKind::Invalid => f.write_str("the call cannot be made like this"),
        }?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
