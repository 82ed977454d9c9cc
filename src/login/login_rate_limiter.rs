//! Counts login starts, so that no client can send pushes to a phone all day or lock its owner out.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::clock::MonoTime;
use crate::identity::UserToken;
use crate::login::browser_proofs::BrowserId;
use crate::login::initiator::Initiator;
use crate::login::login_limits::LoginLimits;
use crate::login::rate_window::{RateLimit, SlidingWindowLimiter};
use crate::login::username::LoginKey;

/// The maximum of names, of addresses and of pairs of both that are counted. One more evicts the
/// oldest.
const MAX_KEYS: usize = 100_000;
/// The time without a push after the second decline in a row. Each further decline doubles it. The
/// first one may be a mistake and has no effect.
const DECLINE_BACKOFF: Duration = Duration::from_secs(5);
/// The maximum of the doubled time.
const MAX_DECLINE_BACKOFF: Duration = Duration::from_secs(900);
/// After this time without a decline, the next one counts as the first.
const DECLINE_RESET: Duration = Duration::from_secs(3_600);

/// The key of a count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct LimiterKey<N> {
    name: N,
    bucket: Bucket,
}

/// The start counts for this browser alone, for all that have a session of the user, for the
/// application, or for all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Bucket {
    Anonymous,
    Browser(BrowserId),
    Sessions,
    Application,
}

impl Bucket {
    fn of(initiator: Initiator) -> Self {
        match initiator {
            Initiator::Anonymous(_) => Self::Anonymous,
            Initiator::KnownBrowser(proof) => Self::Browser(proof.browser),
            Initiator::Session => Self::Sessions,
            Initiator::Application => Self::Application,
        }
    }
}

/// The counts of all limits. Starts are counted by the typed name, so that a rejection reveals
/// nothing about who exists; and again, without a visible rejection, by the token of the phone,
/// because several names may lead to one user.
#[derive(Debug)]
pub(crate) struct LoginRateLimiter {
    by_name: PartitionedLimiter<LoginKey>,
    by_token: PartitionedLimiter<UserToken>,
    by_address: SlidingWindowLimiter<IpAddr>,
    overall: SlidingWindowLimiter<()>,
    /// Rejected starts of anonymous clients. By the name alone, one client could lock all others
    /// out; so clients without a known address are not counted.
    rejections: SlidingWindowLimiter<(IpAddr, LoginKey)>,
    declines: HashMap<LimiterKey<UserToken>, Declines>,
}

/// The counts of anonymous clients, and those of all others, which a flood of anonymous clients
/// does not evict.
#[derive(Debug)]
struct PartitionedLimiter<N> {
    anonymous: SlidingWindowLimiter<LimiterKey<N>>,
    others: SlidingWindowLimiter<LimiterKey<N>>,
}

impl<N: Eq + Hash> PartitionedLimiter<N> {
    fn new(rates: &[RateLimit]) -> Self {
        Self {
            anonymous: SlidingWindowLimiter::new(rates, MAX_KEYS),
            others: SlidingWindowLimiter::new(rates, MAX_KEYS),
        }
    }

    fn of(&mut self, key: &LimiterKey<N>) -> &mut SlidingWindowLimiter<LimiterKey<N>> {
        match key.bucket {
            Bucket::Anonymous => &mut self.anonymous,
            Bucket::Browser(_) | Bucket::Sessions | Bucket::Application => &mut self.others,
        }
    }

    fn purge(&mut self, now: MonoTime) {
        self.anonymous.purge(now);
        self.others.purge(now);
    }
}

#[derive(Debug)]
struct Declines {
    consecutive: u32,
    last: MonoTime,
}

