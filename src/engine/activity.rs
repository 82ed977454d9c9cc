use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{AcqRel, Acquire};

/// Whether the poller keeps a session's status fresh, and when the session was last used: one word,
/// so that whoever parks a session and whoever comes to use it can't miss each other.
#[derive(Debug)]
pub(crate) struct Activity(AtomicU64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It is kept fresh.
    Running,
    /// It is not; nobody used the session for a while.
    Parked,
    /// It will be; the first poll is not back yet.
    Waking,
}

const PARKED: u64 = 1 << 63;
const WAKING: u64 = 1 << 62;
const TIME: u64 = WAKING - 1;

/// Uses closer together than this, in milliseconds, are one: a word that everybody reads and few
/// write stays in every core's cache.
const GRAIN: u64 = 1_000;

impl Activity {
    /// Running, and used at this moment (milliseconds on the monotonic clock, as all times here).
    pub(crate) fn new(now: u64) -> Self {
        Self(AtomicU64::new(now & TIME))
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.0.load(Acquire) & !TIME {
            0 => Phase::Running,
            PARKED => Phase::Parked,
            _ => Phase::Waking,
        }
    }

    /// Notes a use. True for exactly one of those who come to a parked session: it is waking now,
    /// and that one sees to it.
    pub(crate) fn touch(&self, now: u64) -> bool {
        let mut word = self.0.load(Acquire);
        loop {
            let used = word & TIME;
            if word & PARKED == 0 && now < used.saturating_add(GRAIN) {
                return false;
            }
            let phase = if word & !TIME == 0 { 0 } else { WAKING };
            match self.0.compare_exchange(word, (now & TIME) | phase, AcqRel, Acquire) {
                Ok(_) => return word & PARKED != 0,
                Err(newer) => word = newer,
            }
        }
    }

    /// Parks a running session that was not used for `keep` milliseconds; says whether it did.
    /// `is_live` is asked after the last use was read: who is live has noted a use before.
    pub(crate) fn park(&self, now: u64, keep: u64, is_live: impl FnOnce() -> bool) -> bool {
        let word = self.0.load(Acquire);
        let unused = word & !TIME == 0 && now.saturating_sub(word) >= keep;
        unused
            && !is_live()
            && self.0.compare_exchange(word, word | PARKED, AcqRel, Acquire).is_ok()
    }

    /// The poll that a waking session waited for is back.
    pub(crate) fn woke(&self) {
        let mut word = self.0.load(Acquire);
        while word & WAKING != 0 {
            match self.0.compare_exchange(word, word & TIME, AcqRel, Acquire) {
                Ok(_) => return,
                Err(newer) => word = newer,
            }
        }
    }
}
