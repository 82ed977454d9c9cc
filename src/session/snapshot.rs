use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::clock::Millis;
use crate::verdict::KnownState;

/// What a verdict needs, in one atomic word: readers take no lock and never see half of a change.
#[derive(Debug)]
pub(crate) struct AtomicSnapshot(AtomicU64);

/// What was published at one moment. Another snapshot is other knowledge; an equal one may have
/// grown older.
///
/// From the top: one bit says that the poller has reported the knowledge as stale, one that the
/// last poll got no response, and three hold the state. 26 bits hold the milliseconds from the
/// creation of the session to the last good poll on the monotonic clock (18 h, longer than any
/// session lives), 33 those on the wall clock, which may go back: 49 days either way. A wall clock
/// that was set further does not fit; readers then ask the poll state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot(u64);

const MONO_BITS: u32 = 26;
const WALL_BITS: u32 = 33;
const WALL_MAX_MS: i64 = (1 << (WALL_BITS - 1)) - 1;
/// The least value that fits stands for all that do not.
const WALL_OUT_OF_RANGE: i64 = -WALL_MAX_MS - 1;
const STATE_SHIFT: u32 = MONO_BITS + WALL_BITS;
const FAILING_BIT: u32 = STATE_SHIFT + 3;
const STALE_BIT: u32 = FAILING_BIT + 1;

impl AtomicSnapshot {
    /// The snapshot of a session that was just created in this state.
    pub(crate) fn new(state: KnownState) -> Self {
        Self(AtomicU64::new(Snapshot::new(state, false, false, Millis::ZERO, 0).0))
    }

    pub(crate) fn store(&self, snapshot: Snapshot) {
        self.0.store(snapshot.0, Release);
    }

    pub(crate) fn load(&self) -> Snapshot {
        Snapshot(self.0.load(Acquire))
    }
}

impl Snapshot {
    /// `good_mono` and `good_wall` (in milliseconds) are the spans from the creation of the session
    /// to the last good poll on each clock. On the monotonic clock, a value that does not fit is stored as
    /// older than it is.
    pub(crate) fn new(
        state: KnownState,
        is_stale_reported: bool,
        is_failing: bool,
        good_mono: Millis,
        good_wall: i64,
    ) -> Self {
        let mono = good_mono.as_millis().min((1 << MONO_BITS) - 1);
        let fits = (-WALL_MAX_MS..=WALL_MAX_MS).contains(&good_wall);
        let wall = if fits { good_wall } else { WALL_OUT_OF_RANGE };
        let wall = wall.cast_unsigned() & ((1 << WALL_BITS) - 1);
        let flags =
            u64::from(is_stale_reported) << STALE_BIT | u64::from(is_failing) << FAILING_BIT;
        Self(flags | u64::from(state as u8) << STATE_SHIFT | mono << WALL_BITS | wall)
    }

    pub(crate) fn known_state(self) -> KnownState {
        KnownState::from_u8((self.0 >> STATE_SHIFT & 7) as u8)
    }

    /// Whether the last poll got no response.
    pub(crate) fn is_failing(self) -> bool {
        self.0 >> FAILING_BIT & 1 == 1
    }

    /// The milliseconds from the creation of the session to the last good poll, on the monotonic
    /// and on the wall clock; `None` for a wall clock that was set so far that they do not fit.
    pub(crate) fn last_good(self) -> (Millis, Option<i64>) {
        let mono = self.0 >> WALL_BITS & ((1 << MONO_BITS) - 1);
        // Shifted up and down again to extend the sign.
        let wall = (self.0 << (64 - WALL_BITS)).cast_signed() >> (64 - WALL_BITS);
        (Millis::from_millis(mono), (wall != WALL_OUT_OF_RANGE).then_some(wall))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn load_returns_stored_or_older(
            state in 0..5_u8, stale: bool, failing: bool, mono: u64, wall: i64,
        ) {
            let state = KnownState::from_u8(state);
            let mono = Millis::from_millis(mono);
            let stored = Snapshot::new(state, stale, failing, mono, wall);
            let atomic = AtomicSnapshot::new(KnownState::Pending);
            atomic.store(stored);
            let loaded = atomic.load();
            prop_assert_eq!(loaded, stored);
            prop_assert_eq!(loaded.known_state(), state);
            prop_assert_eq!(loaded.is_failing(), failing);
            let (mono_read, wall_read) = loaded.last_good();
            prop_assert!(mono_read <= mono && (mono_read == mono || mono.as_millis() >= 1 << MONO_BITS));
            match wall_read {
                Some(read) => prop_assert_eq!(read, wall),
                None => prop_assert!(!(-WALL_MAX_MS..=WALL_MAX_MS).contains(&wall)),
            }
            let other_stale = Snapshot::new(state, !stale, failing, mono, wall);
            prop_assert!(other_stale != loaded && other_stale.last_good() == loaded.last_good());
        }

        #[test]
        fn day_either_way_is_exact(
            state in 0..5_u8, mono in 0..67_108_864_u64, wall in -86_400_000..86_400_000_i64,
        ) {
            let state = KnownState::from_u8(state);
            let mono = Millis::from_millis(mono);
            let snapshot = Snapshot::new(state, false, false, mono, wall);
            prop_assert_eq!(snapshot.known_state(), state);
            prop_assert_eq!(snapshot.last_good(), (mono, Some(wall)));
        }
    }
}
