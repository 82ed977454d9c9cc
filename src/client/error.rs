use std::error::Error;
use std::fmt;
use std::time::Duration;

use url::Url;

/// A failed call. [`ClientError::kind`] has the cause in a form to match on; the message says what
/// to do. Neither holds a secret.
pub struct ClientError {
    kind: ClientErrorKind,
    detail: Option<String>,
    /// The origin of the server that was called.
    server: Option<Box<str>>,
    from_service: bool,
    retry_after: Option<Duration>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientErrorKind {
    /// No connection to the service, or it broke.
    Unreachable,
    /// No response within the call's time.
    TimedOut,
    /// The service could not prove its identity.
    Tls,
    /// No certificate authorities were found on this machine, so no server can prove its identity.
    NoCaCertificates,
    /// The service does not accept the signature.
    SignatureRejected,
    /// The service does not accept the signature, and its clock is this many seconds ahead of
    /// this machine's.
    ClockSkew(i64),
    /// The service knows no such application.
    UnknownApplication,
    /// The service knows no such user.
    UnknownUser,
    /// The service knows no such session.
    UnknownSession,
    /// The user has registered no phone.
    NoMobileDevice,
    /// The service declined; see [`ClientError::reason`].
    Rejected,
    /// Too many calls; try again after this time if the service named one.
    RateLimited(Option<Duration>),
    /// The service responded with an error status.
    ServerError(u16),
    /// The response is not understood.
    InvalidResponse,
    /// The service named a URL that does not have the configured server's origin, or is not below its
    /// path.
    OriginMismatch,
    /// The call cannot be made with these arguments.
    Invalid,
}

impl ClientError {
    pub(crate) fn new(kind: ClientErrorKind) -> Self {
        Self {
            kind,
            detail: None,
            server: None,
            from_service: false,
            retry_after: None,
            source: None,
        }
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The server of the call. The path is left out: those of sessions are secret.
    pub(crate) fn with_server(mut self, url: &Url) -> Self {
        self.server = Some(url.origin().ascii_serialization().into());
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The response is the service's own statement about a session, not that of an intermediary.
    pub(crate) fn with_upstream(mut self, is_json: bool) -> Self {
        self.from_service = is_json;
        self
    }

    /// The service requested this pause.
    pub(crate) fn with_retry_after(mut self, pause: Option<Duration>) -> Self {
        self.retry_after = pause;
        self
    }

    /// The pause that the service requested, by `Retry-After` of a 429 or a 5xx: 1 s to 5 min,
    /// whatever it said.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the service itself, in JSON, does not know the session or rejects its signature. A
    /// single rejection can be a temporary mistake; it does not end a session.
    #[cfg(feature = "layer")]
    pub(crate) fn is_session_rejection(&self) -> bool {
        self.from_service
            && matches!(
                self.kind,
                ClientErrorKind::SignatureRejected
                    | ClientErrorKind::ClockSkew(_)
                    | ClientErrorKind::UnknownSession
            )
    }

    /// The reason that the service gave for declining: at most 64 characters, none of them
    /// control characters.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.detail.as_deref().filter(|_| self.kind == ClientErrorKind::Rejected)
    }

    /// Why the call failed.
    #[must_use]
    pub fn kind(&self) -> ClientErrorKind {
        self.kind
    }
}

crate::error_debug::debug_as_message!(ClientError);

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at_server =
            self.server.as_deref().map(|server| format!(" at {server}")).unwrap_or_default();
        match self.kind {
            ClientErrorKind::Unreachable => write!(
                f,
                "the service{at_server} cannot be reached; check the server and the network"
            ),
            ClientErrorKind::TimedOut => {
                write!(f, "the service{at_server} did not answer in time; try again later")
            }
            ClientErrorKind::Tls => write!(
                f,
                "the service{at_server} could not prove who it is; check the server's name, its \
                 certificate and this machine's certificate authorities"
            ),
            ClientErrorKind::NoCaCertificates => f.write_str(
                "no CA certificates were found on this machine, so no server could prove what it \
                 is; install them (the package ca-certificates), name them by SSL_CERT_FILE or \
                 SSL_CERT_DIR, or give a PEM file to Credentials::with_ca_file",
            ),
            ClientErrorKind::SignatureRejected => f.write_str(
                "the service rejected the signature; check the application's id and secret and \
                 the dialect",
            ),
            ClientErrorKind::ClockSkew(ahead) => write!(
                f,
                "the service rejected the signature, and its clock is {ahead} s ahead of this \
                 machine's; set this machine's clock"
            ),
            ClientErrorKind::UnknownApplication => f.write_str(
                "the service knows no such application; check the application's id and the server",
            ),
            ClientErrorKind::UnknownUser => {
                f.write_str("the service knows no such user; add the user first")
            }
            ClientErrorKind::UnknownSession => {
                f.write_str("the service knows no such session; log in again")
            }
            ClientErrorKind::NoMobileDevice => {
                f.write_str("the user has registered no phone; share a registration link with them")
            }
            ClientErrorKind::Rejected => f.write_str("the service declined"),
            ClientErrorKind::RateLimited(Some(after)) => {
                write!(f, "too many calls; come back in {} s", after.as_secs())
            }
            ClientErrorKind::RateLimited(None) => f.write_str("too many calls; come back later"),
            ClientErrorKind::ServerError(status) => {
                write!(f, "the service answered with status {status}; try again later")
            }
            ClientErrorKind::InvalidResponse => f.write_str(
                "the service's answer was not understood; check that the configured server is \
                 the service and nothing stands before it",
            ),
            ClientErrorKind::OriginMismatch => f.write_str(
                "the service named a URL that does not have the configured server's origin and \
                 path, and nothing was sent there; check the server",
            ),
            ClientErrorKind::Invalid => {
                f.write_str("the call cannot be made like this; check what it was given")
            }
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
