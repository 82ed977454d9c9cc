//! The monthly budget of pushes for anonymous clients.

use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;

use crate::clock::Timestamp;

/// Counts the logins of unknown browsers and programs in a calendar month (UTC).
#[derive(Debug)]
pub(crate) struct PushBudget {
    /// None without a budget.
    limit: Option<u32>,
    count: Mutex<PushCount>,
}

#[derive(Clone, Copy, Debug, Default)]
struct PushCount {
    month: Option<(i32, u8)>,
    pushes: u32,
    /// Whether it was reported that the budget is spent.
    is_reported: bool,
}

/// The result of counting one more login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spending {
    Allowed,
    /// Allowed; four fifths of the budget are spent now.
    Low,
    Rejected {
        is_first: bool,
    },
}

impl PushBudget {
    pub(crate) fn new(limit: Option<u32>) -> Self {
        Self { limit, count: Mutex::default() }
    }

    pub(crate) fn spend(&self, now: Timestamp) -> Spending {
        let Some(limit) = self.limit else { return Spending::Allowed };
        self.with(now, |count| {
            if count.pushes >= limit {
                let is_first = !std::mem::replace(&mut count.is_reported, true);
                return Spending::Rejected { is_first };
            }
            count.pushes += 1;
            let low = u64::from(limit).saturating_mul(4).div_ceil(5);
            if u64::from(count.pushes) == low { Spending::Low } else { Spending::Allowed }
        })
    }

    /// How many are left this month; `None` without a budget.
    pub(crate) fn left(&self, now: Timestamp) -> Option<u32> {
        let limit = self.limit?;
        Some(self.with(now, |count| limit.saturating_sub(count.pushes)))
    }

    pub(crate) fn reset(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) = PushCount::default();
    }

    /// Runs `change` on the count of the month of `now`.
    fn with<R>(&self, now: Timestamp, change: impl FnOnce(&mut PushCount) -> R) -> R {
        let month = month(now);
        // Nothing that can panic runs under the lock, so a poisoned one holds a whole value.
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that is set back into the month before does not reset the count.
        if count.month < Some(month) {
            *count = PushCount { month: Some(month), ..PushCount::default() };
        }
        change(&mut count)
    }
}

/// Year and month, UTC.
fn month(now: Timestamp) -> (i32, u8) {
    let seconds = i64::try_from(now.wall.as_secs()).unwrap_or_default();
    let date = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    (date.year(), date.month().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{MonoTime, UnixTime};

    /// In the night to the first of December 2026.
    const NOVEMBER: Timestamp = Timestamp {
        mono: MonoTime::from_millis(1_000),
        wall: UnixTime::from_millis(1_796_083_199_999),
    };
    const DECEMBER: Timestamp = Timestamp {
        mono: MonoTime::from_millis(1_001),
        wall: UnixTime::from_millis(1_796_083_200_000),
    };

    #[test]
    fn budget_lasts_for_a_calendar_month() {
        let budget = PushBudget::new(Some(5));
        let spend = |now, times| (0..times).map(|_| budget.spend(now)).collect::<Vec<_>>();
        let (allowed, low) = (Spending::Allowed, Spending::Low);
        assert_eq!(spend(NOVEMBER, 5), [allowed, allowed, allowed, low, allowed]);
        let rejected = |is_first| Spending::Rejected { is_first };
        assert_eq!(spend(NOVEMBER, 2), [rejected(true), rejected(false)]);
        assert_eq!(budget.left(NOVEMBER), Some(0));
        assert_eq!(budget.left(DECEMBER), Some(5));
        assert_eq!(spend(DECEMBER, 4), [allowed, allowed, allowed, low]);
        // The clock is set back.
        assert_eq!(spend(NOVEMBER, 2), [allowed, rejected(true)]);
        budget.reset();
        assert_eq!(budget.left(NOVEMBER), Some(5));
    }

    #[test]
    fn without_a_budget_all_are_allowed() {
        let budget = PushBudget::new(None);
        assert!((0..100).all(|_| budget.spend(NOVEMBER) == Spending::Allowed));
        assert_eq!(budget.left(NOVEMBER), None);
    }
}
