//! Limits of login starts: no client can send pushes to a phone all day, nor lock its owner out.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::clock::MonoTime;
use crate::identity::UserToken;
use crate::login::browser_proofs::{BrowserId, BrowserProof};
use crate::login::rate_window::{RateLimit, SlidingWindowLimiter};
use crate::login::username::LoginKey;

/// As many names, addresses and pairs of both are counted at a time; for one more, the oldest are
/// forgotten.
const MAX_KEYS: usize = 100_000;
/// How long the phone stays quiet after the second decline in a row; each further one doubles it.
/// The first costs nothing: a slip of the finger.
const DECLINE_BACKOFF: Duration = Duration::from_secs(5);
/// And no longer than this.
const MAX_DECLINE_BACKOFF: Duration = Duration::from_secs(900);
/// After so long without a decline they are no longer in a row.
const DECLINE_RESET: Duration = Duration::from_secs(3_600);

/// The limits of login starts, for
/// [`ActiveconnectBuilder::login_limits`](crate::ActiveconnectBuilder::login_limits). A rejected
/// start sends no push and is not counted for the name, the address or in all. It counts for the
/// pair of client address and name: a client that was rejected under a name as often as the
/// shortest of the `per_user` rates allows (by default 5 times in 5 minutes) is rejected under that
/// name until it has paused, while others are not.
///
/// ```
/// use std::time::Duration;
/// use tower_activeconnect::login::{LoginLimits, RateLimit};
///
/// let limits = LoginLimits::default().per_address(RateLimit::new(100, Duration::from_secs(300)));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct LoginLimits {
    pub(crate) per_user: Vec<RateLimit>,
    pub(crate) per_address: RateLimit,
    pub(crate) overall: RateLimit,
}

impl Default for LoginLimits {
    fn default() -> Self {
        let (minutes, hour) = (Duration::from_secs(300), Duration::from_secs(3_600));
        Self {
            per_user: vec![RateLimit::new(5, minutes), RateLimit::new(12, hour)],
            per_address: RateLimit::new(30, minutes),
            overall: RateLimit::new(20, Duration::from_secs(1)),
        }
    }
}

impl LoginLimits {
    /// For one user since the last successful login: by default 5 in 5 minutes and 12 an hour. Each
    /// browser in which the user has logged in before, the application through
    /// [`log_in`](crate::Activeconnect::log_in), and the user's sessions together, for
    /// confirmations, have the same limit apart, so that anonymous clients cannot use it up. A
    /// success resets the count that it belongs to. After a success, as after a failure, the name
    /// stays reserved to the deadline of that attempt for unknown browsers.
    pub fn per_user(mut self, rates: impl IntoIterator<Item = RateLimit>) -> Self {
        self.per_user = rates.into_iter().collect();
        self
    }

    /// For one client address (for IPv6, one /64 network): by default 30 in 5 minutes. The address
    /// is that of axum's `ConnectInfo<SocketAddr>`; without it nothing is counted by address.
    pub fn per_address(mut self, rate: RateLimit) -> Self {
        self.per_address = rate;
        self
    }

    /// For all browsers that have not logged in before: by default 20 a second.
    pub fn overall(mut self, rate: RateLimit) -> Self {
        self.overall = rate;
        self
    }

    /// All rates, with the names of the methods that set them.
    pub(crate) fn rates(&self) -> impl Iterator<Item = (&'static str, RateLimit)> {
        let per_user = self.per_user.iter().map(|rate| ("per_user", *rate));
        per_user.chain([("per_address", self.per_address), ("overall", self.overall)])
    }
}

/// The initiator of a login.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Initiator {
    /// An unknown browser or a program, with its address if that is known.
    Anonymous(Option<IpAddr>),
    /// A browser that has logged in under this name before, by its proof.
    KnownBrowser(BrowserProof),
    /// A browser that has a session of that user.
    Session,
    /// The application itself.
    Application,
}

impl Initiator {
    /// Whether its attempt may supersede one of `other`.
    pub(crate) fn may_supersede(self, other: Self) -> bool {
        match self {
            Self::Anonymous(_) => false,
            Self::KnownBrowser(_) | Self::Application => {
                matches!(other, Self::Anonymous(_) | Self::KnownBrowser(_))
            }
            Self::Session => true,
        }
    }

    /// Whether it has proven that it is the user's.
    pub(crate) fn is_known(self) -> bool {
        matches!(self, Self::KnownBrowser(_) | Self::Session)
    }

