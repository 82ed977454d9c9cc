//! Makes and verifies credentials: those of sessions, of login attempts, and enrollment grants.

use std::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::Secret;
use crate::clock::UnixTime;
use crate::identity::{AttemptCredential, SessionCredential};
use crate::rng_error::RngError;
use crate::session::owner_id::OwnerId;
use crate::session::session_id::SessionId;

/// The HKDF label of the ring's key, derived from the application's secret.
const RING_KEY_LABEL: &[u8] = b"tower-activeconnect key ring";
/// The HKDF label of the key that authenticates credentials.
const MAC_KEY_LABEL: &[u8] = b"tower-activeconnect credential mac";
/// The HKDF label of the key that derives the secret bits of session credentials.
const SESSION_KEY_LABEL: &[u8] = b"tower-activeconnect session credential";
/// The HKDF label of the key that derives session ids.
const ID_KEY_LABEL: &[u8] = b"tower-activeconnect id";
/// The HKDF label of the key that derives owner ids.
const OWNER_KEY_LABEL: &[u8] = b"tower-activeconnect owner";

/// The secret bytes of a credential: random, or derived.
const SECRET_LEN: usize = 16;
/// The authenticated bytes of a credential: the secret ones and four of time.
const SIGNED_LEN: usize = SECRET_LEN + 4;

/// The purpose of a credential. A credential of one kind never verifies as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialKind {
    /// Names a session, in the cookie or in a bearer header.
    Session,
    /// Names a login attempt, in the browser or client that started it.
    Attempt,
    /// Proves to the engine that the application has verified a user.
    Grant,
    /// Names a page that waits for a phone to register, in the browser that loaded it.
    #[cfg(feature = "axum")]
    Registration,
}

impl CredentialKind {
    /// The prefix of the authenticated bytes.
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Session => b"session",
            Self::Attempt => b"attempt",
            Self::Grant => b"grant",
            #[cfg(feature = "axum")]
            Self::Registration => b"registration",
        }
    }
}

/// The keys of credentials. Each key verifies; the first one makes new credentials.
///
/// A credential is 32 bytes: 16 secret ones, the time in Unix seconds (4 bytes, big-endian), and the
/// first 12 bytes of an HMAC-SHA-256 over the kind and those 20 bytes.
pub(crate) struct KeyRing {
    keys: [RingKey; 1],
}

struct RingKey {
    mac: Zeroizing<[u8; 32]>,
    session: Zeroizing<[u8; 32]>,
    id: Zeroizing<[u8; 32]>,
    owner: Zeroizing<[u8; 32]>,
}

impl KeyRing {
    /// The default ring: equal on all instances of an application.
    pub(crate) fn from_application_secret(secret: &Secret) -> Self {
        let extracted = Hkdf::<Sha256>::new(None, secret.expose().as_bytes());
        Self { keys: [RingKey::new(&expand(&extracted, RING_KEY_LABEL))] }
    }

    /// Makes the secret of a login attempt that starts now.
    ///
    /// # Errors
    ///
    /// When the operating system has no randomness to give.
    pub(crate) fn issue_attempt(&self, now: UnixTime) -> Result<AttemptCredential, RngError> {
        self.issue(CredentialKind::Attempt, now).map(AttemptCredential::from_bytes)
    }

    /// Makes a grant that is issued now.
    ///
    /// # Errors
    ///
    /// When the operating system has no randomness to give.
    pub(crate) fn issue_grant(&self, now: UnixTime) -> Result<SessionCredential, RngError> {
        self.issue(CredentialKind::Grant, now).map(SessionCredential::from_bytes)
    }

    /// Makes the credential of a page that waits from now on.
    ///
    /// # Errors
    ///
    /// When the operating system has no randomness to give.
    #[cfg(feature = "axum")]
    pub(crate) fn issue_registration(&self, now: UnixTime) -> Result<SessionCredential, RngError> {
        self.issue(CredentialKind::Registration, now).map(SessionCredential::from_bytes)
    }

