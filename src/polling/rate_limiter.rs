//! The limit of polls a second.

use std::time::Duration;

use crate::clock::MonoTime;

/// The rate after a long outage; it doubles each second.
const SLOW_START_RATE: f64 = 16.0;
/// The share of the maximum rate after a short pause, in which only a few polls have become due.
const SHORT_PAUSE_SHARE: f64 = 0.25;
/// A pause of this length leaves no session fresh at the default settings: all of them are due.
const LONG_PAUSE: Duration = Duration::from_secs(10);

/// A token bucket: at most `max_rate` polls a second, in bursts of a tenth of that, and a lower
/// rate after a pause, so that a service that has just recovered is not overloaded.
#[derive(Debug)]
pub(crate) struct PollRateLimiter {
    max_rate: f64,
    tokens: f64,
    /// When the tokens were counted last.
    counted_at: MonoTime,
    slow_start: Option<SlowStart>,
}

#[derive(Clone, Copy, Debug)]
struct SlowStart {
    since: MonoTime,
    initial_rate: f64,
}

impl PollRateLimiter {
    pub(crate) fn new(max_rate: u32) -> Self {
        Self {
            max_rate: max_rate.into(),
            tokens: 1.0,
            counted_at: MonoTime::START,
            slow_start: None,
        }
    }

    /// Lowers the rate from now on, after no poll was sent for `paused`.
    pub(crate) fn start_slow(&mut self, now: MonoTime, paused: Duration) {
        let is_long = paused >= LONG_PAUSE;
        let share = if is_long { 0.0 } else { self.max_rate * SHORT_PAUSE_SHARE };
        self.slow_start = Some(SlowStart { since: now, initial_rate: share.max(SLOW_START_RATE) });
        self.tokens = self.tokens.min(1.0);
    }

    /// Takes the token of one poll.
    pub(crate) fn try_acquire(&mut self, now: MonoTime) -> Result<(), MonoTime> {
        let rate = self.rate(now);
        let burst = (rate / 10.0).max(1.0);
        let passed = now.since(self.counted_at).as_millis() as f64 / 1_000.0;
        self.tokens = (self.tokens + passed * rate).min(burst);
        self.counted_at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let missing = Duration::from_secs_f64((1.0 - self.tokens) / rate);
        // Rounded up, so that the token is there then.
        Err(now + missing + Duration::from_millis(1))
    }

    fn rate(&mut self, now: MonoTime) -> f64 {
        let Some(SlowStart { since, initial_rate }) = self.slow_start else { return self.max_rate };
        let seconds = now.since(since).as_millis() as f64 / 1_000.0;
        let rate = initial_rate * seconds.min(60.0).exp2();
        if rate >= self.max_rate {
            self.slow_start = None;
        }
        rate.min(self.max_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of polls between two moments if one is always due.
    fn begin(limiter: &mut PollRateLimiter, from: u64, to: u64) -> u32 {
        let (mut now, mut count) = (from, 0);
        while now < to {
            match limiter.try_acquire(MonoTime::from_millis(now)) {
                Ok(()) => count += 1,
                Err(at) => now = at.as_millis(),
            }
        }
        count
    }

    fn begin_each_second(limiter: &mut PollRateLimiter, from: u64) -> Vec<u32> {
        (from..from + 8).map(|s| begin(limiter, s * 1_000, (s + 1) * 1_000)).collect()
    }

    #[test]
    fn no_second_exceeds_the_rate_and_one_burst() {
        let mut limiter = PollRateLimiter::new(1_000);
        for second in 0..5 {
            let count = begin(&mut limiter, second * 1_000, (second + 1) * 1_000);
            assert!((900..=1_100).contains(&count), "{count}");
        }
        assert!(begin(&mut limiter, 100_000, 100_001) <= 101, "no more is saved up than a burst");
        let mut one = PollRateLimiter::new(1);
        assert!((10..=11).contains(&begin(&mut one, 0, 10_000)));
    }

    #[test]
    fn rate_starts_slowly_after_an_outage() {
        let mut limiter = PollRateLimiter::new(1_000);
        begin(&mut limiter, 0, 1_000);
        limiter.start_slow(MonoTime::from_millis(1_000), LONG_PAUSE);
        let count = begin_each_second(&mut limiter, 1);
        assert!(count[0] <= 32 && count[1] <= 64 && count[2] <= 128, "{count:?}");
        assert!(count[7] >= 900, "{count:?}");
    }

    #[test]
    fn short_pause_costs_two_seconds_of_full_rate() {
        let mut limiter = PollRateLimiter::new(1_000);
        begin(&mut limiter, 0, 1_000);
        limiter.start_slow(MonoTime::from_millis(1_000), Duration::from_secs(3));
        let count = begin_each_second(&mut limiter, 1);
        assert!((250..=500).contains(&count[0]), "{count:?}");
        assert!(count[2] >= 900, "{count:?}");
        // A maximum below the slow rate stays as it is.
        let mut limiter = PollRateLimiter::new(10);
        limiter.start_slow(MonoTime::from_millis(1_000), Duration::from_secs(3));
        assert!((9..=11).contains(&begin(&mut limiter, 1_000, 2_000)));
    }
}
