use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

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

    /// Accepts a token that was made elsewhere.
    ///
    /// # Errors
    ///
    /// When the token is empty, longer than 256 bytes, `.` or `..` (which no URL can carry as a
    /// path segment), or has control characters.
    pub fn new(token: &str) -> Result<Self, InvalidUserTokenError> {
        let rejected = token.is_empty()
            || token.len() > 256
            || matches!(token, "." | "..")
            || token.chars().any(char::is_control);
        if rejected { Err(InvalidUserTokenError) } else { Ok(Self(token.into())) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_no_url_can_carry_are_rejected() {
        for wrong in ["", ".", "..", "a\nb", "\u{85}", &"x".repeat(257)] {
            assert_eq!(UserToken::new(wrong), Err(InvalidUserTokenError));
        }
        for odd in ["a/b", "a b", "a+b", "%2F", "é", "..."] {
            assert_eq!(UserToken::new(odd).unwrap().as_str(), odd);
        }
        assert_eq!(UserToken::random().unwrap().as_str().len(), 32);
    }
}