    /// Derives the credential of the session that a login attempt leads to. It is the same each
    /// time, so that the response to a claim can be repeated without storing a secret.
    pub(crate) fn derive_session(&self, attempt: &AttemptCredential) -> SessionCredential {
        let key = self.issuing();
        // The time of the attempt stays in it.
        let mut bytes = Zeroizing::new(*attempt.as_bytes());
        let derived = hmac(&key.session).chain_update(attempt.as_bytes()).finalize().into_bytes();
        bytes[..SECRET_LEN].copy_from_slice(&derived[..SECRET_LEN]);
        key.sign(CredentialKind::Session, &mut bytes);
        SessionCredential::from_bytes(bytes)
    }

    /// Derives the id of the session with this session token: the same each time. Without the key
    /// the id does not reveal the session.
    pub(crate) fn session_id(&self, session_token: &[u8]) -> SessionId {
        let code = hmac(&self.issuing().id).chain_update(b"session").chain_update(session_token);
        let code = code.finalize().into_bytes();
        SessionId::from_bytes(std::array::from_fn(|i| code[i]))
    }

    /// Derives the id by which pages tell this user from others: the same in each session. Without
    /// the key it does not reveal the user.
    pub(crate) fn owner_id(&self, user: &str) -> OwnerId {
        let code = hmac(&self.issuing().owner).chain_update(user).finalize().into_bytes();
        OwnerId::from_bytes(std::array::from_fn(|i| code[i]))
    }

    /// Whether a key of the ring made this text as a credential of this kind.
    pub(crate) fn verifies(&self, kind: CredentialKind, text: &[u8]) -> bool {
        let credential = SessionCredential::parse(text);
        credential.is_some_and(|it| self.keys.iter().any(|key| key.verifies(kind, it.as_bytes())))
    }

    fn issue(&self, kind: CredentialKind, now: UnixTime) -> Result<Zeroizing<[u8; 32]>, RngError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut bytes[..SECRET_LEN]).map_err(RngError::new)?;
        let seconds = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        bytes[SECRET_LEN..SIGNED_LEN].copy_from_slice(&seconds.to_be_bytes());
        self.issuing().sign(kind, &mut bytes);
        Ok(bytes)
    }

    fn issuing(&self) -> &RingKey {
        &self.keys[0]
    }
}

impl RingKey {
    fn new(key: &[u8; 32]) -> Self {
        // The key is uniform already, so it is expanded without an extraction.
        let key = Hkdf::<Sha256>::from_prk(key).unwrap_or_else(|_| unreachable!("it is 32 bytes"));
        Self {
            mac: expand(&key, MAC_KEY_LABEL),
            session: expand(&key, SESSION_KEY_LABEL),
            id: expand(&key, ID_KEY_LABEL),
            owner: expand(&key, OWNER_KEY_LABEL),
        }
    }

    fn sign(&self, kind: CredentialKind, bytes: &mut [u8; 32]) {
        let (signed, code) = bytes.split_at_mut(SIGNED_LEN);
        let full = self.code(kind, signed);
        code.copy_from_slice(&full[..code.len()]);
    }

    fn verifies(&self, kind: CredentialKind, bytes: &[u8; 32]) -> bool {
        let (signed, code) = bytes.split_at(SIGNED_LEN);
        self.code(kind, signed)[..code.len()].ct_eq(code).into()
    }

    fn code(&self, kind: CredentialKind, signed: &[u8]) -> [u8; 32] {
        hmac(&self.mac)
            .chain_update(kind.label())
            .chain_update(signed)
            .finalize()
            .into_bytes()
            .into()
    }
}

fn expand(key: &Hkdf<Sha256>, label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut expanded = Zeroizing::new([0; 32]);
    let fits = key.expand(label, expanded.as_mut());
    fits.unwrap_or_else(|_| unreachable!("HKDF-SHA-256 gives up to 8,160 bytes"));
    expanded
}

