use std::hash::Hash;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::clock::millis;

/// So many in a while, for each key: a leaky bucket kept as the one moment at which it will be empty
/// (GCRA, ITU-T I.371). A key that has its whole budget takes no memory once it is swept.
#[derive(Debug)]
pub(crate) struct Budget<K: Eq + Hash> {
    /// What one costs, in milliseconds.
    cost: u64,
    /// The whole budget.
    whole: u64,
    empty_at: DashMap<K, u64>,
    /// As many keys are kept; who is new beyond that is refused.
    keys: usize,
}

impl<K: Eq + Hash> Budget<K> {
    pub(crate) fn new(times: u32, within: Duration, keys: usize) -> Self {
        let whole = millis(within);
        Self { cost: whole / u64::from(times.max(1)), whole, empty_at: DashMap::new(), keys }
    }

    /// Spends one; without it, how long to wait.
    pub(crate) fn spend(&self, key: K, now: u64) -> Result<(), Duration> {
        let is_full = self.empty_at.len() >= self.keys;
        match self.empty_at.entry(key) {
            Entry::Vacant(_) if is_full => Err(Duration::from_millis(self.cost)),
            Entry::Vacant(place) => {
                place.insert(now + self.cost);
                Ok(())
            }
            Entry::Occupied(mut place) => {
                let after = (*place.get()).max(now) + self.cost;
                if after > now + self.whole {
                    return Err(Duration::from_millis(after - self.whole - now));
                }
                *place.get_mut() = after;
                Ok(())
            }
        }
    }

    /// Forgets those who have their whole budget.
    pub(crate) fn sweep(&self, now: u64) {
        self.empty_at.retain(|_, empty_at| *empty_at > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_a_while_for_each() {
        let budget = Budget::new(3, Duration::from_secs(3_600), 2);
        for _ in 0..3 {
            assert_eq!(budget.spend("alice", 0), Ok(()));
        }
        assert_eq!(budget.spend("alice", 0), Err(Duration::from_secs(1_200)));
        assert_eq!(budget.spend("bob", 0), Ok(()));
        assert_eq!(budget.spend("carol", 0), Err(Duration::from_secs(1_200)), "as many keys");
        assert_eq!(budget.spend("alice", 1_199_999), Err(Duration::from_millis(1)));
        assert_eq!(budget.spend("alice", 1_200_000), Ok(()));
        budget.sweep(1_200_000);
        assert_eq!(budget.empty_at.len(), 1, "bob has his whole budget again");
        assert_eq!(budget.spend("carol", 1_200_000), Ok(()));
    }
}
