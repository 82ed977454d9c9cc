//! Proofs of known browsers, in which a user has logged in before. Nothing is stored: the browser
//! holds a proof that only this application's secret can make.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::Secret;
use crate::clock::UnixTime;
use crate::identity::{AttemptKey, UserToken};
use crate::login::username::LoginKey;

/// After this time without a login a browser is unknown again.
pub(crate) const PROOF_TTL: Duration = Duration::from_secs(180 * 24 * 3_600);
/// As many users of one browser are remembered, the last ones.
const MAX_PROOFS: usize = 4;
/// The HKDF label of the key: no other use of the application's secret makes such proofs.
const PROOF_LABEL: &[u8] = b"tower-activeconnect known browser";
/// The prefix of a token in its mark.
const USER_LABEL: &[u8] = b"user ";

/// Which browser. A proof that is renewed keeps it, so that all proofs of one browser share a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BrowserId(pub(crate) [u8; 16]);

impl BrowserId {
    /// The id of a browser that is not known yet, by the first of its attempts: a repeated claim
    /// makes no second browser.
    pub(crate) fn of_attempt(attempt: AttemptKey) -> Self {
        Self(attempt.prefix())
    }
}

/// The mark of the user's token. A name may belong to another user when it is typed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UserMark(pub(crate) [u8; 16]);

/// The content of a genuine proof. The user's mark and epoch tell whether it is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BrowserProof {
    pub(crate) browser: BrowserId,
    pub(crate) user: UserMark,
    /// The user's epoch when the proof was made.
    pub(crate) epoch: u64,
}

impl BrowserProof {
    /// Whether it is another user's, or of an earlier epoch than the user's.
    pub(crate) fn is_revoked(&self, user: UserMark, epoch: u64) -> bool {
        self.user != user || self.epoch < epoch
    }
}

/// Makes proofs, and reads them.
///
/// A proof is the id of the browser (16 bytes), a mark of the user's token (16 bytes), the user's
/// epoch (eight bytes), the second of its issue (four bytes), and an HMAC-SHA-256 of these and the
/// name, in base64url. It reveals neither the name nor the token and is valid for that name and
/// token only.
pub(crate) struct BrowserProofs {
    key: Zeroizing<[u8; 32]>,
}

impl BrowserProofs {
    pub(crate) fn new(secret: &Secret) -> Self {
        let key =
            hmac_key(secret.expose().as_bytes()).chain_update(PROOF_LABEL).finalize().into_bytes();
        Self { key: Zeroizing::new(key.into()) }
    }

    pub(crate) fn user_mark(&self, token: &UserToken) -> UserMark {
        let mark =
            hmac_key(self.key.as_ref()).chain_update(USER_LABEL).chain_update(token.as_str());
        let mark = mark.finalize().into_bytes();
        UserMark(std::array::from_fn(|at| mark[at]))
    }

    fn proof_mac(&self, signed: &[u8], name: &LoginKey) -> Hmac<Sha256> {
        let (kind, name) = match name {
            LoginKey::Username(name) => (0, &**name),
            LoginKey::User(user) => (1, user.as_str()),
        };
        hmac_key(self.key.as_ref()).chain_update(signed).chain_update([kind]).chain_update(name)
    }

    /// The content of the browser's first proof of this name.
    pub(crate) fn verify(
        &self,
        proofs: &[u8],
        name: &LoginKey,
        wall: UnixTime,
    ) -> Option<BrowserProof> {
        let now = wall.as_secs();
        proofs.split(|byte| *byte == b'.').take(MAX_PROOFS).find_map(|proof| {
            let bytes: [u8; 76] = URL_SAFE_NO_PAD.decode(proof).ok()?.try_into().ok()?;
            let (signed, tag) = bytes.split_at(44);
            let (id, rest) = signed.split_at(16);
            let (user, rest) = rest.split_at(16);
            let (epoch, made) = rest.split_at(8);
            let made = u64::from(u32::from_be_bytes(made.try_into().ok()?));
            let recent = now < made + PROOF_TTL.as_secs();
            let is_genuine = self.proof_mac(signed, name).verify_slice(tag).is_ok();
            let (browser, user) = (BrowserId(id.try_into().ok()?), UserMark(user.try_into().ok()?));
            let epoch = u64::from_be_bytes(epoch.try_into().ok()?);
            (recent && is_genuine).then_some(BrowserProof { browser, user, epoch })
        })
    }

