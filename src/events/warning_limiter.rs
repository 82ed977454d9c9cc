use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::MonoTime;

/// Allows one kind of warning once in an interval and counts the suppressed ones.
#[derive(Debug, Default)]
pub(crate) struct WarningLimiter {
    /// When the next warning may be written, in milliseconds of the monotonic clock.
    next_ms: AtomicU64,
    suppressed: AtomicU64,
}

impl WarningLimiter {
    /// Counts a warning. If it may be written, returns how many were suppressed since the last one.
    pub(crate) fn admit(&self, now: MonoTime, interval: Duration) -> Option<u64> {
        let next = (now + interval).as_millis();
        let claim = |due: u64| (now.as_millis() >= due).then_some(next);
        if self.next_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim).is_ok() {
            Some(self.suppressed.swap(0, Ordering::Relaxed))
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    #[test]
    fn one_an_interval_with_the_count_of_others() {
        let (limiter, minute) = (WarningLimiter::default(), Duration::from_secs(60));
        assert_eq!(limiter.admit(at(0), minute), Some(0));
        for now in [0, 1, 59_999] {
            assert_eq!(limiter.admit(at(now), minute), None);
        }
        assert_eq!(limiter.admit(at(60_000), minute), Some(3));
        assert_eq!(limiter.admit(at(60_001), minute), None);
        assert_eq!(limiter.admit(at(u64::MAX), minute), Some(1));
    }
}
