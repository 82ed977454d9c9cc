//! One clock for everything that waits or grows old.

use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(feature = "layer")]
pub(crate) use crate::moments::{Millis, MonoTime, UnixTime};
#[cfg(feature = "layer")]
pub(crate) use dual::{Clock, Timestamp};

/// Milliseconds since the Unix epoch; a clock before it counts as the epoch itself.
#[expect(clippy::disallowed_methods, reason = "this is the one clock")]
pub(crate) fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| {
        // Centuries too many are as good as for ever.
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A moment on the clock of tokio's timers.
#[cfg(feature = "client")]
#[expect(clippy::disallowed_methods, reason = "this is the one clock")]
pub(crate) fn monotonic_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Both clocks together, for everything that grows old.
#[cfg(feature = "layer")]
mod dual {
    #[cfg(any(test, feature = "test-util"))]
    use std::sync::Arc;
    #[cfg(any(test, feature = "test-util"))]
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Millis, MonoTime, UnixTime, monotonic_now, unix_millis};

    /// A moment, read from the monotonic and the wall clock together.
    ///
    /// Both are kept because each fails alone: the monotonic clock stops while a machine sleeps, the
    /// wall clock jumps.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Timestamp {
        pub(crate) mono: MonoTime,
        pub(crate) wall: UnixTime,
    }

    impl Timestamp {
        /// How old this moment is at `now`, by the clock that says older.
        pub(crate) fn age(self, now: Self) -> Millis {
            now.mono.since(self.mono).max(now.wall.since(self.wall))
        }

        /// This moment moved into the future on both clocks.
        pub(crate) fn after(self, delay: impl Into<Millis>) -> Self {
            let delay = delay.into();
            Self { mono: self.mono + delay, wall: self.wall + delay }
        }

        /// The later of two moments, on each clock.
        pub(crate) fn later(self, other: Self) -> Self {
            Self { mono: self.mono.max(other.mono), wall: self.wall.max(other.wall) }
        }

        /// Whether this moment has come at `now`, on either clock.
        pub(crate) fn is_elapsed(self, now: Self) -> bool {
            now.mono >= self.mono || now.wall >= self.wall
        }
    }

    /// Reads both clocks.
    #[derive(Clone, Debug)]
    pub(crate) struct Clock {
        origin: Instant,
        source: ClockSource,
    }

    #[derive(Clone, Debug)]
    enum ClockSource {
        /// The machine's own.
        System(Option<coarse::Clock>),
        /// For tests: the monotonic clock is tokio's, which can be paused; the wall clock follows it,
        /// shifted by `shift_ms`.
        #[cfg(any(test, feature = "test-util"))]
        Driven { started_at: UnixTime, shift_ms: Arc<AtomicI64> },
    }

    impl Clock {
        /// The machine's clocks.
        pub(crate) fn system() -> Self {
            let coarse = coarse::Clock::new();
            Self { origin: monotonic_now(), source: ClockSource::System(coarse) }
        }

        /// Clocks that follow tokio's.
        #[cfg(any(test, feature = "test-util"))]
        pub(crate) fn tokio() -> Self {
            let (started_at, shift_ms) = (UnixTime::from_millis(unix_millis()), Arc::default());
            Self { origin: monotonic_now(), source: ClockSource::Driven { started_at, shift_ms } }
        }

        /// Both clocks, to the millisecond.
        #[cold] // beside the coarse ones
        pub(crate) fn now(&self) -> Timestamp {
            let elapsed = Millis::from(self.origin.elapsed());
            let wall = match &self.source {
                ClockSource::System(_) => UnixTime::from_millis(unix_millis()),
                #[cfg(any(test, feature = "test-util"))]
                ClockSource::Driven { started_at, shift_ms } => {
                    (*started_at + elapsed).saturating_add_signed(shift_ms.load(Ordering::Relaxed))
                }
            };
            Timestamp { mono: MonoTime::START + elapsed, wall }
        }

        /// Both clocks for the request path: cheap, and set ahead by a few ticks of the system
        /// (some 10 ms), so that ages are never too small. They lag only while the system itself is
        /// so busy that its ticks come late.
        pub(crate) fn coarse(&self) -> Timestamp {
            match &self.source {
                ClockSource::System(Some(coarse)) => coarse.read().unwrap_or_else(|| self.now()),
                ClockSource::System(None) => self.now(),
                #[cfg(any(test, feature = "test-util"))]
                ClockSource::Driven { .. } => self.now(),
            }
        }

        /// The instant that tokio's timers understand.
        pub(crate) fn instant(&self, moment: MonoTime) -> Instant {
            self.origin + Duration::from_millis(moment.as_millis())
        }

        /// Sets the wall clock forward or back.
        #[cfg(test)]
        pub(crate) fn shift_wall_clock(&self, by_ms: i64) {
            match &self.source {
                ClockSource::Driven { shift_ms, .. } => {
                    shift_ms.fetch_add(by_ms, Ordering::Relaxed)
                }
                ClockSource::System(_) => panic!("only a driven clock jumps"),
            };
        }
    }

    /// The kernel's coarse clocks: read in a few nanoseconds, and right even after the process was
    /// stopped, because no thread of the process maintains them.
    #[cfg(target_os = "linux")]
    mod coarse {
        use std::time::Duration;

        use nix::time::{ClockId, clock_getres, clock_gettime};

        use super::{Millis, MonoTime, Timestamp, UnixTime};

        const MONO_CLOCK: ClockId = ClockId::CLOCK_MONOTONIC_COARSE;
        const WALL_CLOCK: ClockId = ClockId::CLOCK_REALTIME_COARSE;
        /// A reading lags by one tick, and by two where a virtual machine shares its processors.
        const MAX_LAG_TICKS: u32 = 3;

        #[derive(Clone, Debug)]
        pub(super) struct Clock {
            /// The reading of the monotonic clock at the start, in milliseconds.
            origin: u64,
            /// How far ahead readings are set, in milliseconds.
            ahead: u64,
        }

        impl Clock {
            pub(super) fn new() -> Option<Self> {
                let tick = Duration::from(clock_getres(MONO_CLOCK).ok()?);
                let ahead = Millis::from(tick * MAX_LAG_TICKS).as_millis() + 1;
                Some(Self { origin: read(ClockId::CLOCK_MONOTONIC)?, ahead })
            }

            pub(super) fn read(&self) -> Option<Timestamp> {
                let mono = read(MONO_CLOCK)?.saturating_sub(self.origin) + self.ahead;
                let wall = read(WALL_CLOCK)? + self.ahead;
                Some(Timestamp {
                    mono: MonoTime::from_millis(mono),
                    wall: UnixTime::from_millis(wall),
                })
            }
        }

        /// In milliseconds; without the checks of a `Duration`, for each request reads it.
        fn read(clock: ClockId) -> Option<u64> {
            let time = clock_gettime(clock).ok()?;
            let seconds = time.tv_sec().max(0).cast_unsigned();
            Some(seconds * 1_000 + time.tv_nsec().cast_unsigned() / 1_000_000)
        }
    }

    /// Elsewhere the precise clocks are the only ones.
    #[cfg(not(target_os = "linux"))]
    mod coarse {
        use super::Timestamp;

        #[derive(Clone, Debug)]
        pub(super) enum Clock {}

        impl Clock {
            pub(super) fn new() -> Option<Self> {
                None
            }

            pub(super) fn read(&self) -> Option<Timestamp> {
                match *self {}
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn coarse_reading_is_of_the_same_clocks() {
            let clock = Clock::system();
            let (precise, coarse) = (clock.now(), clock.coarse());
            let mono = coarse.mono.as_millis().abs_diff(precise.mono.as_millis());
            let wall = coarse.wall.as_millis().abs_diff(precise.wall.as_millis());
            assert!(mono < 1_000 && wall < 1_000, "{mono} {wall}");
        }

        #[tokio::test(start_paused = true)]
        async fn driven_clock_goes_with_tokios() {
            let clock = Clock::tokio();
            let start = clock.now();
            tokio::time::advance(Duration::from_secs(5)).await;
            let later = start.after(Duration::from_secs(5));
            assert_eq!(clock.now(), later);
            clock.shift_wall_clock(-1_000);
            let wall = start.wall + Millis::from_secs(4);
            assert_eq!(clock.coarse(), Timestamp { wall, ..later });
        }
    }
}
