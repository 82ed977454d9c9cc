//! How often logins may be begun, so that nobody can have a stranger's phone ring all day, nor keep
//! its owner out.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::budget::{Budget, Rate};
use super::known_browser::BrowserId;
use super::username::LoginKey;
use crate::clock::millis;
use crate::identity::UserToken;

/// As many names, and as many addresses, are counted at a time.
const KEYS: usize = 100_000;
/// How long the phone stays quiet after the second decline in a row; each further one doubles it.
/// The first costs nothing: a slip of the finger.
const QUIET: Duration = Duration::from_secs(5);
/// And no longer than this.
const LONGEST_QUIET: Duration = Duration::from_secs(900);
/// After so long without a decline they are no longer in a row.
const ROW: Duration = Duration::from_secs(3_600);

/// How often logins may be begun; [`Builder::login_limits`](crate::Builder::login_limits) takes
/// them. One that is refused rings nothing, and counts for nothing.
///
/// ```
/// use std::time::Duration;
/// use tower_activeconnect::{LoginLimits, Rate};
///
/// let limits = LoginLimits::default().per_address(Rate::new(100, Duration::from_secs(300)));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct LoginLimits {
    pub(crate) per_user: Vec<Rate>,
    pub(crate) per_address: Rate,
    pub(crate) overall: Rate,
}

impl Default for LoginLimits {
    fn default() -> Self {
        let (minutes, hour) = (Duration::from_secs(300), Duration::from_secs(3_600));
        Self {
            per_user: vec![Rate::new(5, minutes), Rate::new(12, hour)],
            per_address: Rate::new(30, minutes),
            overall: Rate::new(20, Duration::from_secs(1)),
        }
    }
}

impl LoginLimits {
    /// For one user since their last login that succeeded: by default 5 in 5 minutes and 12 an
    /// hour. Each browser that the user has logged in with before, and the application by
    /// [`log_in`](crate::Activeconnect::log_in), has the same for itself, and so have the user's
    /// sessions together, for confirmations: strangers can't use it up. A success restores the
    /// budget that it was spent from.
    pub fn per_user(mut self, rates: impl IntoIterator<Item = Rate>) -> Self {
        self.per_user = rates.into_iter().collect();
        self
    }

    /// For one client address (for IPv6, one /64 network): by default 30 in 5 minutes. The address
    /// is that of axum's `ConnectInfo<SocketAddr>`; without it nothing is counted by address.
    pub fn per_address(mut self, rate: Rate) -> Self {
        self.per_address = rate;
        self
    }

    /// For all browsers that have not logged in before: by default 20 a second.
    pub fn overall(mut self, rate: Rate) -> Self {
        self.overall = rate;
        self
    }

    /// All rates, with the names of what sets them.
    pub(crate) fn rates(&self) -> impl Iterator<Item = (&'static str, Rate)> {
        let per_user = self.per_user.iter().map(|rate| ("per_user", *rate));
        per_user.chain([("per_address", self.per_address), ("overall", self.overall)])
    }
}

/// Who begins a login.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Starter {
    /// Some browser or program, from this address if that is known.
    Stranger(Option<IpAddr>),
    /// A browser in which somebody has logged in by this name before.
    Known(BrowserId),
    /// Somebody who has a session of that user.
    Session,
    /// The application itself.
    Application,
}

impl Starter {
    /// Whether it may take the place of one that was faster.
    pub(crate) fn goes_before(self, other: Self) -> bool {
        match self {
            Self::Stranger(_) => false,
            Self::Known(_) | Self::Application => {
                matches!(other, Self::Stranger(_) | Self::Known(_))
            }
            Self::Session => true,
        }
    }

    /// Whether it has shown that it is the user's.
    pub(crate) fn is_known(self) -> bool {
        matches!(self, Self::Known(_) | Self::Session)
    }
}

/// Whose budget it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Purse<N> {
    name: N,
    /// Of this browser alone, of those with a session, the application's, or everybody else's.
    owner: Owner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Owner {
    Strangers,
    Browser(BrowserId),
    Sessions,
    Application,
}

