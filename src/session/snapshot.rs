use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

/// What a verdict needs, in one word: read without a lock, and never half of one state
/// and half of another.
///
/// One bit says that the poller has seen the knowledge grow too old, and three how the session
/// stands; 26 hold the milliseconds from its beginning to its last good poll on the monotonic clock
/// (18 h, more than any session lives), 34 those on the wall clock, which may go back: 99 days
/// either way. A wall clock that was set further is not told here, and has to be asked for where the
/// poll is kept whole.
#[derive(Debug)]
pub(crate) struct AtomicSnapshot(AtomicU64);

const MONO_BITS: u32 = 26;
const WALL_BITS: u32 = 34;
const WALL_MAX: i64 = (1 << (WALL_BITS - 1)) - 1;
/// The least value that fits.
const WALL_OUT_OF_RANGE: i64 = -WALL_MAX - 1;
const STATE_SHIFT: u32 = MONO_BITS + WALL_BITS;
const STALE_BIT: u32 = STATE_SHIFT + 3;

/// All that was published at one moment. Another word is other knowledge; the same word may have
/// grown older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot(u64);

impl AtomicSnapshot {
    pub(crate) fn new(standing: u8) -> Self {
        let published = Self(AtomicU64::new(0));
        published.store(standing, false, 0, 0);
        published
    }

    /// Stores a standing (at most 7), whether it was seen to grow too old, and when the poll that
    /// stated it was sent: milliseconds since the beginning, on each clock. On the monotonic one, what
    /// is out of range is stored as older than it is.
    pub(crate) fn store(&self, standing: u8, old: bool, mono: u64, wall: i64) {
        let mono = mono.min((1 << MONO_BITS) - 1);
        let is_in_range = (-WALL_MAX..=WALL_MAX).contains(&wall);
        let wall = if is_in_range { wall } else { WALL_OUT_OF_RANGE };
        let wall = wall.cast_unsigned() & ((1 << WALL_BITS) - 1);
        let standing = u64::from(standing) << STATE_SHIFT;
        self.0.store(u64::from(old) << STALE_BIT | standing | mono << WALL_BITS | wall, Release);
    }

    pub(crate) fn load(&self) -> Snapshot {
        Snapshot(self.0.load(Acquire))
    }
}

impl Snapshot {
    /// The standing, and the times; on the wall clock `None` if that was set so far that the time does
    /// not fit.
    pub(crate) fn read(self) -> (u8, u64, Option<i64>) {
        let standing = (self.0 >> STATE_SHIFT & 7) as u8;
        let mono = self.0 >> WALL_BITS & ((1 << MONO_BITS) - 1);
        // Shifted up and down again to extend the sign.
        let wall = (self.0 << (64 - WALL_BITS)).cast_signed() >> (64 - WALL_BITS);
        (standing, mono, (wall != WALL_OUT_OF_RANGE).then_some(wall))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn load_returns_stored_or_older(standing in 0..8_u8, old: bool, mono: u64, wall: i64) {
            let published = AtomicSnapshot::new(0);
            published.store(standing, old, mono, wall);
            let word = published.load();
            let (standing_read, mono_read, wall_read) = word.read();
            published.store(standing, !old, mono, wall);
            prop_assert!(published.load() != word && published.load().read() == word.read());
            prop_assert_eq!(standing_read, standing);
            prop_assert!(mono_read <= mono && (mono_read == mono || mono >= 1 << MONO_BITS));
            match wall_read {
                Some(read) => prop_assert_eq!(read, wall),
                None => prop_assert!(!(-WALL_MAX..=WALL_MAX).contains(&wall)),
            }
        }

        #[test]
        fn day_either_way_is_exact(standing in 0..8_u8, mono in 0..67_108_864_u64,
                                     wall in -86_400_000..86_400_000_i64) {
            let published = AtomicSnapshot::new(0);
            published.store(standing, false, mono, wall);
            prop_assert_eq!(published.load().read(), (standing, mono, Some(wall)));
        }
    }
}
