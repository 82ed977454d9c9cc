use zeroize::Zeroizing;

use crate::identity::session_credential::{SessionCredential, SessionKey};

/// Names a login attempt in the browser that started it, in the form of a [`SessionCredential`]: 16
/// random bytes, the time at which the attempt started, and a message authentication code.
#[derive(Clone, Debug)]
pub(crate) struct AttemptCredential(SessionCredential);

/// The SHA-256 of an [`AttemptCredential`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AttemptKey(SessionKey);

impl AttemptKey {
    /// The first half of the hash.
    pub(crate) fn prefix(&self) -> [u8; 16] {
        self.0.prefix()
    }
}

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
