use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// An id by which an application's pages tell users apart; returned by
/// [`ActiveSession::owner_id`](crate::ActiveSession::owner_id).
///
/// It is a 128-bit message authentication code of the user's id under a key derived from the
/// application's secret: equal in all sessions of the user and on all instances of the application,
/// different in other applications. It opens nothing and, without the secret, does not reveal the
/// user. `Display` writes 22 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OwnerId([u8; 16]);

impl OwnerId {
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnerId({self})")
    }
}