impl Starter {
    fn owner(self) -> Owner {
        match self {
            Self::Stranger(_) => Owner::Strangers,
            Self::Known(browser) => Owner::Browser(browser),
            Self::Session => Owner::Sessions,
            Self::Application => Owner::Application,
        }
    }
}

/// What was spent of the limits. Counted by what was typed, so that a refusal says nothing about
/// who exists; and again, in silence, by the token that a phone is rung for, since several names may
/// lead to one user.
#[derive(Debug)]
pub(crate) struct LoginBudgets {
    by_name: ByWho<LoginKey>,
    by_token: ByWho<UserToken>,
    by_address: Budget<IpAddr>,
    overall: Budget<()>,
    declines: HashMap<Purse<UserToken>, Declines>,
}

/// The budgets of strangers, and those of everybody else, which no flood of strangers fills.
#[derive(Debug)]
struct ByWho<N> {
    strangers: Budget<Purse<N>>,
    others: Budget<Purse<N>>,
}

impl<N: Eq + Hash> ByWho<N> {
    fn new(rates: &[Rate]) -> Self {
        Self { strangers: Budget::new(rates, KEYS), others: Budget::new(rates, KEYS) }
    }

    fn of(&mut self, purse: &Purse<N>) -> &mut Budget<Purse<N>> {
        match purse.owner {
            Owner::Strangers => &mut self.strangers,
            Owner::Browser(_) | Owner::Sessions | Owner::Application => &mut self.others,
        }
    }

    fn sweep(&mut self, now: u64) {
        self.strangers.sweep(now);
        self.others.sweep(now);
    }
}

#[derive(Debug)]
struct Declines {
    in_a_row: u32,
    last: u64,
}

impl LoginBudgets {
    pub(crate) fn new(limits: &LoginLimits) -> Self {
        Self {
            by_name: ByWho::new(&limits.per_user),
            by_token: ByWho::new(&limits.per_user),
            by_address: Budget::new([limits.per_address], KEYS),
            overall: Budget::new([limits.overall], 1),
            declines: HashMap::new(),
        }
    }

    /// Spends what one start costs, of all budgets or of none.
    ///
    /// # Errors
    ///
    /// How long to wait.
    pub(crate) fn begin(
        &mut self,
        name: &LoginKey,
        starter: Starter,
        now: u64,
    ) -> Result<(), Duration> {
        let purse = Purse { name: name.clone(), owner: starter.owner() };
        let mut wait = self.by_name.of(&purse).wait(&purse, now);
        let stranger = match starter {
            Starter::Stranger(address) => Some(address.map(network)),
            Starter::Known(_) | Starter::Session | Starter::Application => None,
        };
        if let Some(network) = stranger {
            let by_address = network.and_then(|network| self.by_address.wait(&network, now));
            wait = wait.max(by_address).max(self.overall.wait(&(), now));
        }
        if let Some(wait) = wait {
            return Err(wait);
        }
        self.by_name.of(&purse).spend(purse, now);
        if let Some(network) = stranger {
            self.overall.spend((), now);
            if let Some(network) = network {
                self.by_address.spend(network, now);
            }
        }
        Ok(())
    }

    /// Spends what ringing a phone costs, for a login begun at `begun`.
    ///
    /// # Errors
    ///
    /// How long to wait.
    pub(crate) fn ring(
        &mut self,
        token: &UserToken,
        starter: Starter,
        begun: u64,
    ) -> Result<(), Duration> {
        let purse = Purse { name: token.clone(), owner: starter.owner() };
        let budget = self.by_token.of(&purse);
        match budget.wait(&purse, begun) {
            Some(wait) => Err(wait),
            None => {
                budget.spend(purse, begun);
                Ok(())
            }
        }
    }

    /// Until when the user who declined is left alone.
    pub(crate) fn quiet_until(&self, token: &UserToken, starter: Starter) -> u64 {
        let purse = Purse { name: token.clone(), owner: starter.owner() };
        let Some(declines) = self.declines.get(&purse) else { return 0 };
        let Some(doublings) = declines.in_a_row.checked_sub(2) else { return 0 };
        let quiet = millis(QUIET) << doublings.min(16);
        declines.last + quiet.min(millis(LONGEST_QUIET))
    }

