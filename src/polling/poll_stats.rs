//! How long polls lately took, and how long they waited for their turn.

use std::time::Duration;

use crate::clock::millis;

/// Figures over the present period and the one before it.
///
/// All times are milliseconds on the monotonic clock.
#[derive(Debug)]
pub(crate) struct PollStats {
    period: u64,
    began: u64,
    current: Figures,
    previous: Figures,
    /// The mean of the last period in which a poll ended.
    last_mean: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    polls: u64,
    latency_sum: u64,
    longest_wait: u64,
}

impl PollStats {
    /// Periods are as long as the poll interval: each session in use is in both of the last two.
    pub(crate) fn new(poll_interval: Duration) -> Self {
        let (current, previous) = Default::default();
        Self { period: millis(poll_interval).max(1), began: 0, current, previous, last_mean: 0 }
    }

    /// A poll ended, answered or timed out.
    pub(crate) fn record_latency(&mut self, now: u64, latency: u64) {
        self.advance(now);
        self.current.polls += 1;
        self.current.latency_sum += latency;
    }

    /// A poll was sent that had waited for its turn.
    pub(crate) fn record_wait(&mut self, now: u64, wait: u64) {
        self.advance(now);
        self.current.longest_wait = self.current.longest_wait.max(wait);
    }

    /// The mean latency of the polls that ended lately; of the last ones if there were none, zero
    /// if there never were.
    pub(crate) fn mean_latency(&mut self, now: u64) -> Duration {
        self.advance(now);
        let polls = self.current.polls + self.previous.polls;
        let sum = self.current.latency_sum + self.previous.latency_sum;
        Duration::from_millis(sum.checked_div(polls).unwrap_or(self.last_mean))
    }

    /// The longest that a poll waited for its turn lately.
    pub(crate) fn longest_wait(&mut self, now: u64) -> Duration {
        self.advance(now);
        Duration::from_millis(self.current.longest_wait.max(self.previous.longest_wait))
    }

    fn advance(&mut self, now: u64) {
        let periods = now.saturating_sub(self.began) / self.period;
        if periods == 0 {
            return;
        }
        let last = [self.current, self.previous].into_iter().find(|figures| figures.polls > 0);
        if let Some(Figures { polls, latency_sum, .. }) = last {
            self.last_mean = latency_sum / polls;
        }
        let current = std::mem::take(&mut self.current);
        self.previous = if periods == 1 { current } else { Figures::default() };
        self.began += periods * self.period;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_the_last_two_periods() {
        let mut stats = PollStats::new(Duration::from_secs(5));
        assert_eq!(stats.mean_latency(0), Duration::ZERO);
        stats.record_latency(1_000, 100);
        stats.record_latency(1_000, 300);
        stats.record_wait(1_000, 700);
        stats.record_wait(1_000, 70);
        stats.record_latency(6_000, 800);
        stats.record_wait(6_000, 7);
        for now in [6_000, 9_999] {
            assert_eq!(stats.mean_latency(now), Duration::from_millis(400));
            assert_eq!(stats.longest_wait(now), Duration::from_millis(700));
        }
        assert_eq!(stats.mean_latency(10_000), Duration::from_millis(800));
        assert_eq!(stats.longest_wait(10_000), Duration::from_millis(7));
        assert_eq!(stats.mean_latency(60_000), Duration::from_millis(800), "the last known");
        assert_eq!(stats.longest_wait(60_000), Duration::ZERO);
    }
}
