use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{MonoTime, Timestamp};
use crate::polling::circuit_breaker;
use crate::verdict::UpstreamSnapshot;

/// The interval of probes that ask whether the service responds at all.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// The timeout of two polls, 3 s each.
const TWO_POLL_TIMEOUTS: Duration = Duration::from_secs(6);

/// Whether the service responds at all, with which the silence of one session is compared.
#[derive(Debug)]
pub(crate) struct UpstreamHealth {
    /// How long a good response counts.
    freshness: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_success: Option<Timestamp>,
    probed_at: Option<Timestamp>,
}

impl UpstreamHealth {
    /// Good responses count for two polls at this interval, or for one after the longest pause of
    /// the breaker; each poll may take its 3 s.
    pub(crate) fn new(poll_interval: Duration) -> Self {
        let freshness =
            (poll_interval * 2).max(circuit_breaker::MAX_OPEN_DURATION) + TWO_POLL_TIMEOUTS;
        Self { freshness, state: Mutex::default() }
    }

    /// Records that a call sent at `sent` succeeded.
    pub(crate) fn record_success(&self, sent: Timestamp) {
        let last = &mut self.state().last_success;
        if last.is_none_or(|last| last.mono <= sent.mono) {
            *last = Some(sent);
        }
    }

    pub(crate) fn snapshot(&self, now: Timestamp) -> UpstreamSnapshot {
        let last_success = self.state().last_success;
        let is_recent = last_success.is_some_and(|sent| sent.age(now) < self.freshness.into());
        UpstreamSnapshot { last_success, is_recent }
    }

    /// Whether a call that was sent later than `moment` has succeeded.
    pub(crate) fn has_succeeded_after(&self, moment: MonoTime) -> bool {
        self.state().last_success.is_some_and(|sent| sent.mono > moment)
    }

    /// Starts a probe, unless one is in flight or a success since `since` makes it unnecessary.
    /// Returns whether it started: then the caller sends the probe.
    pub(crate) fn try_start_probe(&self, now: Timestamp, since: Timestamp) -> bool {
        let mut state = self.state();
        let is_known = state.last_success.is_some_and(|sent| sent.mono >= since.mono);
        let is_probing = state.probed_at.is_some_and(|at| at.age(now) < PROBE_INTERVAL.into());
        if is_known || is_probing {
            return false;
        }
        state.probed_at = Some(now);
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock, so a poisoned one holds a whole value.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixTime;

    fn at(mono: u64) -> Timestamp {
        Timestamp {
            mono: MonoTime::from_millis(mono),
            wall: UnixTime::from_millis(1_700_000_000_000 + mono),
        }
    }

    #[test]
    fn success_counts_for_two_intervals_or_one_pause() {
        for (interval, freshness) in [(5_000, 16_000), (1_000, 8_000), (100, 8_000)] {
            let health = UpstreamHealth::new(Duration::from_millis(interval));
            health.record_success(at(0));
            assert!(health.snapshot(at(freshness - 1)).is_recent, "{interval}");
            assert!(!health.snapshot(at(freshness)).is_recent, "{interval}");
        }
    }

    #[test]
    fn late_answer_makes_nothing_older() {
        let health = UpstreamHealth::new(Duration::from_secs(5));
        health.record_success(at(2_000));
        health.record_success(at(1_000));
        assert_eq!(health.snapshot(at(3_000)).last_success, Some(at(2_000)));
        assert!(
            health.has_succeeded_after(at(1_999).mono)
                && !health.has_succeeded_after(at(2_000).mono)
        );
    }
}
