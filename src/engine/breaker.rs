use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::plan;
use crate::clock::millis;

/// As many calls in a row that come to nothing open it.
const TRIPS_AT: u32 = 5;
/// The longest pause by itself: one call at a time spares the service enough, and whatever it takes
/// to notice that the service is back costs everybody.
const LONGEST: Duration = Duration::from_secs(2);
/// How long the one call that finds out may take before another is let through.
const FINDS_OUT: u64 = 4_000;

/// Whether the service is called at all: closed, it is; open, after too many calls that came to
/// nothing or when it asked for a pause, it is left alone; then one call finds out.
///
/// All times are milliseconds on the monotonic clock.
#[derive(Debug)]
pub(crate) struct Breaker(Mutex<State>);

#[derive(Debug)]
enum State {
    Closed {
        failures: u32,
    },
    /// Nobody calls before `until`.
    Open {
        until: u64,
        trips: u32,
        /// The service asked for it.
        asked: bool,
    },
    /// One who was let through finds out, since then.
    HalfOpen {
        since: u64,
        trips: u32,
    },
}

/// What a call's end did to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The first of a row of failures.
    Failing,
    Opened,
    Closed,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State::Closed { failures: 0 }))
    }

    /// Whether to call now; if not, when to ask again. While it is half open one caller is let
    /// through, and reports by [`Breaker::good`] or [`Breaker::bad`].
    pub(crate) fn ask(&self, now: u64) -> Result<(), u64> {
        let mut state = self.state();
        let trips = match *state {
            State::Closed { .. } => return Ok(()),
            State::Open { until, .. } if now < until => return Err(until),
            State::HalfOpen { since, .. } if now < since + FINDS_OUT => {
                return Err(since + FINDS_OUT);
            }
            State::Open { trips, .. } | State::HalfOpen { trips, .. } => trips,
        };
        *state = State::HalfOpen { since: now, trips };
        Ok(())
    }

    /// Until when nobody is let through.
    pub(crate) fn open_until(&self, now: u64) -> Option<u64> {
        match *self.state() {
            State::Open { until, .. } => Some(until).filter(|until| *until > now),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Whether the service asked to be left alone, and still has to be.
    pub(crate) fn is_pausing(&self, now: u64) -> bool {
        matches!(*self.state(), State::Open { until, asked: true, .. } if until > now)
    }

    /// A call was answered.
    pub(crate) fn good(&self) -> Option<Turn> {
        let mut state = self.state();
        if matches!(*state, State::Open { asked: true, .. }) {
            // One that was on its way already: the pause was asked for all the same.
            return None;
        }
        let before = std::mem::replace(&mut *state, State::Closed { failures: 0 });
        (!matches!(before, State::Closed { .. })).then_some(Turn::Closed)
    }

    /// A call came to nothing; the service may have said when to come again.
    pub(crate) fn bad(&self, now: u64, pause: Option<Duration>, chance: f64) -> Option<Turn> {
        let mut state = self.state();
        let asked = pause.map(|pause| now.saturating_add(millis(pause)));
        let (trips, turn) = match &mut *state {
            State::Closed { failures } => {
                *failures += 1;
                if asked.is_none() && *failures < TRIPS_AT {
                    return (*failures == 1).then_some(Turn::Failing);
                }
                (0, Some(Turn::Opened))
            }
            State::HalfOpen { trips, .. } => (*trips + 1, None),
            State::Open { until, asked: was_asked, .. } => {
                // One that was on its way already.
                *until = asked.map_or(*until, |asked| asked.max(*until));
                *was_asked |= asked.is_some();
                return None;
            }
        };
        let until =
            asked.unwrap_or_else(|| now + millis(plan::backoff(trips + 1, chance).min(LONGEST)));
        *state = State::Open { until, trips, asked: asked.is_some() };
        turn
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock, so what a poisoned one holds is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_row_open_it_and_one_call_finds_out() {
        let breaker = Breaker::new();
        assert_eq!(breaker.bad(0, None, 1.0), Some(Turn::Failing));
        for _ in 0..3 {
            assert_eq!(breaker.bad(0, None, 1.0), None);
        }
        assert_eq!(breaker.good(), None);
        assert_eq!(breaker.bad(0, None, 1.0), Some(Turn::Failing), "not in a row");
        for _ in 0..3 {
            assert_eq!(breaker.bad(0, None, 1.0), None);
            assert_eq!(breaker.ask(0), Ok(()));
        }
        assert_eq!(breaker.bad(0, None, 1.0), Some(Turn::Opened));
        assert_eq!(breaker.bad(10, None, 1.0), None, "one that was on its way");
        assert_eq!((breaker.ask(999), breaker.open_until(999)), (Err(1_000), Some(1_000)));
        assert_eq!((breaker.ask(1_000), breaker.open_until(1_000)), (Ok(()), None));
        assert_eq!(breaker.ask(1_001), Err(5_000), "one finds out");
        assert_eq!(breaker.bad(2_000, None, 1.0), None);
        assert_eq!(breaker.ask(3_999), Err(4_000), "twice as long");
        assert_eq!(breaker.ask(4_000), Ok(()));
        assert_eq!(breaker.ask(8_000), Ok(()), "the first never reported");
        assert_eq!(breaker.good(), Some(Turn::Closed));
        assert_eq!(breaker.ask(8_000), Ok(()));
    }

    #[test]
    fn a_pause_that_the_service_asks_for_is_kept() {
        let breaker = Breaker::new();
        let pause = Some(Duration::from_secs(300));
        assert_eq!(breaker.bad(1_000, pause, 0.0), Some(Turn::Opened));
        assert_eq!(breaker.ask(300_999), Err(301_000));
        assert_eq!(breaker.bad(2_000, Some(Duration::from_secs(1)), 0.0), None);
        assert_eq!(breaker.ask(300_999), Err(301_000), "the longest counts");
        assert_eq!(breaker.good(), None, "one that was on its way");
        assert_eq!(breaker.ask(300_999), Err(301_000), "it was asked for all the same");
        assert!(breaker.is_pausing(300_999) && !breaker.is_pausing(301_000));
        assert_eq!(breaker.ask(301_000), Ok(()));
        assert_eq!(breaker.good(), Some(Turn::Closed));
    }

    #[test]
    fn it_is_never_open_for_longer_than_two_seconds_by_itself() {
        let breaker = Breaker::new();
        let mut now = 0;
        for _ in 0..100 {
            breaker.bad(now, None, 1.0);
            let until = breaker.open_until(now).unwrap_or(now);
            assert!(until - now <= 2_000);
            now = until;
            breaker.ask(now).unwrap();
        }
    }
}
