use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use crate::clock::{Millis, MonoTime};

/// A number of events in any window of a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub(crate) count: u32,
    pub(crate) per: Duration,
}

impl RateLimit {
    /// `times` within `within`: 1 to 1,000,000 times, 1 s to 24 h; the builder checks.
    #[must_use]
    pub const fn new(count: u32, per: Duration) -> Self {
        Self { count, per }
    }

    /// Room for as many moments as it counts.
    fn count(self) -> usize {
        usize::try_from(self.count.max(1)).unwrap_or(usize::MAX)
    }
}

/// Limits the events of each key. It stores their moments, so that no window of time, wherever it
/// starts, has more events than the rate allows.
#[derive(Debug)]
pub(crate) struct SlidingWindowLimiter<K> {
    rates: Vec<RateLimit>,
    recorded: HashMap<K, VecDeque<MonoTime>>,
    /// The maximum number of keys. A further key evicts those that had no event for the longest
    /// time, so that a flood of keys locks no other key out.
    max_keys: usize,
}

impl<K: Eq + Hash> SlidingWindowLimiter<K> {
    pub(crate) fn new(rates: impl Into<Vec<RateLimit>>, max_keys: usize) -> Self {
        Self { rates: rates.into(), recorded: HashMap::new(), max_keys }
    }

    /// How long to wait before one more event is allowed; `None` if it is allowed now.
    pub(crate) fn retry_after(&self, key: &K, now: MonoTime) -> Option<Duration> {
        let times = self.recorded.get(key)?;
        let free_at = self.rates.iter().filter_map(|rate| {
            let oldest =
                times.len().checked_sub(rate.count()).and_then(|index| times.get(index))?;
            Some(*oldest + rate.per)
        });
        let wait = free_at.max()?.since(now);
        (wait > Millis::ZERO).then(|| wait.into())
    }

    /// Records an event, whether it is allowed or not.
    pub(crate) fn record(&mut self, key: K, now: MonoTime) {
        if self.recorded.len() >= self.max_keys && !self.recorded.contains_key(&key) {
            self.make_room(now);
        }
        let most = self.rates.iter().map(|rate| rate.count()).max().unwrap_or(1);
        let times = self.recorded.entry(key).or_default();
        if times.len() >= most {
            times.pop_front();
        }
        times.push_back(now);
    }

    /// Evicts keys whose events have expired; if there are none, the tenth of all keys without an
    /// event for the longest time, so that many keys share the cost of one search.
    fn make_room(&mut self, now: MonoTime) {
        self.purge(now);
        if self.recorded.len() < self.max_keys {
            return;
        }
        let mut last: Vec<MonoTime> =
            self.recorded.values().filter_map(|times| times.back().copied()).collect();
        let mut surplus = last.len() / 10 + 1;
        let Some(index) = last.len().checked_sub(1).map(|end| end.min(surplus - 1)) else { return };
        let (_, &mut oldest, _) = last.select_nth_unstable(index);
        self.recorded.retain(|_, times| {
            let goes = surplus > 0 && times.back().is_none_or(|last| *last <= oldest);
            surplus -= usize::from(goes);
            !goes
        });
    }

    /// Forgets the events of a key.
    pub(crate) fn reset(&mut self, key: &K) {
        self.recorded.remove(key);
    }

    /// Evicts keys whose events have expired.
    pub(crate) fn purge(&mut self, now: MonoTime) {
        let longest = self.rates.iter().map(|rate| rate.per).max().unwrap_or_default();
        self.recorded.retain(|_, times| times.back().is_some_and(|last| *last + longest > now));
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.recorded.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTES: u64 = 60_000;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_millis(minutes * MINUTES)
    }

    /// Records an event if it is allowed.
    fn spend(
        budget: &mut SlidingWindowLimiter<&'static str>,
        key: &'static str,
        now: u64,
    ) -> Result<(), Duration> {
        match budget.retry_after(&key, MonoTime::from_millis(now)) {
            Some(wait) => Err(wait),
            None => {
                budget.record(key, MonoTime::from_millis(now));
                Ok(())
            }
        }
    }

    #[test]
    fn no_stretch_of_time_has_more_than_the_rate() {
        let mut budget = SlidingWindowLimiter::new([RateLimit::new(3, minutes(60))], 2);
        for at in [0, 10, 50] {
            assert_eq!(spend(&mut budget, "alice", at * MINUTES), Ok(()));
        }
        assert_eq!(spend(&mut budget, "alice", 55 * MINUTES), Err(minutes(5)));
        assert_eq!(spend(&mut budget, "bob", 55 * MINUTES), Ok(()));
        assert_eq!(spend(&mut budget, "alice", 60 * MINUTES - 1), Err(Duration::from_millis(1)));
        assert_eq!(spend(&mut budget, "alice", 60 * MINUTES), Ok(()));
        assert_eq!(spend(&mut budget, "alice", 60 * MINUTES), Err(minutes(10)));
        budget.reset(&"alice");
        assert_eq!(spend(&mut budget, "alice", 60 * MINUTES), Ok(()));
        budget.purge(MonoTime::from_millis(115 * MINUTES));
        assert_eq!(budget.len(), 1, "bob has his whole budget again");
    }

    #[test]
    fn new_key_replaces_the_oldest() {
        let mut budget = SlidingWindowLimiter::new([RateLimit::new(1, minutes(60))], 3);
        for (at, key) in (0..).zip(["alice", "bob", "carol"]) {
            assert_eq!(spend(&mut budget, key, at * MINUTES), Ok(()));
        }
        assert_eq!(spend(&mut budget, "dave", 3 * MINUTES), Ok(()));
        assert_eq!(budget.len(), 3);
        for (key, wait) in [("bob", 58), ("carol", 59), ("dave", 60)] {
            assert_eq!(
                budget.retry_after(&key, MonoTime::from_millis(3 * MINUTES)),
                Some(minutes(wait)),
                "{key}"
            );
        }
        assert_eq!(budget.retry_after(&"alice", MonoTime::from_millis(3 * MINUTES)), None);
        // Keys that have their whole budget go first.
        assert_eq!(spend(&mut budget, "erin", 62 * MINUTES), Ok(()));
        assert_eq!(budget.len(), 2);
        assert_eq!(
            budget.retry_after(&"dave", MonoTime::from_millis(62 * MINUTES)),
            Some(minutes(1))
        );
    }

    #[test]
    fn rate_that_is_free_last_decides() {
        let mut budget = SlidingWindowLimiter::new(
            [RateLimit::new(2, minutes(5)), RateLimit::new(4, minutes(60))],
            9,
        );
        for at in [0, 1, 5, 6] {
            assert_eq!(spend(&mut budget, "alice", at * MINUTES), Ok(()));
        }
        assert_eq!(spend(&mut budget, "alice", 7 * MINUTES), Err(minutes(53)));
    }
}
