use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The id of a session for its user and for administrators: the `id` of a
/// [`SessionInfo`](crate::session::SessionInfo).
///
/// It is a 128-bit message authentication code of the session's name at the service, and stays the
/// same for the life of the session. It opens nothing, so it may appear in forms, logs and
/// addresses. Its text is 22 characters of base64url.
///
/// ```
/// use tower_activeconnect::session::SessionId;
///
/// // The value of a form field.
/// let id: SessionId = "AAECAwQFBgcICQoLDA0ODw".parse()?;
/// assert_eq!(id.to_string(), "AAECAwQFBgcICQoLDA0ODw");
/// assert!("../../etc/passwd".parse::<SessionId>().is_err());
/// # Ok::<_, tower_activeconnect::session::InvalidSessionIdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; Self::LEN]);

impl SessionId {
    /// Bytes of an id.
    pub(crate) const LEN: usize = 16;
    const TEXT_LEN: usize = 22;

    pub(crate) fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }
}

impl FromStr for SessionId {
    type Err = InvalidSessionIdError;

    /// Parses the text that `Display` writes, and no other spelling.
    fn from_str(text: &str) -> Result<Self, InvalidSessionIdError> {
        let mut bytes = [0; Self::LEN];
        if text.len() != Self::TEXT_LEN {
            return Err(InvalidSessionIdError);
        }
        let written = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes);
        if written == Ok(Self::LEN) { Ok(Self(bytes)) } else { Err(InvalidSessionIdError) }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// The text is not the id of a session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct InvalidSessionIdError;

crate::error_debug::debug_as_message!(InvalidSessionIdError);

impl fmt::Display for InvalidSessionIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a session id is 22 characters of base64url, as SessionInfo::id gives it")
    }
}

impl std::error::Error for InvalidSessionIdError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_has_one_spelling() {
        let id = SessionId::from_bytes([0xfb; 16]);
        let text = id.to_string();
        assert_eq!(text, "-_v7-_v7-_v7-_v7-_v7-w");
        assert_eq!(text.parse(), Ok(id));
        for wrong in [
            "",
            "-_v7-_v7-_v7-_v7-_v7-",
            "-_v7-_v7-_v7-_v7-_v7-wA",
            // The last character carries two bits; a neighbor with the same two is rejected.
            "-_v7-_v7-_v7-_v7-_v7-x",
            "+/v7+/v7+/v7+/v7+/v7+w",
            "-_v7-_v7-_v7-_v7-_v7=w",
            " -_v7-_v7-_v7-_v7-_v7-",
            "-_v7-_v7-_v7-_v7-_v7é",
        ] {
            assert_eq!(wrong.parse::<SessionId>(), Err(InvalidSessionIdError), "{wrong}");
        }
    }
}