impl LoginRateLimiter {
    pub(crate) fn new(limits: &LoginLimits) -> Self {
        // Clients that are rejected while another browser waits may try for hours.
        let shortest: Vec<_> =
            limits.per_user.iter().copied().min_by_key(|rate| rate.per).into_iter().collect();
        Self {
            by_name: PartitionedLimiter::new(&limits.per_user),
            by_token: PartitionedLimiter::new(&limits.per_user),
            by_address: SlidingWindowLimiter::new([limits.per_address], MAX_KEYS),
            overall: SlidingWindowLimiter::new([limits.overall], 1),
            rejections: SlidingWindowLimiter::new(shortest.as_slice(), MAX_KEYS),
            declines: HashMap::new(),
        }
    }

    /// Counts one start against all limits, or against none if one is reached.
    ///
    /// # Errors
    ///
    /// How long to wait.
    pub(crate) fn check_start(
        &mut self,
        name: &LoginKey,
        initiator: Initiator,
        now: MonoTime,
    ) -> Result<(), Duration> {
        let key = LimiterKey { name: name.clone(), bucket: Bucket::of(initiator) };
        let mut wait = self.by_name.of(&key).retry_after(&key, now);
        let anonymous = match initiator {
            Initiator::Anonymous(address) => Some(address.map(network)),
            Initiator::KnownBrowser(_) | Initiator::Session | Initiator::Application => None,
        };
        if let Some(network) = anonymous {
            let pair = network.map(|network| (network, name.clone()));
            wait = wait.max(pair.and_then(|pair| self.rejections.retry_after(&pair, now)));
            if wait.is_some() {
                wait = wait.max(self.record_rejection(name, initiator, now));
            }
            // Limits that others use up are not counted against this client and name.
            let by_address = network.and_then(|network| self.by_address.retry_after(&network, now));
            wait = wait.max(by_address).max(self.overall.retry_after(&(), now));
        }
        if let Some(wait) = wait {
            return Err(wait);
        }
        self.by_name.of(&key).record(key, now);
        if let Some(network) = anonymous {
            self.overall.record((), now);
            if let Some(network) = network {
                self.by_address.record(network, now);
            }
        }
        Ok(())
    }

    /// Counts a start that is rejected because of its name: after too many, the same client is
    /// rejected under that name even if the name is free by then. So a client that tries without a
    /// pause is not the first to start once the name is free. Returns how long it is rejected, if
    /// it is now.
    pub(crate) fn record_rejection(
        &mut self,
        name: &LoginKey,
        initiator: Initiator,
        now: MonoTime,
    ) -> Option<Duration> {
        let Initiator::Anonymous(Some(address)) = initiator else { return None };
        let pair = (network(address), name.clone());
        self.rejections.record(pair.clone(), now);
        self.rejections.retry_after(&pair, now)
    }

    /// Counts a push for a login that started at `started_at`.
    ///
    /// # Errors
    ///
    /// How long to wait.
    pub(crate) fn check_push(
        &mut self,
        token: &UserToken,
        initiator: Initiator,
        started_at: MonoTime,
    ) -> Result<(), Duration> {
        let key = LimiterKey { name: token.clone(), bucket: Bucket::of(initiator) };
        let limiter = self.by_token.of(&key);
        match limiter.retry_after(&key, started_at) {
            Some(wait) => Err(wait),
            None => {
                limiter.record(key, started_at);
                Ok(())
            }
        }
    }

    /// Until when no push is sent to a user who declined.
    pub(crate) fn push_blocked_until(&self, token: &UserToken, initiator: Initiator) -> MonoTime {
        let key = LimiterKey { name: token.clone(), bucket: Bucket::of(initiator) };
        let Some(declines) = self.declines.get(&key) else { return MonoTime::START };
        let Some(doublings) = declines.consecutive.checked_sub(2) else { return MonoTime::START };
        let backoff = DECLINE_BACKOFF.saturating_mul(1 << doublings.min(16));
        declines.last + backoff.min(MAX_DECLINE_BACKOFF)
    }

