//! Who: the application's user, the user's name at Activeconnect, and what names a session.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::rng_error::RngError;

/// The application's own user: an opaque string. Ids of another type go in by their text.
///
/// ```
/// use tower_activeconnect::UserId;
///
/// assert_eq!(UserId::from("alice").as_str(), "alice");
/// assert_eq!(UserId::from(42.to_string()).to_string(), "42");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

impl UserId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for UserId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<&String> for UserId {
    fn from(id: &String) -> Self {
        Self(id.as_str().into())
    }
}

impl From<String> for UserId {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl Borrow<str> for UserId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The lookup table's token: the user's name at Activeconnect, never derived from the user.
///
/// Tokens made here are 32 characters of `A`-`Z` and `2`-`7` (160 random bits); tokens from
/// elsewhere may hold any character that is not a control character.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UserToken(Arc<str>);

impl UserToken {
    const TOKEN_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

    /// Makes a new one from the operating system's generator.
    ///
    /// # Errors
    ///
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, RngError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(RngError::new)?;
        // 32 letters: five bits of each byte choose one without bias.
        let text: String = bytes
            .iter()
            .map(|byte| char::from(Self::TOKEN_ALPHABET[usize::from(byte & 31)]))
            .collect();
        Ok(Self(text.into()))
    }

    /// Takes a token made elsewhere.
    ///
    /// # Errors
    ///
    /// When it is empty, longer than 256 bytes, `.` or `..` (which no URL can carry as a path
    /// segment), or has control characters.
    pub fn new(token: &str) -> Result<Self, InvalidUserTokenError> {
        let refused = token.is_empty()
            || token.len() > 256
            || matches!(token, "." | "..")
            || token.chars().any(char::is_control);
        if refused { Err(InvalidUserTokenError) } else { Ok(Self(token.into())) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UserToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserToken(…)")
    }
}

/// The text can't be a user token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct InvalidUserTokenError;

crate::error_debug::debug_as_message!(InvalidUserTokenError);

impl fmt::Display for InvalidUserTokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a user token is 1 to 256 bytes without control characters, and neither \".\" nor \
             \"..\"; make one with UserToken::random()",
        )
    }
}

impl std::error::Error for InvalidUserTokenError {}

/// Names a session: in the cookie or in a bearer header, nowhere else. A secret; zeroised on drop.
///
/// It is 32 bytes: 128 secret bits, the time in Unix seconds at which the login started, and a
/// message authentication code by a key that is derived from the application's secret. The code
/// tells credentials of this application from those of another system.
#[derive(Clone)]
pub struct SessionCredential(Zeroizing<[u8; 32]>);

impl SessionCredential {
    /// Characters of its text.
    pub(crate) const ENCODED_LEN: usize = 43;

    #[cfg(feature = "layer")]
    pub(crate) fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    #[cfg(feature = "layer")]
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the 43 base64url characters that [`SessionCredential::expose`] writes; everything
    /// else is `None`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut bits = Zeroizing::new([0; 32]);
        Self::decode(text, &mut bits)?;
        Some(Self(bits))
    }

    fn decode(text: &[u8], bits: &mut [u8; 32]) -> Option<()> {
        if text.len() != Self::ENCODED_LEN {
            return None;
        }
        let written = URL_SAFE_NO_PAD.decode_slice(text, bits).ok()?;
        (written == 32).then_some(())
    }

    /// The text for a cookie, or for `authorization: Bearer`.
    #[must_use]
    pub fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.as_ref())
    }

    /// What maps and stores know of it.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        SessionKey(Sha256::digest(self.0.as_ref()).into())
    }
}

impl fmt::Debug for SessionCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The SHA-256 of a [`SessionCredential`]: what maps and stores are keyed by, so that their
/// contents open no session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// The key of the credential that is spelled so, if one is: what is secret stays where it is
    /// decoded, and is zeroised there.
    #[cfg(feature = "layer")]
    pub(crate) fn from_encoded(text: &[u8]) -> Option<Self> {
        let mut bits = Zeroizing::new([0; 32]);
        SessionCredential::decode(text, &mut bits)?;
        Some(Self(Sha256::digest(bits.as_ref()).into()))
    }
}

impl Hash for SessionKey {
    /// A part of it: it is a hash already, and no client chooses what is in a map.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Enough to tell sessions apart in a log.
        write!(
            f,
            "SessionKey({:02x}{:02x}{:02x}{:02x}…)",
            self.0[0], self.0[1], self.0[2], self.0[3]
        )
    }
}

/// Names a login attempt in the browser that started it, in the form of a [`SessionCredential`]: 16
/// random bytes, the time at which the attempt started, and a message authentication code.
#[cfg(feature = "layer")]
#[derive(Clone, Debug)]
pub(crate) struct AttemptCredential(SessionCredential);

/// The SHA-256 of an [`AttemptCredential`].
#[cfg(feature = "layer")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AttemptKey(SessionKey);

#[cfg(feature = "layer")]
impl AttemptKey {
    /// The first half of the hash.
    pub(crate) fn prefix(&self) -> [u8; 16] {
        std::array::from_fn(|i| self.0.0[i])
    }
}

#[cfg(feature = "layer")]
impl AttemptCredential {
    pub(crate) fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(SessionCredential::from_bytes(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        SessionCredential::parse(text).map(Self)
    }

    #[cfg(feature = "axum")]
    pub(crate) fn expose(&self) -> String {
        self.0.expose()
    }

    pub(crate) fn key(&self) -> AttemptKey {
        AttemptKey(self.0.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credential_has_one_spelling() {
        let credential = SessionCredential(Zeroizing::new([0x5a; 32]));
        let text = credential.expose();
        assert_eq!(text.len(), SessionCredential::ENCODED_LEN);
        assert_eq!(SessionCredential::parse(text.as_bytes()).unwrap().key(), credential.key());
        // The last character carries four bits; a neighbor with the same four is refused.
        let zeros = "A".repeat(43);
        assert!(SessionCredential::parse(zeros.as_bytes()).is_some());
        assert!(SessionCredential::parse(format!("{}B", "A".repeat(42)).as_bytes()).is_none());
        for wrong in [
            "",
            &zeros[1..],
            &format!("{zeros}A"),
            &format!("{}=", &zeros[1..]),
            &format!("{}+", &zeros[1..]),
        ] {
            assert!(SessionCredential::parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn key_is_the_hash_of_the_bits_and_opens_nothing() {
        let credential = SessionCredential::parse("A".repeat(43).as_bytes()).unwrap();
        let key = credential.key();
        assert_eq!(key.0[..4], [0x66, 0x68, 0x7a, 0xad], "SHA-256 of 32 zeros");
        assert_eq!(format!("{key:?} {credential:?}"), "SessionKey(66687aad…) ***");
        assert!(SessionCredential::parse(&key.0).is_none());
        assert_ne!(SessionCredential::parse(&[b'A'; 43]).unwrap().key().0, *credential.0);
    }

    #[test]
    fn tokens_that_no_url_can_carry_are_refused() {
        for wrong in ["", ".", "..", "a\nb", "\u{85}", &"x".repeat(257)] {
            assert_eq!(UserToken::new(wrong), Err(InvalidUserTokenError));
        }
        for odd in ["a/b", "a b", "a+b", "%2F", "é", "..."] {
            assert_eq!(UserToken::new(odd).unwrap().as_str(), odd);
        }
        assert_eq!(UserToken::random().unwrap().as_str().len(), 32);
    }
}
