//! One clock for everything that waits or grows old.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(feature = "layer")]
pub(crate) use both::{Clock, Stamp};

/// Whole milliseconds of a duration; centuries too many are as good as for ever.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the Unix epoch; a clock before it counts as the epoch itself.
#[expect(clippy::disallowed_methods, reason = "this is the one clock")]
pub(crate) fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

/// Both clocks together, for whatever grows old.
#[cfg(feature = "layer")]
mod both {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{millis, unix_millis};

    /// A moment, read from the monotonic and the wall clock together.
    ///
    /// Both are kept because each fails alone: the monotonic clock stops while a machine sleeps, the
    /// wall clock jumps.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Stamp {
        /// Milliseconds since the clock was made.
        pub(crate) mono: u64,
        /// Milliseconds since the Unix epoch.
        pub(crate) wall: u64,
    }

    impl Stamp {
        /// How old this moment is at `now`, in milliseconds: whichever clock says older.
        pub(crate) fn age(self, now: Self) -> u64 {
            now.mono.saturating_sub(self.mono).max(now.wall.saturating_sub(self.wall))
        }

        /// This moment moved into the future on both clocks.
        pub(crate) fn after(self, delay: Duration) -> Self {
            let ms = millis(delay);
            Self { mono: self.mono.saturating_add(ms), wall: self.wall.saturating_add(ms) }
        }

        /// Whether this moment has come at `now`, on either clock.
        pub(crate) fn is_reached(self, now: Self) -> bool {
            now.mono >= self.mono || now.wall >= self.wall
        }
    }

    /// Reads both clocks. The monotonic one is tokio's, so that tests can pause it.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Clock {
        origin: Instant,
    }

    impl Clock {
        #[expect(clippy::disallowed_methods, reason = "this is the one clock")]
        pub(crate) fn new() -> Self {
            Self { origin: Instant::now() }
        }

        pub(crate) fn now(&self) -> Stamp {
            Stamp { mono: millis(self.origin.elapsed()), wall: unix_millis() }
        }

        /// The instant that tokio's timers understand.
        pub(crate) fn instant(&self, mono: u64) -> Instant {
            self.origin + Duration::from_millis(mono)
        }
    }
}