    /// The user has declined.
    pub(crate) fn declined(&mut self, token: &UserToken, starter: Starter, now: u64) {
        let purse = Purse { name: token.clone(), owner: starter.owner() };
        let declines = self.declines.entry(purse).or_insert(Declines { in_a_row: 0, last: now });
        if now >= declines.last + millis(ROW) {
            declines.in_a_row = 0;
        }
        declines.in_a_row += 1;
        declines.last = now;
    }

    /// The user has logged in: what was spent since the last time is forgotten.
    pub(crate) fn succeeded(&mut self, name: &LoginKey, token: &UserToken, starter: Starter) {
        let purse = Purse { name: name.clone(), owner: starter.owner() };
        self.by_name.of(&purse).restore(&purse);
        let purse = Purse { name: token.clone(), owner: starter.owner() };
        self.by_token.of(&purse).restore(&purse);
        self.declines.remove(&purse);
    }

    pub(crate) fn sweep(&mut self, now: u64) {
        self.by_name.sweep(now);
        self.by_token.sweep(now);
        self.by_address.sweep(now);
        self.declines.retain(|_, declines| now < declines.last + millis(ROW));
    }
}

/// What is counted as one address: whoever has an IPv6 address has the other 2⁶⁴ of its network.
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

    const BROWSER: BrowserId = BrowserId([7; 16]);
    const SECOND: u64 = 1_000;

    fn budgets() -> LoginBudgets {
        LoginBudgets::new(&LoginLimits::default())
    }

    fn name(name: &str) -> LoginKey {
        LoginKey::Username(name.into())
    }

    fn stranger(last: u8) -> Starter {
        Starter::Stranger(Some([198, 51, 100, last].into()))
    }

    fn seconds(seconds: u64) -> Result<(), Duration> {
        Err(Duration::from_secs(seconds))
    }

    #[test]
    fn strangers_spend_their_own_budget_alone() {
        let mut budgets = budgets();
        for at in 0..5 {
            let address = u8::try_from(at).unwrap();
            assert_eq!(budgets.begin(&name("alice"), stranger(address), at * SECOND), Ok(()));
        }
        assert_eq!(budgets.begin(&name("alice"), stranger(9), 5 * SECOND), seconds(295));
        assert_eq!(budgets.begin(&name("bob"), stranger(9), 5 * SECOND), Ok(()));
        assert_eq!(budgets.begin(&name("alice"), Starter::Known(BROWSER), 5 * SECOND), Ok(()));
        assert_eq!(budgets.begin(&name("alice"), Starter::Application, 5 * SECOND), Ok(()));
        let other = Starter::Known(BrowserId([8; 16]));
        for _ in 0..5 {
            assert_eq!(budgets.begin(&name("alice"), other, 5 * SECOND), Ok(()));
        }
        assert_eq!(
            budgets.begin(&name("alice"), other, 5 * SECOND),
            seconds(300),
            "each for itself"
        );
        assert_eq!(
            budgets.begin(&name("alice"), stranger(9), 300 * SECOND),
            Ok(()),
            "the first is over"
        );
    }

    #[test]
    fn an_hour_has_no_more_than_twelve() {
        let mut budgets = budgets();
        let mut rung = 0;
        for minute in 0..60 {
            rung +=
                u32::from(budgets.begin(&name("alice"), stranger(1), minute * 60 * SECOND).is_ok());
        }
        assert_eq!(rung, 12);
        assert!(budgets.begin(&name("alice"), stranger(1), 3_600 * SECOND).is_ok());
    }

    #[test]
    fn one_address_has_thirty_whatever_names_it_tries() {
        let mut budgets = budgets();
        for at in 0..30 {
            assert_eq!(budgets.begin(&name(&at.to_string()), stranger(1), at * SECOND), Ok(()));
        }
        assert_eq!(budgets.begin(&name("alice"), stranger(1), 30 * SECOND), seconds(270));
        let mapped = Starter::Stranger(Some("::ffff:198.51.100.1".parse().unwrap()));
        assert_eq!(budgets.begin(&name("alice"), mapped, 30 * SECOND), seconds(270));
        let network = |address: &str| Starter::Stranger(Some(address.parse().unwrap()));
        for at in 0..30 {
            let address = network(&format!("2001:db8::{at:x}"));
            assert_eq!(
                budgets.begin(&name(&at.to_string()), address, 40 * SECOND + at * 100),
                Ok(())
            );
        }
        assert!(budgets.begin(&name("alice"), network("2001:db8::ffff"), 44 * SECOND).is_err());
        assert_eq!(budgets.begin(&name("alice"), network("2001:db8:0:1::"), 44 * SECOND), Ok(()));
        // What was refused was charged to nobody.
        for at in 1..5 {
            assert_eq!(budgets.begin(&name("alice"), stranger(2), (44 + at) * SECOND), Ok(()));
        }
    }

    #[test]
    fn twenty_a_second_overall_but_those_who_are_known() {
        let mut budgets = budgets();
        for at in 0..20 {
            assert_eq!(budgets.begin(&name(&at.to_string()), Starter::Stranger(None), 0), Ok(()));
        }
        assert_eq!(
            budgets.begin(&name("alice"), Starter::Stranger(None), 999),
            Err(Duration::from_millis(1))
        );
        assert_eq!(budgets.begin(&name("alice"), Starter::Known(BROWSER), 999), Ok(()));
        assert_eq!(budgets.begin(&name("alice"), Starter::Stranger(None), SECOND), Ok(()));
    }

    #[test]
    fn names_of_one_user_share_the_phone() {
        let (mut budgets, token) = (budgets(), UserToken::new("t").unwrap());
        for _ in 0..5 {
            assert_eq!(budgets.ring(&token, stranger(1), 0), Ok(()));
        }
        assert_eq!(budgets.ring(&token, stranger(2), 0), seconds(300));
        assert_eq!(budgets.ring(&token, Starter::Known(BROWSER), 0), Ok(()));
        budgets.succeeded(&name("alice"), &token, stranger(1));
        assert_eq!(budgets.ring(&token, stranger(2), 0), Ok(()));
    }

    #[test]
    fn each_decline_doubles_the_quiet() {
        let (mut budgets, token) = (budgets(), UserToken::new("t").unwrap());
        assert_eq!(budgets.quiet_until(&token, stranger(1)), 0);
        let mut quiet = Vec::new();
        for _ in 0..10 {
            budgets.declined(&token, stranger(1), SECOND);
            let until = budgets.quiet_until(&token, stranger(2));
            quiet.push(until.saturating_sub(SECOND) / SECOND);
        }
        assert_eq!(quiet, [0, 5, 10, 20, 40, 80, 160, 320, 640, 900]);
        assert_eq!(budgets.quiet_until(&token, Starter::Known(BROWSER)), 0);
        let later = SECOND + millis(ROW);
        budgets.declined(&token, stranger(1), later);
        assert_eq!(budgets.quiet_until(&token, stranger(1)), 0, "no longer in a row");
        budgets.declined(&token, stranger(1), later);
        budgets.succeeded(&name("alice"), &token, stranger(1));
        assert_eq!(budgets.quiet_until(&token, stranger(1)), 0);
    }

    #[test]
    fn a_flood_is_forgotten() {
        let mut budgets = budgets();
        for at in 0..KEYS as u64 {
            budgets.begin(&name(&at.to_string()), Starter::Stranger(None), at * 50).unwrap();
        }
        let now = KEYS as u64 * 50;
        assert!(
            budgets.begin(&name("alice"), Starter::Stranger(None), now).is_err(),
            "names are bounded"
        );
        assert_eq!(budgets.begin(&name("alice"), Starter::Known(BROWSER), now), Ok(()));
        budgets.sweep(now);
        let kept = budgets.by_name.strangers.len();
        assert!(kept <= 72_000, "{kept}");
        assert_eq!(budgets.begin(&name("alice"), Starter::Stranger(None), now), Ok(()));
    }
}
