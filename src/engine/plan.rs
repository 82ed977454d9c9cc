//! When a session is polled next.

use std::time::Duration;

use crate::verdict::Standing;

/// How often a login that waits for the phone is looked at.
const PENDING: Duration = Duration::from_secs(1);
/// The first, the shortest and the longest pause after calls that came to nothing.
const BACKOFF: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(200);
pub(super) const LONGEST: Duration = Duration::from_secs(30);

/// The pause from the sending of one poll to the next. `failures` are the polls in a row that came
/// to nothing. `chance` is between 0 and 1: many sessions begun together drift apart, for jitter
/// makes the pause shorter, by up to a fifth, never longer.
pub(crate) fn pause(
    standing: Standing,
    interval: Duration,
    failures: u32,
    chance: f64,
) -> Duration {
    if failures > 0 {
        // Sooner than usual, not later: to spare a service that fails is the breaker's part.
        return backoff(failures, chance).min(interval);
    }
    match standing {
        Standing::Pending => PENDING,
        Standing::Active | Standing::Suspended | Standing::Odd | Standing::Ended => {
            interval.mul_f64(1.0 - 0.2 * chance)
        }
    }
}

/// The pause after so many failures in a row: full jitter, up to 1 s, 2 s, 4 s … 30 s.
pub(crate) fn backoff(failures: u32, chance: f64) -> Duration {
    let doubled = BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(5));
    doubled.min(LONGEST).mul_f64(chance).max(SHORTEST)
}

/// A random number between 0 and 1.
#[cfg(not(test))]
pub(crate) fn chance() -> f64 {
    getrandom::u32().map_or(0.0, |number| f64::from(number) / f64::from(u32::MAX))
}

/// In tests it comes from the seed that also decides who runs first.
#[cfg(test)]
pub(crate) fn chance() -> f64 {
    f64::from(super::unrest::next() as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_only_shortens() {
        let interval = Duration::from_secs(5);
        for standing in [Standing::Active, Standing::Suspended, Standing::Odd] {
            assert_eq!(pause(standing, interval, 0, 0.0), interval);
            assert_eq!(pause(standing, interval, 0, 0.5), Duration::from_millis(4_500));
            assert_eq!(pause(standing, interval, 0, 1.0), Duration::from_secs(4));
        }
        for chance in [0.0, 0.5, 1.0] {
            assert_eq!(pause(Standing::Pending, interval, 0, chance), Duration::from_secs(1));
        }
        for _ in 0..1_000 {
            assert!((0.0..=1.0).contains(&chance()));
        }
    }

    #[test]
    fn a_session_whose_poll_failed_is_asked_again_soon() {
        let interval = Duration::from_secs(5);
        assert_eq!(pause(Standing::Active, interval, 1, 1.0), Duration::from_secs(1));
        assert_eq!(pause(Standing::Active, interval, 9, 1.0), interval);
        assert_eq!(pause(Standing::Pending, interval, 1, 0.0), SHORTEST);
    }

    #[test]
    fn pauses_grow_with_failures_up_to_half_a_minute() {
        let longest = [1, 2, 3, 4, 5, 6, 7, u32::MAX].map(|n| backoff(n, 1.0).as_secs());
        assert_eq!(longest, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(backoff(3, 0.5), Duration::from_secs(2), "any share of it");
        assert_eq!(backoff(3, 0.0), SHORTEST);
    }
}
