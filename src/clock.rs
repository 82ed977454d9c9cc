//! One clock for everything that waits or grows old.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(feature = "layer")]
pub(crate) use dual::{Clock, Timestamp};

/// Whole milliseconds of a duration; centuries too many are as good as for ever.
pub(crate) fn millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000).saturating_add(duration.subsec_millis().into())
}

/// Milliseconds since the Unix epoch; a clock before it counts as the epoch itself.
#[expect(clippy::disallowed_methods, reason = "this is the one clock")]
pub(crate) fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

/// A moment on the clock of tokio's timers.
#[cfg(feature = "client")]
#[expect(clippy::disallowed_methods, reason = "this is the one clock")]
pub(crate) fn monotonic_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Both clocks together, for whatever grows old.
#[cfg(feature = "layer")]
mod dual {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{millis, monotonic_now, unix_millis};

    /// A moment, read from the monotonic and the wall clock together.
    ///
    /// Both are kept because each fails alone: the monotonic clock stops while a machine sleeps, the
    /// wall clock jumps.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Timestamp {
        /// Milliseconds since the clock was made.
        pub(crate) mono: u64,
        /// Milliseconds since the Unix epoch.
        pub(crate) wall: u64,
    }

    impl Timestamp {
        /// How old this moment is at `now`, in milliseconds: whichever clock says older.
        pub(crate) fn age(self, now: Self) -> u64 {
            now.mono.saturating_sub(self.mono).max(now.wall.saturating_sub(self.wall))
        }

        /// This moment moved into the future on both clocks.
        pub(crate) fn after(self, delay: Duration) -> Self {
            self.after_millis(millis(delay))
        }

        /// The same, by so many milliseconds.
        pub(crate) fn after_millis(self, ms: u64) -> Self {
            Self { mono: self.mono.saturating_add(ms), wall: self.wall.saturating_add(ms) }
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
        /// Tests': the monotonic clock is tokio's, which can be paused; the wall clock goes along
        /// with it, set forward or back by as much as is kept here.
        Driven { begun: u64, jumped: Arc<AtomicI64> },
    }

    impl Clock {
        /// The machine's clocks.
        pub(crate) fn system() -> Self {
            let coarse = coarse::Clock::new();
            Self { origin: monotonic_now(), source: ClockSource::System(coarse) }
        }

        /// Clocks that go with tokio's.
        pub(crate) fn tokio() -> Self {
            let (begun, jumped) = (unix_millis(), Arc::default());
            Self { origin: monotonic_now(), source: ClockSource::Driven { begun, jumped } }
        }

        /// Both clocks, to the millisecond.
        #[cold] // beside the coarse ones
        pub(crate) fn now(&self) -> Timestamp {
            let mono = millis(self.origin.elapsed());
            let wall = match &self.source {
                ClockSource::System(_) => unix_millis(),
                ClockSource::Driven { begun, jumped } => {
                    (begun + mono).saturating_add_signed(jumped.load(Ordering::Relaxed))
                }
            };
            Timestamp { mono, wall }
        }

        /// Both clocks for the request path: cheap, and set ahead by a few ticks of the system
        /// (some 10 ms), so that what is judged by them is judged as older, if anything. They are
        /// behind only while the system itself is so held up that its ticks come late.
        pub(crate) fn coarse(&self) -> Timestamp {
            match &self.source {
                ClockSource::System(Some(coarse)) => coarse.read().unwrap_or_else(|| self.now()),
                ClockSource::System(None) | ClockSource::Driven { .. } => self.now(),
            }
        }

        /// The instant that tokio's timers understand.
        pub(crate) fn instant(&self, mono: u64) -> Instant {
            self.origin + Duration::from_millis(mono)
        }

        /// Sets the wall clock forward or back.
        #[cfg(test)]
        pub(crate) fn shift_wall_clock(&self, by_ms: i64) {
            match &self.source {
                ClockSource::Driven { jumped, .. } => jumped.fetch_add(by_ms, Ordering::Relaxed),
                ClockSource::System(_) => panic!("only a driven clock jumps"),
            };
        }
    }

    /// What the kernel keeps at hand: read in a few nanoseconds, and right also after the process
    /// was stopped, as no thread of ours has to keep it.
    #[cfg(target_os = "linux")]
    mod coarse {
        use std::time::Duration;

        use nix::time::{ClockId, clock_getres, clock_gettime};

        use super::{Timestamp, millis};

        const MONO_CLOCK: ClockId = ClockId::CLOCK_MONOTONIC_COARSE;
        const WALL_CLOCK: ClockId = ClockId::CLOCK_REALTIME_COARSE;
        /// A reading lags by one tick, and by two where a virtual machine shares its processors.
        const MAX_LAG_TICKS: u32 = 3;

        #[derive(Clone, Debug)]
        pub(super) struct Clock {
            /// What the monotonic clock said in the beginning, in milliseconds.
            origin: u64,
            /// How far ahead readings are set, in milliseconds.
            ahead: u64,
        }

        impl Clock {
            pub(super) fn new() -> Option<Self> {
                let tick = Duration::from(clock_getres(MONO_CLOCK).ok()?);
                let ahead = millis(tick * MAX_LAG_TICKS) + 1;
                Some(Self { origin: read(ClockId::CLOCK_MONOTONIC)?, ahead })
            }

            pub(super) fn read(&self) -> Option<Timestamp> {
                let mono = read(MONO_CLOCK)?.saturating_sub(self.origin) + self.ahead;
                Some(Timestamp { mono, wall: read(WALL_CLOCK)? + self.ahead })
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
            assert!(coarse.mono.abs_diff(precise.mono) < 1_000);
            assert!(coarse.wall.abs_diff(precise.wall) < 1_000);
        }

        #[tokio::test(start_paused = true)]
        async fn driven_clock_goes_with_tokios() {
            let clock = Clock::tokio();
            let begun = clock.now();
            tokio::time::advance(Duration::from_secs(5)).await;
            assert_eq!(clock.now(), begun.after(Duration::from_secs(5)));
            clock.shift_wall_clock(-1_000);
            assert_eq!((clock.coarse().mono, clock.coarse().wall), (5_000, begun.wall + 4_000));
        }
    }
}
