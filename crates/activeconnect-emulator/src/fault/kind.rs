use axum::http::StatusCode;

use crate::Endpoint;

/// The kind of a fault.
///
/// "Another origin" is the emulator's port on 127.0.0.2 (on 127.0.0.3 for clients that use 127.0.0.2).
/// It is a loopback address, where a test can listen to check that no client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// A response with this status and a reason as JSON; the service does nothing.
    Http {
        /// A final status, from 200 to 599.
        status: StatusCode,
        /// The `Retry-After` header in seconds; `None` omits it.
        retry_after_s: Option<u64>,
    },
    /// The correct response after a delay.
    Delay,
    /// No response; the connection stays open.
    Hang,
    /// The connection closes without a byte of a response.
    Reset,
    /// The correct response, closed after half of its `Content-Length`.
    Truncate,
    /// 200, and a body that is not JSON with the content type of JSON.
    Garbage,
    /// The correct response followed by endless spaces. Every prefix with the response is JSON.
    Oversize,
    /// The correct response, but with an unknown session status. Applies to `authenticate_user` and
    /// `status`, because no other response has one.
    UnknownStatus,
    /// 302 to the same path at another origin; the service does nothing.
    Redirect,
    /// The correct response, but with a status URL and a logout URL at another origin. Applies to
    /// `authenticate_user`, because no other response has them.
    ForeignUrls,
}

impl FaultKind {
    /// The name in the control interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http { .. } => "http",
            Self::Delay => "delay",
            Self::Hang => "hang",
            Self::Reset => "reset",
            Self::Truncate => "truncate",
            Self::Garbage => "garbage",
            Self::Oversize => "oversize",
            Self::UnknownStatus => "unknown_status",
            Self::Redirect => "redirect",
            Self::ForeignUrls => "foreign_urls",
        }
    }

    /// Whether this kind can change the response to the call.
    pub(super) const fn can_change(self, call: Endpoint) -> bool {
        match self {
            Self::UnknownStatus => matches!(call, Endpoint::AuthenticateUser | Endpoint::Status),
            Self::ForeignUrls => matches!(call, Endpoint::AuthenticateUser),
            _ => true,
        }
    }
}
