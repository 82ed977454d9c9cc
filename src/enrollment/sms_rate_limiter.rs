//! The limits of text messages.

use std::time::Duration;

use crate::clock::MonoTime;
use crate::identity::UserId;
use crate::login::rate_window::{RateLimit, SlidingWindowLimiter};

/// Counts text messages by user, by number and in all.
#[derive(Debug)]
pub(crate) struct SmsRateLimiter {
    to_user: SlidingWindowLimiter<UserId>,
    to_number: SlidingWindowLimiter<String>,
    all: SlidingWindowLimiter<()>,
}

impl SmsRateLimiter {
    /// The maximum number of users, and of numbers, that are counted at a time.
    const MAX_KEYS: usize = 100_000;

    pub(crate) fn new() -> Self {
        let an_hour = |times| [RateLimit::new(times, Duration::from_secs(3_600))];
        Self {
            to_user: SlidingWindowLimiter::new(an_hour(3), Self::MAX_KEYS),
            to_number: SlidingWindowLimiter::new(an_hour(3), Self::MAX_KEYS),
            all: SlidingWindowLimiter::new(an_hour(100), 1),
        }
    }

    /// Counts one message against all limits, or against none and returns how long to wait.
    pub(crate) fn spend(
        &mut self,
        user: &UserId,
        number: &str,
        now: MonoTime,
    ) -> Result<(), Duration> {
        let number = number.to_owned();
        let waits = [
            self.to_user.retry_after(user, now),
            self.to_number.retry_after(&number, now),
            self.all.retry_after(&(), now),
        ];
        if let Some(wait) = waits.into_iter().flatten().max() {
            return Err(wait);
        }
        self.to_user.record(user.clone(), now);
        self.to_number.record(number, now);
        self.all.record((), now);
        Ok(())
    }

    pub(crate) fn purge(&mut self, now: MonoTime) {
        self.to_user.purge(now);
        self.to_number.purge(now);
    }
}
