//! When a session is polled next.

use std::time::Duration;

use crate::verdict::Standing;

/// How often a login that waits for the phone is looked at.
const PENDING: Duration = Duration::from_secs(1);

/// The pause from the sending of one poll to the next. `chance` is between 0 and 1: many sessions
/// begun together drift apart, for jitter makes the pause shorter, by up to a fifth, never longer.
pub(crate) fn pause(standing: Standing, interval: Duration, chance: f64) -> Duration {
    match standing {
        Standing::Pending => PENDING,
        Standing::Active | Standing::Suspended | Standing::Odd | Standing::Ended => {
            interval.mul_f64(1.0 - 0.2 * chance)
        }
    }
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
            assert_eq!(pause(standing, interval, 0.0), interval);
            assert_eq!(pause(standing, interval, 0.5), Duration::from_millis(4_500));
            assert_eq!(pause(standing, interval, 1.0), Duration::from_secs(4));
        }
        for chance in [0.0, 0.5, 1.0] {
            assert_eq!(pause(Standing::Pending, interval, chance), Duration::from_secs(1));
        }
        for _ in 0..1_000 {
            assert!((0.0..=1.0).contains(&chance()));
        }
    }
}
