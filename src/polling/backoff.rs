//! When a session is polled next.

use std::time::Duration;

use crate::verdict::KnownState;

/// How often a login that waits for the phone is polled.
const PENDING_INTERVAL: Duration = Duration::from_secs(1);
/// The first, the shortest and the longest pause after polls that failed.
const BASE_BACKOFF: Duration = Duration::from_secs(1);
const MIN_BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// The longest pause that the service can request: a session in use is polled at least that often,
/// also while the service asks for a longer pause. A service that asks by mistake costs no more.
pub(crate) const MAX_REQUESTED_PAUSE: Duration = Duration::from_secs(3);

/// The time from the sending of one poll to the next. `failures` counts the polls in a row that
/// failed. `jitter` is between 0 and 1 and shortens the pause by up to a fifth, never lengthens it,
/// so that sessions which started together drift apart.
pub(crate) fn next_poll_delay(
    state: KnownState,
    interval: Duration,
    failures: u32,
    jitter: f64,
) -> Duration {
    if failures > 0 {
        // Sooner than usual, not later: to spare a service that fails is the breaker's part.
        return backoff(failures, jitter).min(interval);
    }
    match state {
        KnownState::Pending => PENDING_INTERVAL,
        KnownState::Active
        | KnownState::Suspended
        | KnownState::Inconsistent
        | KnownState::Ended => shortened(interval, jitter),
    }
}

/// The interval, shorter by up to a fifth.
pub(crate) fn shortened(interval: Duration, jitter: f64) -> Duration {
    interval.mul_f64(1.0 - 0.2 * jitter)
}

/// The pause after `failures` failures in a row: full jitter, up to 1 s, 2 s, 4 s … 30 s.
pub(crate) fn backoff(failures: u32, jitter: f64) -> Duration {
    let doubled = BASE_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(5));
    doubled.min(MAX_BACKOFF).mul_f64(jitter).max(MIN_BACKOFF)
}

/// A random number between 0 and 1.
#[cfg(not(test))]
pub(crate) fn jitter() -> f64 {
    getrandom::u32().map_or(0.0, |number| f64::from(number) / f64::from(u32::MAX))
}

/// In tests the seed of the task order also seeds the jitter.
#[cfg(test)]
pub(crate) fn jitter() -> f64 {
    f64::from(crate::polling::yield_injection::next() as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_only_shortens() {
        let interval = Duration::from_secs(5);
        for state in [KnownState::Active, KnownState::Suspended, KnownState::Inconsistent] {
            assert_eq!(next_poll_delay(state, interval, 0, 0.0), interval);
            assert_eq!(next_poll_delay(state, interval, 0, 0.5), Duration::from_millis(4_500));
            assert_eq!(next_poll_delay(state, interval, 0, 1.0), Duration::from_secs(4));
        }
        for jitter in [0.0, 0.5, 1.0] {
            let pending = next_poll_delay(KnownState::Pending, interval, 0, jitter);
            assert_eq!(pending, Duration::from_secs(1));
        }
        for _ in 0..1_000 {
            assert!((0.0..=1.0).contains(&jitter()));
        }
    }

    #[test]
    fn failed_session_is_polled_again_soon() {
        let interval = Duration::from_secs(5);
        assert_eq!(next_poll_delay(KnownState::Active, interval, 1, 1.0), Duration::from_secs(1));
        assert_eq!(next_poll_delay(KnownState::Active, interval, 9, 1.0), interval);
        assert_eq!(next_poll_delay(KnownState::Pending, interval, 1, 0.0), MIN_BACKOFF);
    }

    #[test]
    fn backoff_grows_up_to_half_a_minute() {
        let longest = [1, 2, 3, 4, 5, 6, 7, u32::MAX].map(|n| backoff(n, 1.0).as_secs());
        assert_eq!(longest, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(backoff(3, 0.5), Duration::from_secs(2), "any share of it");
        assert_eq!(backoff(3, 0.0), MIN_BACKOFF);
    }
}