    /// The user has declined.
    pub(crate) fn record_decline(
        &mut self,
        token: &UserToken,
        initiator: Initiator,
        now: MonoTime,
    ) {
        let key = LimiterKey { name: token.clone(), bucket: Bucket::of(initiator) };
        if self.declines.len() >= MAX_KEYS && !self.declines.contains_key(&key) {
            self.purge_declines(now);
        }
        if self.declines.len() >= MAX_KEYS {
            let oldest = self.declines.iter().min_by_key(|(_, declines)| declines.last);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.declines.remove(&oldest);
            }
        }
        let declines = self.declines.entry(key).or_insert(Declines { consecutive: 0, last: now });
        if now >= declines.last + DECLINE_RESET {
            declines.consecutive = 0;
        }
        declines.consecutive += 1;
        declines.last = now;
    }

    /// Resets the counts of a user who has logged in.
    pub(crate) fn record_success(
        &mut self,
        name: &LoginKey,
        token: &UserToken,
        initiator: Initiator,
    ) {
        let key = LimiterKey { name: name.clone(), bucket: Bucket::of(initiator) };
        self.by_name.of(&key).reset(&key);
        let key = LimiterKey { name: token.clone(), bucket: Bucket::of(initiator) };
        self.by_token.of(&key).reset(&key);
        self.declines.remove(&key);
    }

    pub(crate) fn purge(&mut self, now: MonoTime) {
        self.by_name.purge(now);
        self.by_token.purge(now);
        self.by_address.purge(now);
        self.rejections.purge(now);
        self.purge_declines(now);
    }

    fn purge_declines(&mut self, now: MonoTime) {
        self.declines.retain(|_, declines| now < declines.last + DECLINE_RESET);
    }
}