    pub(crate) fn is_known_browser(self) -> bool {
        matches!(self, Self::KnownBrowser(_))
    }

    pub(crate) fn is_anonymous(self) -> bool {
        matches!(self, Self::Anonymous(_))
    }

    fn bucket(self) -> Bucket {
        match self {
            Self::Anonymous(_) => Bucket::Anonymous,
            Self::KnownBrowser(proof) => Bucket::Browser(proof.browser),
            Self::Session => Bucket::Sessions,
            Self::Application => Bucket::Application,
        }
    }
}

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
    refused: SlidingWindowLimiter<(IpAddr, LoginKey)>,
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

    fn sweep(&mut self, now: MonoTime) {
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
            refused: SlidingWindowLimiter::new(shortest.as_slice(), MAX_KEYS),
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
        let key = LimiterKey { name: name.clone(), bucket: initiator.bucket() };
        let mut wait = self.by_name.of(&key).retry_after(&key, now);
        let anonymous = match initiator {
            Initiator::Anonymous(address) => Some(address.map(network)),
            Initiator::KnownBrowser(_) | Initiator::Session | Initiator::Application => None,
        };
        if let Some(network) = anonymous {
            let pair = network.map(|network| (network, name.clone()));
            wait = wait.max(pair.and_then(|pair| self.refused.retry_after(&pair, now)));
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
        self.refused.record(pair.clone(), now);
        self.refused.retry_after(&pair, now)
    }

    /// Counts a push for a login that started at `begun`.
    ///
    /// # Errors
    ///
    /// How long to wait.
    pub(crate) fn check_push(
        &mut self,
        token: &UserToken,
        initiator: Initiator,
        begun: MonoTime,
    ) -> Result<(), Duration> {
        let key = LimiterKey { name: token.clone(), bucket: initiator.bucket() };
        let budget = self.by_token.of(&key);
        match budget.retry_after(&key, begun) {
            Some(wait) => Err(wait),
            None => {
                budget.record(key, begun);
                Ok(())
            }
        }
    }

    /// Until when no push is sent to a user who declined.
    pub(crate) fn push_blocked_until(&self, token: &UserToken, initiator: Initiator) -> MonoTime {
        let key = LimiterKey { name: token.clone(), bucket: initiator.bucket() };
        let Some(declines) = self.declines.get(&key) else { return MonoTime::START };
        let Some(doublings) = declines.consecutive.checked_sub(2) else { return MonoTime::START };
        let quiet = DECLINE_BACKOFF.saturating_mul(1 << doublings.min(16));
        declines.last + quiet.min(MAX_DECLINE_BACKOFF)
    }

    /// The user has declined.
    pub(crate) fn record_decline(
        &mut self,
        token: &UserToken,
        initiator: Initiator,
        now: MonoTime,
    ) {
        let key = LimiterKey { name: token.clone(), bucket: initiator.bucket() };
        if self.declines.len() >= MAX_KEYS && !self.declines.contains_key(&key) {
            self.sweep_declines(now);
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
        let key = LimiterKey { name: name.clone(), bucket: initiator.bucket() };
        self.by_name.of(&key).reset(&key);
        let key = LimiterKey { name: token.clone(), bucket: initiator.bucket() };
        self.by_token.of(&key).reset(&key);
        self.declines.remove(&key);
    }

    pub(crate) fn sweep(&mut self, now: MonoTime) {
        self.by_name.sweep(now);
        self.by_token.sweep(now);
        self.by_address.purge(now);
        self.refused.purge(now);
        self.sweep_declines(now);
    }

    fn sweep_declines(&mut self, now: MonoTime) {
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
    use crate::login::browser_proofs::UserMark;

    const USER: UserMark = UserMark([3; 16]);
    const BROWSER: BrowserProof =
        BrowserProof { browser: BrowserId([7; 16]), user: USER, epoch: 0 };
    const SECOND: u64 = 1_000;

    fn budgets() -> LoginRateLimiter {
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
        let mut budgets = budgets();
        for i in 0..5 {
            let address = u8::try_from(i).unwrap();
            assert_eq!(
                budgets.check_start(&name("alice"), anonymous(address), at(i * SECOND)),
                Ok(())
            );
        }
        assert_eq!(budgets.check_start(&name("alice"), anonymous(9), at(5 * SECOND)), seconds(295));
        assert_eq!(budgets.check_start(&name("bob"), anonymous(9), at(5 * SECOND)), Ok(()));
        assert_eq!(
            budgets.check_start(&name("alice"), Initiator::KnownBrowser(BROWSER), at(5 * SECOND)),
            Ok(())
        );
        assert_eq!(
            budgets.check_start(&name("alice"), Initiator::Application, at(5 * SECOND)),
            Ok(())
        );
        let other = BrowserProof { browser: BrowserId([8; 16]), ..BROWSER };
        let other = Initiator::KnownBrowser(other);
        for _ in 0..5 {
            assert_eq!(budgets.check_start(&name("alice"), other, at(5 * SECOND)), Ok(()));
        }
        assert_eq!(
            budgets.check_start(&name("alice"), other, at(5 * SECOND)),
            seconds(300),
            "each for itself"
        );
        assert_eq!(
            budgets.check_start(&name("alice"), anonymous(9), at(300 * SECOND)),
            Ok(()),
            "the first is over"
        );
    }

    #[test]
    fn hour_has_no_more_than_twelve() {
        let mut budgets = budgets();
        let mut rung = 0;
        for minute in 0..60 {
            rung += u32::from(
                budgets.check_start(&name("alice"), anonymous(1), at(minute * 60 * SECOND)).is_ok(),
            );
        }
        assert_eq!(rung, 12);
        assert!(budgets.check_start(&name("alice"), anonymous(1), at(3_600 * SECOND)).is_ok());
    }

    #[test]
    fn one_address_has_thirty_whatever_names_it_tries() {
        let mut budgets = budgets();
        for i in 0..30 {
            assert_eq!(
                budgets.check_start(&name(&i.to_string()), anonymous(1), at(i * SECOND)),
                Ok(())
            );
        }
        assert_eq!(
            budgets.check_start(&name("alice"), anonymous(1), at(30 * SECOND)),
            seconds(270)
        );
        let mapped = Initiator::Anonymous(Some("::ffff:198.51.100.1".parse().unwrap()));
        assert_eq!(budgets.check_start(&name("alice"), mapped, at(30 * SECOND)), seconds(270));
        let network = |address: &str| Initiator::Anonymous(Some(address.parse().unwrap()));
        for i in 0..30 {
            let address = network(&format!("2001:db8::{i:x}"));
            assert_eq!(
                budgets.check_start(&name(&i.to_string()), address, at(40 * SECOND + i * 100)),
                Ok(())
            );
        }
        assert!(
            budgets
                .check_start(&name("alice"), network("2001:db8::ffff"), at(44 * SECOND))
                .is_err()
        );
        assert_eq!(
            budgets.check_start(&name("alice"), network("2001:db8:0:1::"), at(44 * SECOND)),
            Ok(())
        );
        // Rejected starts were not counted.
        for i in 1..5 {
            assert_eq!(
                budgets.check_start(&name("alice"), anonymous(2), at((44 + i) * SECOND)),
                Ok(())
            );
        }
    }

    #[test]
    fn overall_limit_exempts_known_browsers() {
        let mut budgets = budgets();
        for i in 0..20 {
            assert_eq!(
                budgets.check_start(&name(&i.to_string()), Initiator::Anonymous(None), at(0)),
                Ok(())
            );
        }
        assert_eq!(
            budgets.check_start(&name("alice"), Initiator::Anonymous(None), at(999)),
            Err(Duration::from_millis(1))
        );
        assert_eq!(
            budgets.check_start(&name("alice"), Initiator::KnownBrowser(BROWSER), at(999)),
            Ok(())
        );
        assert_eq!(
            budgets.check_start(&name("alice"), Initiator::Anonymous(None), at(SECOND)),
            Ok(())
        );
    }

    #[test]
    fn names_of_one_user_share_the_phone() {
        let (mut budgets, token) = (budgets(), UserToken::new("t").unwrap());
        for _ in 0..5 {
            assert_eq!(budgets.check_push(&token, anonymous(1), at(0)), Ok(()));
        }
        assert_eq!(budgets.check_push(&token, anonymous(2), at(0)), seconds(300));
        assert_eq!(budgets.check_push(&token, Initiator::KnownBrowser(BROWSER), at(0)), Ok(()));
        budgets.record_success(&name("alice"), &token, anonymous(1));
        assert_eq!(budgets.check_push(&token, anonymous(2), at(0)), Ok(()));
    }

    #[test]
    fn each_decline_doubles_the_quiet() {
        let (mut budgets, token) = (budgets(), UserToken::new("t").unwrap());
        assert_eq!(budgets.push_blocked_until(&token, anonymous(1)), at(0));
        let mut quiet = Vec::new();
        for _ in 0..10 {
            budgets.record_decline(&token, anonymous(1), at(SECOND));
            let until = budgets.push_blocked_until(&token, anonymous(2));
            quiet.push(until.since(at(SECOND)).as_millis() / SECOND);
        }
        assert_eq!(quiet, [0, 5, 10, 20, 40, 80, 160, 320, 640, 900]);
        assert_eq!(budgets.push_blocked_until(&token, Initiator::KnownBrowser(BROWSER)), at(0));
        let later = SECOND + 1_000 * DECLINE_RESET.as_secs();
        budgets.record_decline(&token, anonymous(1), at(later));
        assert_eq!(budgets.push_blocked_until(&token, anonymous(1)), at(0), "no longer in a row");
        budgets.record_decline(&token, anonymous(1), at(later));
        budgets.record_success(&name("alice"), &token, anonymous(1));
        assert_eq!(budgets.push_blocked_until(&token, anonymous(1)), at(0));
    }

    #[test]
    fn flood_of_names_keeps_no_name_out() {
        let overall = RateLimit::new(1_000_000, Duration::from_secs(1));
        let mut budgets = LoginRateLimiter::new(&LoginLimits::default().overall(overall));
        let token = UserToken::new("t").unwrap();
        for _ in 0..5 {
            assert_eq!(budgets.check_start(&name("alice"), anonymous(1), at(0)), Ok(()));
            assert_eq!(budgets.check_push(&token, anonymous(1), at(0)), Ok(()));
        }
        for i in 0..2 * MAX_KEYS as u64 {
            let name = name(&i.to_string());
            budgets.check_start(&name, Initiator::Anonymous(None), at(1 + i / 1_000)).unwrap();
        }
        assert!(budgets.by_name.anonymous.len() <= MAX_KEYS);
        assert_eq!(budgets.check_start(&name("bob"), anonymous(1), at(SECOND)), Ok(()));
        // Names that a flood has pushed out: the phone is counted apart.
        assert_eq!(budgets.check_push(&token, anonymous(1), at(SECOND)), seconds(299));
    }

    #[test]
    fn refused_starts_count_by_address_and_name() {
        let mut budgets = budgets();
        for refusal in 1..=5 {
            let wait = budgets.record_rejection(&name("alice"), anonymous(1), at(0));
            assert_eq!(wait.is_some(), refusal == 5, "{refusal}");
        }
        assert_eq!(budgets.check_start(&name("alice"), anonymous(1), at(SECOND)), seconds(299));
        // Neither the name alone nor the address alone is rejected.
        assert_eq!(budgets.check_start(&name("alice"), anonymous(2), at(0)), Ok(()));
        assert_eq!(budgets.check_start(&name("bob"), anonymous(1), at(0)), Ok(()));
        assert_eq!(
            budgets.check_start(&name("alice"), Initiator::KnownBrowser(BROWSER), at(0)),
            Ok(())
        );
        // A client that does not pause stays rejected.
        for i in 0..100 {
            let now = i * 10 * SECOND;
            assert!(budgets.check_start(&name("alice"), anonymous(1), at(now)).is_err(), "{i}");
        }
        let now = (95 * 10 + 300) * SECOND;
        assert_eq!(budgets.check_start(&name("alice"), anonymous(1), at(now)), Ok(()));
        // Of clients without an address none is counted: they would be the name alone.
        for _ in 0..100 {
            assert_eq!(
                budgets.record_rejection(&name("carol"), Initiator::Anonymous(None), at(0)),
                None
            );
        }
        assert_eq!(budgets.check_start(&name("carol"), Initiator::Anonymous(None), at(0)), Ok(()));
    }

    #[test]
    fn overload_by_others_counts_no_refusal() {
        let mut budgets = budgets();
        for i in 0..20 {
            let other = name(&i.to_string());
            assert_eq!(budgets.check_start(&other, Initiator::Anonymous(None), at(0)), Ok(()));
        }
        for _ in 0..100 {
            assert!(budgets.check_start(&name("alice"), anonymous(1), at(0)).is_err());
        }
        assert_eq!(budgets.check_start(&name("alice"), anonymous(1), at(SECOND)), Ok(()));
    }
}