fn hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"))
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_millis(1_800_000_000_999);

    fn ring() -> KeyRing {
        KeyRing::from_application_secret(&Secret::new("MXG9EDN581U33XTPLPFT75V2"))
    }

    /// Computed apart from this code, by HKDF and HMAC as RFC 5869 and RFC 2104 write them.
    #[test]
    fn credentials_are_those_of_the_format() {
        let keys = ring();
        let mut bytes = Zeroizing::new([0; 32]);
        for (i, byte) in bytes[..SECRET_LEN].iter_mut().enumerate() {
            *byte = u8::try_from(i).unwrap();
        }
        bytes[SECRET_LEN..SIGNED_LEN].copy_from_slice(&1_800_000_000_u32.to_be_bytes());
        let issued = |kind| {
            let mut bytes = bytes.clone();
            keys.issuing().sign(kind, &mut bytes);
            bytes
        };
        let attempt = AttemptCredential::from_bytes(issued(CredentialKind::Attempt));
        assert_eq!(attempt.expose(), "AAECAwQFBgcICQoLDA0OD2tJ0gC5Ak5suJD9obDZ8eQ");
        let session = keys.derive_session(&attempt);
        assert_eq!(session.expose(), "gwT_uJRy92wpdi0mqlj3FmtJ0gDZc1FQCxxUExLPRb0");
        let grant = SessionCredential::from_bytes(issued(CredentialKind::Grant));
        assert_eq!(grant.expose(), "AAECAwQFBgcICQoLDA0OD2tJ0gAWA1junCz7LUaVW9M");
    }

    /// Computed apart from this code, as above.
    #[test]
    fn owner_is_the_same_in_each_session() {
        assert_eq!(ring().owner_id("alice").to_string(), "IUU1I3wNFLewlA9aSXnSyg");
        assert_eq!(ring().owner_id("alice"), ring().owner_id("alice"));
        assert_ne!(ring().owner_id("alice"), ring().owner_id("bob"));
        let foreign = KeyRing::from_application_secret(&Secret::new("another"));
        assert_ne!(ring().owner_id("alice"), foreign.owner_id("alice"));
    }

    #[test]
    fn credential_verifies_as_its_kind_only() {
        let keys = ring();
        let attempt = keys.issue_attempt(NOW).unwrap();
        let session = keys.derive_session(&attempt);
        let texts = [
            (CredentialKind::Session, session.expose()),
            (CredentialKind::Attempt, attempt.expose()),
            (CredentialKind::Grant, keys.issue_grant(NOW).unwrap().expose()),
            #[cfg(feature = "axum")]
            (CredentialKind::Registration, keys.issue_registration(NOW).unwrap().expose()),
        ];
        let foreign = KeyRing::from_application_secret(&Secret::new("another"));
        for (kind, text) in &texts {
            for (other, _) in &texts {
                assert_eq!(keys.verifies(*other, text.as_bytes()), other == kind, "{kind:?}");
            }
            assert!(!foreign.verifies(*kind, text.as_bytes()));
            for at in 0..text.len() {
                let mut forged = text.clone().into_bytes();
                forged[at] = if forged[at] == b'A' { b'E' } else { b'A' };
                assert!(!keys.verifies(*kind, &forged), "{kind:?}, character {at}");
            }
            assert!(!keys.verifies(*kind, &text.as_bytes()[1..]));
            assert!(!keys.verifies(*kind, b""));
        }
    }

    #[test]
    fn each_attempt_leads_to_one_session() {
        let keys = ring();
        let (one, other) = (keys.issue_attempt(NOW).unwrap(), keys.issue_attempt(NOW).unwrap());
        assert_ne!(one.as_bytes()[..SECRET_LEN], other.as_bytes()[..SECRET_LEN]);
        let session = keys.derive_session(&one);
        assert_eq!(session.as_bytes(), ring().derive_session(&one).as_bytes(), "on any instance");
        assert_ne!(session.as_bytes(), keys.derive_session(&other).as_bytes());
        assert_ne!(session.as_bytes()[..SECRET_LEN], one.as_bytes()[..SECRET_LEN]);
        assert_eq!(session.as_bytes()[SECRET_LEN..SIGNED_LEN], 1_800_000_000_u32.to_be_bytes());
        let foreign = KeyRing::from_application_secret(&Secret::new("another"));
        assert_ne!(session.as_bytes(), foreign.derive_session(&one).as_bytes());
    }
}
