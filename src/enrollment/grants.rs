use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::identity::{SessionCredential, SessionKey, UserId};

/// How long a grant is valid.
const GRANT_TTL: Duration = Duration::from_secs(600);
/// The maximum number of grants.
const MAX_GRANTS: usize = 10_000;

/// A grant of the application: its bearer is the user that it names. 128 random bits,
/// valid once, for ten minutes.
/// [`Activeconnect::enrollment_grant`](crate::Activeconnect::enrollment_grant) issues it; it
/// authorizes every operation that registers a phone for the user. A secret; zeroised on drop.
///
/// Its text can be part of a link in a mail. Let the page behind the link show a form, and redeem
/// the grant when the form is posted: mail scanners open links, and a grant is valid once. The page
/// has the grant in its address, so it needs `Referrer-Policy: no-referrer` and `Cache-Control:
/// no-store`.
///
/// ```
/// use tower_activeconnect::Activeconnect;
/// use tower_activeconnect::enrollment::{EnrollmentError, EnrollmentGrant, RegistrationLink};
///
/// /// The address was verified: the user reads mail there.
/// fn link_for_mail(ac: &Activeconnect, user: &str) -> Result<String, EnrollmentError> {
///     let grant = ac.enrollment_grant(&user.into())?;
///     Ok(format!("https://app.example/phone/{}", grant.expose()))
/// }
///
/// /// `POST /phone/{grant}`
/// async fn redeem(ac: &Activeconnect, grant: &str) -> Result<RegistrationLink, EnrollmentError> {
///     let grant = EnrollmentGrant::parse(grant.as_bytes()).ok_or(EnrollmentError::InvalidGrant)?;
///     ac.registration_link(&grant).await
/// }
/// ```
pub struct EnrollmentGrant(pub(crate) SessionCredential);

impl EnrollmentGrant {
    /// Reads the 43 base64url characters that [`EnrollmentGrant::expose`] writes; everything else
    /// is `None`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        SessionCredential::parse(text).map(Self)
    }

    /// The text for a link or a form.
    #[must_use]
    pub fn expose(&self) -> String {
        self.0.expose()
    }
}

impl fmt::Debug for EnrollmentGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The grants that are not redeemed. They have one lock, so that one of several concurrent
/// redemptions succeeds.
#[derive(Debug, Default)]
pub(crate) struct Grants(Mutex<GrantMap>);

#[derive(Debug, Default)]
struct GrantMap {
    by_key: HashMap<SessionKey, Grant>,
    by_user: HashMap<UserId, SessionKey>,
}

#[derive(Debug)]
struct Grant {
    user: UserId,
    expires: Timestamp,
}

impl Grants {
    /// Stores a grant in place of the user's previous one; false at the maximum number of grants.
    pub(crate) fn insert(&self, key: SessionKey, user: &UserId, now: Timestamp) -> bool {
        let mut map = self.lock();
        map.withdraw(user);
        if map.by_key.len() >= MAX_GRANTS {
            map.purge(now);
        }
        let fits = map.by_key.len() < MAX_GRANTS;
        if fits {
            let expires = now.after(GRANT_TTL);
            map.by_user.insert(user.clone(), key);
            map.by_key.insert(key, Grant { user: user.clone(), expires });
        }
        fits
    }

    /// The user of the grant, once, if it is still valid.
    pub(crate) fn redeem(&self, grant: &EnrollmentGrant, now: Timestamp) -> Option<UserId> {
        let mut map = self.lock();
        let Grant { user, expires } = map.by_key.remove(&grant.0.key())?;
        map.by_user.remove(&user);
        (!expires.is_elapsed(now)).then_some(user)
    }

    /// Removes the user's grant.
    pub(crate) fn withdraw(&self, user: &UserId) {
        self.lock().withdraw(user);
    }

    /// Removes expired grants.
    pub(crate) fn purge(&self, now: Timestamp) {
        self.lock().purge(now);
    }

    fn lock(&self) -> MutexGuard<'_, GrantMap> {
        // Nothing that can panic runs under the lock, so a poisoned one holds a whole value.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GrantMap {
    fn withdraw(&mut self, user: &UserId) {
        if let Some(key) = self.by_user.remove(user) {
            self.by_key.remove(&key);
        }
    }

