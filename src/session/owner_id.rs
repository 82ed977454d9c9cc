use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What an application's pages tell users apart by, made by
/// [`ActiveSession::owner_id`](crate::ActiveSession::owner_id).
///
/// It is a 128-bit message authentication code of the user's id, by a key that follows from the
/// application's secret: the same in all sessions of the user, on every instance of the application,
/// and another one in another application. It opens nothing. Without the secret no one can tell
/// from it who the user is. `Display` writes 22 characters of base64url.
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
