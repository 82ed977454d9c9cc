//! The latency of recent polls and their wait in the queue.

use std::time::Duration;

use crate::clock::{Millis, MonoTime};

/// The figures of the present period and of the one before it.
#[derive(Debug)]
pub(crate) struct PollStats {
    period: Duration,
    period_start: MonoTime,
    current: Figures,
    previous: Figures,
    /// The mean of the last period in which a poll ended.
    last_mean: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    polls: u32,
    latency_sum: Duration,
    longest_wait: Duration,
}

impl PollStats {
    /// Periods are as long as the poll interval: each session in use is in both of the last two.
    pub(crate) fn new(poll_interval: Duration) -> Self {
        let (current, previous) = Default::default();
        Self {
            period: poll_interval,
            period_start: MonoTime::START,
            current,
            previous,
            last_mean: Duration::ZERO,
        }
    }

    /// Records the latency of a poll that got a response or timed out.
    pub(crate) fn record_latency(&mut self, now: MonoTime, latency: Duration) {
        self.advance(now);
        self.current.polls += 1;
        self.current.latency_sum += latency;
    }

    /// Records how long a poll waited in the queue.
    pub(crate) fn record_wait(&mut self, now: MonoTime, wait: Duration) {
        self.advance(now);
        self.current.longest_wait = self.current.longest_wait.max(wait);
    }

    /// The mean latency of the last two periods; of the last period with a poll if there was none,
    /// zero before the first poll.
    pub(crate) fn mean_latency(&mut self, now: MonoTime) -> Duration {
        self.advance(now);
        let polls = self.current.polls + self.previous.polls;
        let sum = self.current.latency_sum + self.previous.latency_sum;
        sum.checked_div(polls).unwrap_or(self.last_mean)
    }

    /// The longest wait of the last two periods.
    pub(crate) fn longest_wait(&mut self, now: MonoTime) -> Duration {
        self.advance(now);
        self.current.longest_wait.max(self.previous.longest_wait)
    }

    fn advance(&mut self, now: MonoTime) {
        let period = Millis::from(self.period).as_millis().max(1);
        let periods = now.since(self.period_start).as_millis() / period;
        if periods == 0 {
            return;
        }
        let last = [self.current, self.previous].into_iter().find(|figures| figures.polls > 0);
        if let Some(Figures { polls, latency_sum, .. }) = last {
            self.last_mean = latency_sum / polls;
        }
        let current = std::mem::take(&mut self.current);
        self.previous = if periods == 1 { current } else { Figures::default() };
        self.period_start = self.period_start + Millis::from_millis(periods * period);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn figures_are_of_the_last_two_periods() {
        let mut stats = PollStats::new(Duration::from_secs(5));
        assert_eq!(stats.mean_latency(at(0)), Duration::ZERO);
        stats.record_latency(at(1_000), ms(100));
        stats.record_latency(at(1_000), ms(300));
        stats.record_wait(at(1_000), ms(700));
        stats.record_wait(at(1_000), ms(70));
        stats.record_latency(at(6_000), ms(800));
        stats.record_wait(at(6_000), ms(7));
        for now in [6_000, 9_999] {
            assert_eq!(stats.mean_latency(at(now)), ms(400));
            assert_eq!(stats.longest_wait(at(now)), ms(700));
        }
        assert_eq!(stats.mean_latency(at(10_000)), ms(800));
        assert_eq!(stats.longest_wait(at(10_000)), ms(7));
        assert_eq!(stats.mean_latency(at(60_000)), ms(800), "the last known");
        assert_eq!(stats.longest_wait(at(60_000)), Duration::ZERO);
    }
}
