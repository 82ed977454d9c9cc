//! The limit of polls in flight.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::MonoTime;

/// The limit before the service has responded to any poll in time.
const INITIAL_LIMIT: f64 = 256.0;
/// No timeout lowers the limit below this.
const MIN_LIMIT: f64 = 16.0;
/// What a response adds to the limit while no poll has timed out, if at least half of the limit was
/// in use: the limit doubles in the duration of a poll.
const SLOW_START_STEP: f64 = 2.0;
/// What a response adds after a timeout: the limit grows by a sixteenth in the duration of a poll.
const GROWTH_STEP: f64 = 1.0 / 8.0;
/// The limit is halved at most once in the time that a poll may take, because polls that were in
/// flight together time out together.
const MIN_HALVING_INTERVAL: Duration = crate::client::POLL_TIMEOUT;
/// A slower response adds nothing after a timeout: the service is near its limit.
const NEAR_TIMEOUT_LATENCY: Duration = Duration::from_millis(2_500);

/// Limits the polls in flight to what the service can handle in time: additive increase,
/// multiplicative decrease, with a slow start, as TCP does it.
///
/// The limit grows while at least half of it is used and the service responds in time; a timeout
/// halves it. So it follows the latency (in flight = rate × latency), and a service that hangs gets
/// no more calls than it has handled shortly before. The limit never exceeds a maximum.
///
/// Retries, of sessions whose last poll failed, share one half of the limit, so that polls that
/// hang leave places for those that succeed.
#[derive(Debug)]
pub(crate) struct ConcurrencyLimiter(Mutex<State>);

#[derive(Debug)]
struct State {
    max: f64,
    limit: f64,
    /// Up to there the limit grows fast.
    threshold: f64,
    in_flight: usize,
    retries_in_flight: usize,
    halved_at: Option<MonoTime>,
    /// Benches set the limit themselves.
    #[cfg(feature = "__bench")]
    is_fixed: bool,
}

/// The place of one poll, held until it is dropped.
#[derive(Debug)]
pub(crate) struct PollPermit {
    limiter: Arc<ConcurrencyLimiter>,
    is_retry: bool,
    /// Whether at least half of the limit was in use when the place was taken.
    is_limit_used: bool,
}

/// The end of a poll, if it concerns the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollEnd {
    /// The service responded after this time.
    Completed(Duration),
    /// The service did not respond in time.
    TimedOut,
}

/// The limiter at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Concurrency {
    /// How many polls are in flight.
    pub(crate) in_flight: usize,
    /// The present limit.
    pub(crate) limit: usize,
    /// The limit that the service has shown to handle.
    pub(crate) reachable: usize,
}

impl ConcurrencyLimiter {
    pub(crate) fn new(max: usize) -> Self {
        let max = max.max(1) as f64;
        Self(Mutex::new(State {
            max,
            limit: INITIAL_LIMIT.min(max),
            threshold: f64::INFINITY,
            in_flight: 0,
            retries_in_flight: 0,
            halved_at: None,
            #[cfg(feature = "__bench")]
            is_fixed: false,
        }))
    }

    /// Sets the maximum of the limit.
    pub(crate) fn set_max(&self, max: usize) {
        let mut state = self.state();
        #[cfg(feature = "__bench")]
        if state.is_fixed {
            return;
        }
        state.max = max.max(1) as f64;
        state.limit = state.limit.min(state.max);
    }

    /// A place for one poll, if there is one.
    pub(crate) fn try_acquire(self: &Arc<Self>, is_retry: bool) -> Option<PollPermit> {
        let mut state = self.state();
        if !state.has_place() || (is_retry && !state.has_place_for_retry()) {
            return None;
        }
        state.in_flight += 1;
        state.retries_in_flight += usize::from(is_retry);
        let is_limit_used = state.in_flight as f64 * 2.0 >= state.limit;
        Some(PollPermit { limiter: self.clone(), is_retry, is_limit_used })
    }

    /// Whether one more retry may be in flight.
    pub(crate) fn admits_retry(&self) -> bool {
        self.state().has_place_for_retry()
    }

    /// Resets the limit after an outage.
    pub(crate) fn restart(&self) {
        let mut state = self.state();
        state.limit = INITIAL_LIMIT.min(state.max);
        state.threshold = f64::INFINITY;
        state.halved_at = None;
    }

    pub(crate) fn snapshot(&self) -> Concurrency {
        let state = self.state();
        Concurrency {
            in_flight: state.in_flight,
            limit: state.limit as usize,
            reachable: state.limit.max(state.threshold).min(state.max) as usize,
        }
    }