/// The address that is counted: a client with an IPv6 address has all 2⁶⁴ addresses of its network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::browser_proofs::{BrowserProof, UserMark};

    const USER: UserMark = UserMark([3; 16]);
    const BROWSER: BrowserProof =
        BrowserProof { browser: BrowserId([7; 16]), user: USER, epoch: 0 };
    const SECOND: u64 = 1_000;

    fn limiter() -> LoginRateLimiter {
        LoginRateLimiter::new(&LoginLimits::default())
    }

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    fn name(name: &str) -> LoginKey {
        LoginKey::Username(name.into())
    }

    fn anonymous(last: u8) -> Initiator {
        Initiator::Anonymous(Some([198, 51, 100, last].into()))
    }

    fn seconds(seconds: u64) -> Result<(), Duration> {
        Err(Duration::from_secs(seconds))
    }

    #[test]
    fn anonymous_clients_have_their_own_limit() {
        let mut limiter = limiter();
        for i in 0..5 {
            let address = u8::try_from(i).unwrap();
            assert_eq!(
                limiter.check_start(&name("alice"), anonymous(address), at(i * SECOND)),
                Ok(())
            );
        }
        assert_eq!(limiter.check_start(&name("alice"), anonymous(9), at(5 * SECOND)), seconds(295));
        assert_eq!(limiter.check_start(&name("bob"), anonymous(9), at(5 * SECOND)), Ok(()));
        assert_eq!(
            limiter.check_start(&name("alice"), Initiator::KnownBrowser(BROWSER), at(5 * SECOND)),
            Ok(())
        );
        assert_eq!(
            limiter.check_start(&name("alice"), Initiator::Application, at(5 * SECOND)),
            Ok(())
        );
        let other = BrowserProof { browser: BrowserId([8; 16]), ..BROWSER };
        let other = Initiator::KnownBrowser(other);
        for _ in 0..5 {
            assert_eq!(limiter.check_start(&name("alice"), other, at(5 * SECOND)), Ok(()));
        }
        assert_eq!(
            limiter.check_start(&name("alice"), other, at(5 * SECOND)),
            seconds(300),
            "each browser has its own count"
        );
        assert_eq!(
            limiter.check_start(&name("alice"), anonymous(9), at(300 * SECOND)),
            Ok(()),
            "the first start is out of the window"
        );
    }

    #[test]
    fn user_has_twelve_starts_an_hour() {
        let mut limiter = limiter();
        let mut pushes = 0;
        for minute in 0..60 {
            pushes += u32::from(
                limiter.check_start(&name("alice"), anonymous(1), at(minute * 60 * SECOND)).is_ok(),
            );
        }
        assert_eq!(pushes, 12);
        assert!(limiter.check_start(&name("alice"), anonymous(1), at(3_600 * SECOND)).is_ok());
    }

    #[test]
    fn one_address_has_thirty_starts_for_all_names() {
        let mut limiter = limiter();
        for i in 0..30 {
            assert_eq!(
                limiter.check_start(&name(&i.to_string()), anonymous(1), at(i * SECOND)),
                Ok(())
            );
        }
        assert_eq!(
            limiter.check_start(&name("alice"), anonymous(1), at(30 * SECOND)),
            seconds(270)
        );
        let mapped = Initiator::Anonymous(Some("::ffff:198.51.100.1".parse().unwrap()));
        assert_eq!(limiter.check_start(&name("alice"), mapped, at(30 * SECOND)), seconds(270));
        let network = |address: &str| Initiator::Anonymous(Some(address.parse().unwrap()));
        for i in 0..30 {
            let address = network(&format!("2001:db8::{i:x}"));
            assert_eq!(
                limiter.check_start(&name(&i.to_string()), address, at(40 * SECOND + i * 100)),
                Ok(())
            );
        }
        assert!(
            limiter
                .check_start(&name("alice"), network("2001:db8::ffff"), at(44 * SECOND))
                .is_err()
        );
        assert_eq!(
            limiter.check_start(&name("alice"), network("2001:db8:0:1::"), at(44 * SECOND)),
            Ok(())
        );
        // Rejected starts were not counted.
        for i in 1..5 {
            assert_eq!(
                limiter.check_start(&name("alice"), anonymous(2), at((44 + i) * SECOND)),
                Ok(())
            );
        }
    }

    #[test]
    fn overall_limit_exempts_known_browsers() {
        let mut limiter = limiter();
        for i in 0..20 {
            assert_eq!(
                limiter.check_start(&name(&i.to_string()), Initiator::Anonymous(None), at(0)),
                Ok(())
            );
        }
        assert_eq!(
            limiter.check_start(&name("alice"), Initiator::Anonymous(None), at(999)),
            Err(Duration::from_millis(1))
        );
        assert_eq!(
            limiter.check_start(&name("alice"), Initiator::KnownBrowser(BROWSER), at(999)),
            Ok(())
        );
        assert_eq!(
            limiter.check_start(&name("alice"), Initiator::Anonymous(None), at(SECOND)),
            Ok(())
        );
    }

    #[test]
    fn names_of_one_user_share_the_push_limit() {
        let (mut limiter, token) = (limiter(), UserToken::new("t").unwrap());
        for _ in 0..5 {
            assert_eq!(limiter.check_push(&token, anonymous(1), at(0)), Ok(()));
        }
        assert_eq!(limiter.check_push(&token, anonymous(2), at(0)), seconds(300));
        assert_eq!(limiter.check_push(&token, Initiator::KnownBrowser(BROWSER), at(0)), Ok(()));
        limiter.record_success(&name("alice"), &token, anonymous(1));
        assert_eq!(limiter.check_push(&token, anonymous(2), at(0)), Ok(()));
    }

    #[test]
    fn each_decline_doubles_the_backoff() {
        let (mut limiter, token) = (limiter(), UserToken::new("t").unwrap());
        assert_eq!(limiter.push_blocked_until(&token, anonymous(1)), at(0));
        let mut backoffs = Vec::new();
        for _ in 0..10 {
            limiter.record_decline(&token, anonymous(1), at(SECOND));
            let until = limiter.push_blocked_until(&token, anonymous(2));
            backoffs.push(until.since(at(SECOND)).as_millis() / SECOND);
        }
        assert_eq!(backoffs, [0, 5, 10, 20, 40, 80, 160, 320, 640, 900]);
        assert_eq!(limiter.push_blocked_until(&token, Initiator::KnownBrowser(BROWSER)), at(0));
        let later = SECOND + 1_000 * DECLINE_RESET.as_secs();
        limiter.record_decline(&token, anonymous(1), at(later));
        assert_eq!(limiter.push_blocked_until(&token, anonymous(1)), at(0), "no longer in a row");
        limiter.record_decline(&token, anonymous(1), at(later));
        limiter.record_success(&name("alice"), &token, anonymous(1));
        assert_eq!(limiter.push_blocked_until(&token, anonymous(1)), at(0));
    }

    #[test]
    fn flood_of_names_blocks_no_other_name() {
        let overall = RateLimit::new(1_000_000, Duration::from_secs(1));
        let mut limiter = LoginRateLimiter::new(&LoginLimits::default().overall(overall));
        let token = UserToken::new("t").unwrap();
        for _ in 0..5 {
            assert_eq!(limiter.check_start(&name("alice"), anonymous(1), at(0)), Ok(()));
            assert_eq!(limiter.check_push(&token, anonymous(1), at(0)), Ok(()));
        }
        for i in 0..2 * MAX_KEYS as u64 {
            let name = name(&i.to_string());
            limiter.check_start(&name, Initiator::Anonymous(None), at(1 + i / 1_000)).unwrap();
        }
        assert!(limiter.by_name.anonymous.len() <= MAX_KEYS);
        assert_eq!(limiter.check_start(&name("bob"), anonymous(1), at(SECOND)), Ok(()));
        // Names that a flood has pushed out: the phone is counted apart.
        assert_eq!(limiter.check_push(&token, anonymous(1), at(SECOND)), seconds(299));
    }

    #[test]
    fn rejected_starts_count_by_address_and_name() {
        let mut limiter = limiter();
        for rejection in 1..=5 {
            let wait = limiter.record_rejection(&name("alice"), anonymous(1), at(0));
            assert_eq!(wait.is_some(), rejection == 5, "{rejection}");
        }
        assert_eq!(limiter.check_start(&name("alice"), anonymous(1), at(SECOND)), seconds(299));
        // Neither the name alone nor the address alone is rejected.
        assert_eq!(limiter.check_start(&name("alice"), anonymous(2), at(0)), Ok(()));
        assert_eq!(limiter.check_start(&name("bob"), anonymous(1), at(0)), Ok(()));
        assert_eq!(
            limiter.check_start(&name("alice"), Initiator::KnownBrowser(BROWSER), at(0)),
            Ok(())
        );
        // A client that does not pause stays rejected.
        for i in 0..100 {
            let now = i * 10 * SECOND;
            assert!(limiter.check_start(&name("alice"), anonymous(1), at(now)).is_err(), "{i}");
        }
        let now = (95 * 10 + 300) * SECOND;
        assert_eq!(limiter.check_start(&name("alice"), anonymous(1), at(now)), Ok(()));
        // Of clients without an address none is counted: they would be the name alone.
        for _ in 0..100 {
            assert_eq!(
                limiter.record_rejection(&name("carol"), Initiator::Anonymous(None), at(0)),
                None
            );
        }
        assert_eq!(limiter.check_start(&name("carol"), Initiator::Anonymous(None), at(0)), Ok(()));
    }

    #[test]
    fn overload_by_others_counts_no_rejection() {
        let mut limiter = limiter();
        for i in 0..20 {
            let other = name(&i.to_string());
            assert_eq!(limiter.check_start(&other, Initiator::Anonymous(None), at(0)), Ok(()));
        }
        for _ in 0..100 {
            assert!(limiter.check_start(&name("alice"), anonymous(1), at(0)).is_err());
        }
        assert_eq!(limiter.check_start(&name("alice"), anonymous(1), at(SECOND)), Ok(()));
    }
}
