use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use crate::clock::{Millis, MonoTime};

/// So many times in any stretch of time that is so long.
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

/// What each key may spend. The moments themselves are kept, so that no stretch of time has more
/// than its rate says, wherever it begins.
#[derive(Debug)]
pub(crate) struct SlidingWindowLimiter<K> {
    rates: Vec<RateLimit>,
    recorded: HashMap<K, VecDeque<MonoTime>>,
    /// As many keys are kept. For one more, those that spent nothing for the longest time are
    /// forgotten: a flood of keys keeps no other key out.
    max_keys: usize,
}

impl<K: Eq + Hash> SlidingWindowLimiter<K> {
    pub(crate) fn new(rates: impl Into<Vec<RateLimit>>, max_keys: usize) -> Self {
        Self { rates: rates.into(), recorded: HashMap::new(), max_keys }
    }

    /// How long to wait before one more may be spent, if at all.
    pub(crate) fn retry_after(&self, key: &K, now: MonoTime) -> Option<Duration> {
        let spent = self.recorded.get(key)?;
        let free_at = self.rates.iter().filter_map(|rate| {
            let oldest =
                spent.len().checked_sub(rate.count()).and_then(|index| spent.get(index))?;
            Some(*oldest + rate.per)
        });
        let wait = free_at.max()?.since(now);
        (wait > Millis::ZERO).then(|| wait.into())
    }

    /// Spends one, whether it may or not.
    pub(crate) fn record(&mut self, key: K, now: MonoTime) {
        if self.recorded.len() >= self.max_keys && !self.recorded.contains_key(&key) {
            self.make_room(now);
        }
        let most = self.rates.iter().map(|rate| rate.count()).max().unwrap_or(1);
        let spent = self.recorded.entry(key).or_default();
        if spent.len() >= most {
            spent.pop_front();
        }
        spent.push_back(now);
    }

    /// Forgets keys that have their whole budget; if there are none, the tenth of all keys that
    /// spent nothing for the longest time, so that the search is paid for by many keys.
    fn make_room(&mut self, now: MonoTime) {
        self.purge(now);
        if self.recorded.len() < self.max_keys {
            return;
        }
        let mut last: Vec<MonoTime> =
            self.recorded.values().filter_map(|spent| spent.back().copied()).collect();
        let mut surplus = last.len() / 10 + 1;
        let Some(index) = last.len().checked_sub(1).map(|end| end.min(surplus - 1)) else { return };
        let (_, &mut oldest, _) = last.select_nth_unstable(index);
        self.recorded.retain(|_, spent| {
            let goes = surplus > 0 && spent.back().is_none_or(|last| *last <= oldest);
            surplus -= usize::from(goes);
            !goes
        });
    }

    /// Gives a key its whole budget back.
    pub(crate) fn reset(&mut self, key: &K) {
        self.recorded.remove(key);
    }

    /// Forgets those who have their whole budget.
    pub(crate) fn purge(&mut self, now: MonoTime) {
        let longest = self.rates.iter().map(|rate| rate.per).max().unwrap_or_default();
        self.recorded.retain(|_, spent| spent.back().is_some_and(|last| *last + longest > now));
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

    /// Spends if it may.
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
