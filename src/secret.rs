//! Secrets that cannot be shown by accident.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A secret text: an application secret or a session secret.
///
/// `Debug` prints `***`, there is no `Display` and no `Serialize`, the memory is zeroised on drop
/// and comparison takes the same time wherever two secrets of one length differ.
///
/// ```
/// use tower_activeconnect::Secret;
///
/// let secret = Secret::new("MXG9EDN581U33XTPLPFT75V2");
/// assert_eq!(format!("{secret:?}"), "***");
/// assert_eq!(secret.expose(), "MXG9EDN581U33XTPLPFT75V2");
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps the text as it is; nothing is trimmed.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Check each caller when secrets leak.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}
