use std::time::Duration;

use crate::clock::millis;

/// How many polls a second begin after an outage; each second twice as many.
const SLOW: f64 = 16.0;

/// How many polls may begin: at most so many a second, in bursts of a tenth of that, and after an
/// outage fewer in the beginning, so that a service that has just come back is not run over.
#[derive(Debug)]
pub(crate) struct Pace {
    ceiling: f64,
    tokens: f64,
    /// When the tokens were counted, in milliseconds.
    at: u64,
    /// When it began to go slowly.
    slow_since: Option<u64>,
}

impl Pace {
    pub(crate) fn new(ceiling: u32) -> Self {
        Self { ceiling: ceiling.into(), tokens: 1.0, at: 0, slow_since: None }
    }

    /// Begins slowly from now on.
    pub(crate) fn slow_down(&mut self, now: u64) {
        self.slow_since = Some(now);
        self.tokens = self.tokens.min(1.0);
    }

    /// Takes leave for one poll; without it, when to ask again.
    pub(crate) fn take(&mut self, now: u64) -> Result<(), u64> {
        let rate = self.rate(now);
        let burst = (rate / 10.0).max(1.0);
        let passed = now.saturating_sub(self.at) as f64 / 1_000.0;
        self.tokens = (self.tokens + passed * rate).min(burst);
        self.at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let missing = Duration::from_secs_f64((1.0 - self.tokens) / rate);
        Err(now + millis(missing) + 1)
    }

    fn rate(&mut self, now: u64) -> f64 {
        let Some(since) = self.slow_since else { return self.ceiling };
        let seconds = now.saturating_sub(since) as f64 / 1_000.0;
        let rate = SLOW * seconds.min(60.0).exp2();
        if rate >= self.ceiling {
            self.slow_since = None;
        }
        rate.min(self.ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many as begin from one moment to another when there is always one that wants to.
    fn begin(pace: &mut Pace, from: u64, to: u64) -> u32 {
        let (mut now, mut begun) = (from, 0);
        while now < to {
            match pace.take(now) {
                Ok(()) => begun += 1,
                Err(at) => now = at,
            }
        }
        begun
    }

    #[test]
    fn no_second_has_more_than_the_ceiling_and_one_burst() {
        let mut pace = Pace::new(1_000);
        for second in 0..5 {
            let begun = begin(&mut pace, second * 1_000, (second + 1) * 1_000);
            assert!((900..=1_100).contains(&begun), "{begun}");
        }
        assert!(begin(&mut pace, 100_000, 100_001) <= 101, "no more is saved up than a burst");
        let mut one = Pace::new(1);
        assert!((10..=11).contains(&begin(&mut one, 0, 10_000)));
    }

    #[test]
    fn after_an_outage_it_begins_slowly() {
        let mut pace = Pace::new(1_000);
        begin(&mut pace, 0, 1_000);
        pace.slow_down(1_000);
        let begun: Vec<_> = (1..9).map(|s| begin(&mut pace, s * 1_000, (s + 1) * 1_000)).collect();
        assert!(begun[0] <= 32 && begun[1] <= 64 && begun[2] <= 128, "{begun:?}");
        assert!(begun[7] >= 900, "{begun:?}");
    }
}