    /// The new value of the browser's cookie: this proof of this name, and the browser's proofs of
    /// other names.
    pub(crate) fn issue(
        &self,
        proofs: &[u8],
        name: &LoginKey,
        proof: BrowserProof,
        wall: UnixTime,
    ) -> String {
        let now = u32::try_from(wall.as_secs()).unwrap_or(u32::MAX);
        let mut signed = [0; 44];
        signed[..16].copy_from_slice(&proof.browser.0);
        signed[16..32].copy_from_slice(&proof.user.0);
        signed[32..40].copy_from_slice(&proof.epoch.to_be_bytes());
        signed[40..].copy_from_slice(&now.to_be_bytes());
        let tag = self.proof_mac(&signed, name).finalize().into_bytes();
        let mut text = URL_SAFE_NO_PAD.encode([&signed[..], &tag].concat());
        let others = proofs.split(|byte| *byte == b'.').filter(|proof| {
            let is_plain = proof.iter().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b));
            proof.len() == text.len() && is_plain && self.verify(proof, name, wall).is_none()
        });
        let others: Vec<_> = others.take(MAX_PROOFS - 1).map(String::from_utf8_lossy).collect();
        for other in others {
            text = text + "." + &other;
        }
        text
    }
}

impl fmt::Debug for BrowserProofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrowserProofs").finish_non_exhaustive()
    }
}

fn hmac_key(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Millis;

    const NOW: UnixTime = UnixTime::from_millis(1_800_000_000_000);
    const USER: UserMark = UserMark([3; 16]);
    const PROOF: BrowserProof = BrowserProof { browser: BrowserId([7; 16]), user: USER, epoch: 5 };

    fn name(name: &str) -> LoginKey {
        LoginKey::Username(name.into())
    }

    fn known() -> BrowserProofs {
        BrowserProofs::new(&Secret::new("MXG9EDN581U33XTPLPFT75V2"))
    }

    #[test]
    fn proof_is_bound_to_its_username() {
        let known = known();
        let proof = known.issue(b"", &name("alice"), PROOF, NOW);
        assert_eq!(known.verify(proof.as_bytes(), &name("alice"), NOW), Some(PROOF));
        assert_eq!(known.verify(proof.as_bytes(), &name("alic"), NOW), None);
        assert_eq!(known.verify(proof.as_bytes(), &name("bob"), NOW), None);
        assert_eq!(known.verify(b"", &name("alice"), NOW), None);
        let other = BrowserProofs::new(&Secret::new("another"));
        assert_eq!(other.verify(proof.as_bytes(), &name("alice"), NOW), None);
        for at in 0..proof.len() {
            let mut forged = proof.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(known.verify(&forged, &name("alice"), NOW), None, "{at}");
        }
    }

    #[test]
    fn later_epoch_revokes_a_proof() {
        for (epoch, is_revoked) in [(0, false), (4, false), (5, false), (6, true), (u64::MAX, true)]
        {
            assert_eq!(PROOF.is_revoked(USER, epoch), is_revoked, "{epoch}");
            assert!(PROOF.is_revoked(UserMark([4; 16]), epoch), "another user's");
        }
    }

    #[test]
    fn proof_expires_after_half_a_year() {
        let known = known();
        let proof = known.issue(b"", &name("alice"), PROOF, NOW);
        let expired_at = NOW + PROOF_TTL;
        assert!(
            known
                .verify(proof.as_bytes(), &name("alice"), expired_at.before(Millis::from_millis(1)))
                .is_some()
        );
        assert_eq!(known.verify(proof.as_bytes(), &name("alice"), expired_at), None);
    }

    #[test]
    fn last_four_users_are_remembered() {
        let (known, mut proofs) = (known(), String::new());
        for user in ["alice", "bob", "carol", "dave", "erin", "bob"] {
            proofs = known.issue(proofs.as_bytes(), &name(user), PROOF, NOW);
        }
        let is_known = |user: &&str| known.verify(proofs.as_bytes(), &name(user), NOW).is_some();
        let names: Vec<_> =
            ["alice", "bob", "carol", "dave", "erin"].into_iter().filter(is_known).collect();
        assert_eq!(names, ["bob", "carol", "dave", "erin"]);
        assert_eq!(proofs.split('.').count(), 4);
        // Foreign content of the cookie is dropped.
        let cleaned = known.issue(b"a=b; c.\xff.<script>", &name("alice"), PROOF, NOW);
        assert_eq!(cleaned.split('.').count(), 1);
    }
}
