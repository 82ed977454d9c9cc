use std::fmt;
use std::hash::{Hash, Hasher};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

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

    /// The key by which maps and stores know it.
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

/// The SHA-256 of a [`SessionCredential`]: the key of maps and stores, whose contents open no
/// session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// The key of the credential with this text, if it is one: the secret stays where it is decoded
    /// and is zeroised there.
    #[cfg(feature = "layer")]
    pub(crate) fn from_encoded(text: &[u8]) -> Option<Self> {
        let mut bits = Zeroizing::new([0; 32]);
        SessionCredential::decode(text, &mut bits)?;
        Some(Self(Sha256::digest(bits.as_ref()).into()))
    }

    /// The first half of the hash.
    #[cfg(feature = "layer")]
    pub(crate) fn prefix(&self) -> [u8; 16] {
        std::array::from_fn(|i| self.0[i])
    }
}

impl Hash for SessionKey {
    /// A part of the key: it is a hash already, and clients cannot choose the keys of a map.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A prefix that tells sessions apart in a log.
        write!(
            f,
            "SessionKey({:02x}{:02x}{:02x}{:02x}…)",
            self.0[0], self.0[1], self.0[2], self.0[3]
        )
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
        // The last character carries four bits; a neighbor with the same four is rejected.
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
}