    /// For benches: fixes the limit.
    #[cfg(feature = "__bench")]
    pub(crate) fn fix_limit(&self, limit: usize) {
        let mut state = self.state();
        let limit = limit as f64;
        (state.max, state.limit, state.threshold, state.is_fixed) = (limit, limit, limit, true);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock, so a poisoned one holds a whole value.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_place(&self) -> bool {
        self.in_flight < self.limit as usize
    }

    fn has_place_for_retry(&self) -> bool {
        self.retries_in_flight < (self.limit as usize).div_ceil(2)
    }
}

impl PollPermit {
    /// Releases the place and adapts the limit to the end of the poll.
    pub(crate) fn release(self, end: PollEnd, now: MonoTime) {
        let mut state = self.limiter.state();
        match end {
            PollEnd::Completed(latency) if self.is_limit_used => {
                if state.limit < state.threshold {
                    state.limit += SLOW_START_STEP;
                } else if latency <= NEAR_TIMEOUT_LATENCY {
                    state.limit += GROWTH_STEP;
                }
                state.limit = state.limit.min(state.max);
            }
            PollEnd::Completed(_) => {}
            PollEnd::TimedOut => {
                if state.halved_at.is_none_or(|at| now >= at + MIN_HALVING_INTERVAL) {
                    state.halved_at = Some(now);
                    state.limit = (state.limit / 2.0).max(MIN_LIMIT).min(state.max);
                    state.threshold = state.limit;
                }
            }
        }
    }
}

impl Drop for PollPermit {
    fn drop(&mut self) {
        let mut state = self.limiter.state();
        state.in_flight -= 1;
        state.retries_in_flight -= usize::from(self.is_retry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 6_000;
    const FAST: PollEnd = PollEnd::Completed(Duration::from_millis(20));

    /// Takes all free places.
    fn fill(limiter: &Arc<ConcurrencyLimiter>) -> Vec<PollPermit> {
        std::iter::from_fn(|| limiter.try_acquire(false)).collect()
    }

    fn end_all(permits: Vec<PollPermit>, end: PollEnd, now: u64) {
        permits.into_iter().for_each(|permit| permit.release(end, MonoTime::from_millis(now)));
    }

    #[test]
    fn limit_doubles_with_each_round_of_answers() {
        let limiter = Arc::new(ConcurrencyLimiter::new(MAX));
        let mut sizes = Vec::new();
        for _ in 0..6 {
            let permits = fill(&limiter);
            sizes.push(permits.len());
            end_all(permits, PollEnd::Completed(Duration::from_millis(2_900)), 0);
        }
        // Only places taken above half of the limit count.
        assert_eq!(sizes[0], 256);
        assert!(sizes.windows(2).all(|two| two[1] >= two[0] * 2 || two[1] == MAX), "{sizes:?}");
        assert_eq!(sizes[5], MAX);
        assert_eq!(limiter.snapshot().in_flight, 0);
    }

    #[test]
    fn service_that_hangs_gets_no_more_than_the_first() {
        let limiter = Arc::new(ConcurrencyLimiter::new(MAX));
        let hung = fill(&limiter);
        assert_eq!(hung.len(), 256);
        end_all(hung, PollEnd::TimedOut, 3_000);
        assert_eq!(fill(&limiter).len(), 128, "once for all that were in flight together");
        for round in 2..9 {
            let hung = fill(&limiter);
            end_all(hung, PollEnd::TimedOut, round * 3_000);
        }
        assert_eq!(fill(&limiter).len(), 16, "but some");
        limiter.restart();
        assert_eq!(fill(&limiter).len(), 256);
    }

    #[test]
    fn limit_grows_slowly_after_a_timeout() {
        let limiter = Arc::new(ConcurrencyLimiter::new(MAX));
        limiter.try_acquire(false).unwrap().release(PollEnd::TimedOut, MonoTime::START);
        assert_eq!(limiter.snapshot().reachable, 128);
        end_all(fill(&limiter), FAST, 1_000);
        let limit = limiter.snapshot().limit;
        assert!((130..=136).contains(&limit), "{limit}");
        let near_timeout = PollEnd::Completed(NEAR_TIMEOUT_LATENCY + Duration::from_millis(1));
        end_all(fill(&limiter), near_timeout, 2_000);
        assert_eq!(limiter.snapshot().limit, limit);
    }

    #[test]
    fn unused_limit_does_not_grow() {
        let limiter = Arc::new(ConcurrencyLimiter::new(MAX));
        for now in 0..10_000 {
            limiter.try_acquire(false).unwrap().release(FAST, MonoTime::from_millis(now));
        }
        assert_eq!(limiter.snapshot().limit, 256);
    }

    #[test]
    fn retries_leave_half_of_the_places() {
        let limiter = Arc::new(ConcurrencyLimiter::new(MAX));
        let retries: Vec<_> = std::iter::from_fn(|| limiter.try_acquire(true)).collect();
        assert_eq!(retries.len(), 128);
        assert!(!limiter.admits_retry());
        assert_eq!(fill(&limiter).len(), 128);
        drop(retries);
        assert!(limiter.admits_retry());
    }

    #[test]
    fn limit_stays_under_the_maximum() {
        let limiter = Arc::new(ConcurrencyLimiter::new(3));
        assert_eq!(fill(&limiter).len(), 3);
        limiter.set_max(100);
        for _ in 0..10 {
            end_all(fill(&limiter), FAST, 0);
        }
        assert_eq!(limiter.snapshot().limit, 100);
        limiter.set_max(50);
        limiter
            .try_acquire(false)
            .unwrap()
            .release(PollEnd::TimedOut, MonoTime::from_millis(9_000));
        assert_eq!(limiter.snapshot().limit, 25);
    }
}
