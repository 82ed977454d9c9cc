//! The limits of login starts, as the application configures them.

use std::time::Duration;

use crate::login::rate_window::RateLimit;

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
