use std::fmt;

/// The status of a session: the eight values of the wire, and every other value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum SessionStatus {
    /// Waiting for the phone.
    Pending,
    /// The phone is processing the request.
    Identifying,
    /// The user is authenticated.
    Active,
    /// The phone is no longer nearby; it may come back.
    Walkaway,
    /// Ended: logged out here, remotely, or expired.
    Closed,
    /// Ended: the user did not respond.
    Timeout,
    /// Ended: authentication failed.
    Failed,
    /// Ended: the user declined.
    Cancelled,
    /// Not one of the eight. Not authenticated.
    Unknown,
}

impl SessionStatus {
    /// The eight values of the wire.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Identifying,
        Self::Active,
        Self::Walkaway,
        Self::Closed,
        Self::Timeout,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Reads what was stored as `self as u8`.
    #[cfg(feature = "layer")]
    pub(crate) fn from_u8(number: u8) -> Self {
        Self::ALL.into_iter().find(|status| *status as u8 == number).unwrap_or(Self::Unknown)
    }

    /// The value as the wire writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Identifying => "identifying",
            Self::Active => "active",
            Self::Walkaway => "walkaway",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the session has ended for good.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Closed | Self::Timeout | Self::Failed | Self::Cancelled)
    }
}

impl From<&str> for SessionStatus {
    /// Reads a value of the wire: exactly and in lower case, or [`SessionStatus::Unknown`].
    fn from(text: &str) -> Self {
        Self::ALL.into_iter().find(|status| status.as_str() == text).unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for SessionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for SessionStatus {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
