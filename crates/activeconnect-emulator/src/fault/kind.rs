use axum::http::StatusCode;

use crate::Endpoint;

/// How a call goes wrong.
///
/// "Another origin" is the emulator's port on 127.0.0.2 (on 127.0.0.3 for who calls the emulator
/// by 127.0.0.2): still the loopback, where a test can listen to see that no connection comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// This status, with a reason as JSON; the service does nothing.
    Http {
        /// A final one, from 200 to 599.
        status: StatusCode,
        /// Seconds for the `Retry-After` header; `None` leaves it out.
        retry_after_s: Option<u64>,
    },
    /// The right answer, later.
    Delay,
    /// No answer ever; the connection stays open.
    Hang,
    /// The connection is closed without a byte of an answer.
    Reset,
    /// The right answer, closed at half of the length that was announced.
    Truncate,
    /// 200, and a body that is no JSON though it claims to be.
    Garbage,
    /// The right answer and then spaces without end: still JSON wherever it is cut.
    Oversize,
    /// The right answer, but with a session status that is none of the eight. Strikes
    /// `authenticate_user` and `status`, since no other answer has one.
    UnknownStatus,
    /// 302 to the same path at another origin; the service does nothing.
    Redirect,
    /// The right answer, but with a status URL and a logout URL at another origin. Strikes
    /// `authenticate_user`, since no other answer has them.
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

    /// Whether there is something in the call's answer that this kind changes.
    pub(super) const fn can_change(self, call: Endpoint) -> bool {
        match self {
            Self::UnknownStatus => matches!(call, Endpoint::AuthenticateUser | Endpoint::Status),
            Self::ForeignUrls => matches!(call, Endpoint::AuthenticateUser),
            _ => true,
        }
    }
}