    fn purge(&mut self, now: Timestamp) {
        self.by_key.retain(|_, grant| !grant.expires.is_elapsed(now));
        self.by_user.retain(|_, key| self.by_key.contains_key(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;
    use crate::clock::{MonoTime, UnixTime};
    use crate::session::key_ring::KeyRing;

    const NOW: Timestamp = Timestamp {
        mono: MonoTime::from_millis(1_000),
        wall: UnixTime::from_millis(1_700_000_000_000),
    };

    fn grant(grants: &Grants, user: &str, now: Timestamp) -> Option<EnrollmentGrant> {
        let keys = KeyRing::from_application_secret(&Secret::new("MXG9EDN581U33XTPLPFT75V2"));
        let bits = keys.issue_grant(now.wall).unwrap();
        grants.insert(bits.key(), &user.into(), now).then_some(EnrollmentGrant(bits))
    }

    fn sizes(grants: &Grants) -> (usize, usize) {
        let map = grants.lock();
        (map.by_key.len(), map.by_user.len())
    }

    #[test]
    fn good_for_ten_minutes_on_either_clock() {
        let almost = Duration::from_millis(599_999);
        let late = Duration::from_secs(600);
        for (now, good) in [
            (NOW, true),
            (NOW.after(almost), true),
            (NOW.after(late), false),
            (Timestamp { mono: NOW.after(late).mono, ..NOW }, false),
            (Timestamp { wall: NOW.after(late).wall, ..NOW }, false),
            (Timestamp { wall: UnixTime::default(), ..NOW.after(almost) }, true),
        ] {
            let grants = Grants::default();
            let given = grant(&grants, "alice", NOW).unwrap();
            let user = good.then(|| UserId::from("alice"));
            assert_eq!(grants.redeem(&given, now), user, "{now:?}");
            assert_eq!(grants.redeem(&given, NOW), None, "once");
            assert_eq!(sizes(&grants), (0, 0));
        }
    }

    #[test]
    fn new_grant_replaces_users_previous_one() {
        let grants = Grants::default();
        let bobs = grant(&grants, "bob", NOW).unwrap();
        let first = grant(&grants, "alice", NOW).unwrap();
        let second = grant(&grants, "alice", NOW).unwrap();
        assert_eq!(grants.redeem(&first, NOW), None);
        assert_eq!(grants.redeem(&second, NOW), Some("alice".into()));
        assert_eq!(grants.redeem(&bobs, NOW), Some("bob".into()));
    }

    #[test]
    fn concurrent_redeem_succeeds_once() {
        let grants = Grants::default();
        for _ in 0..200 {
            let given = grant(&grants, "alice", NOW).unwrap();
            let barrier = std::sync::Barrier::new(4);
            let got = std::thread::scope(|scope| {
                let racers: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            barrier.wait();
                            grants.redeem(&given, NOW)
                        })
                    })
                    .collect();
                racers.into_iter().filter_map(|racer| racer.join().unwrap()).count()
            });
            assert_eq!(got, 1);
        }
    }

    #[test]
    fn grant_beyond_capacity_is_rejected() {
        let grants = Grants::default();
        for i in 0..MAX_GRANTS {
            assert!(grant(&grants, &i.to_string(), NOW).is_some());
        }
        assert!(grant(&grants, "one more", NOW).is_none());
        assert!(
            grant(&grants, "7", NOW).is_some(),
            "a user with a grant gets another in its place"
        );
        let later = NOW.after(GRANT_TTL);
        assert!(grant(&grants, "one more", later).is_some());
        assert_eq!(sizes(&grants), (1, 1));
        grants.purge(later.after(GRANT_TTL));
        assert_eq!(sizes(&grants), (0, 0));
    }

    /// The stored hash opens nothing, and `Debug` shows nothing.
    #[test]
    fn kept_as_a_hash_and_never_shown() {
        let grants = Grants::default();
        let given = grant(&grants, "alice", NOW).unwrap();
        assert_eq!(given.expose().len(), 43);
        let again = EnrollmentGrant::parse(given.expose().as_bytes()).unwrap();
        assert!(EnrollmentGrant::parse(b"alice").is_none());
        let shown = format!("{grants:?} {given:?}");
        assert!(shown.contains("***") && !shown.contains(&given.expose()), "{shown}");
        assert_eq!(grants.redeem(&again, NOW), Some("alice".into()));
    }
}
