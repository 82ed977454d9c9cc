use crate::clock::{Millis, MonoTime};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{AcqRel, Acquire};

/// The phase of a session, how many requests and streams hold it open, when it was last used, and
/// whether a request has carried its credential: one atomic word, so that parking a session and a
/// use of it cannot miss each other.
///
/// Two bits of phase, one of presentation, 27 of the count, 34 of milliseconds, which wrap after
/// 198 days, longer than any session lives.
#[derive(Debug)]
pub(crate) struct IdleState(AtomicU64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The poller keeps the session fresh.
    Running,
    /// Not polled: the session was not used for a while.
    Parked,
    /// In use again; the first poll is not complete.
    Resuming,
}

const PARKED_BIT: u64 = 1 << 63;
const RESUMING_BIT: u64 = 1 << 62;
const PHASE_MASK: u64 = PARKED_BIT | RESUMING_BIT;
const PRESENTED_BIT: u64 = 1 << 61;
const TIME_MASK: u64 = (1 << 34) - 1;
const COUNT_UNIT: u64 = TIME_MASK + 1;
const COUNT_MASK: u64 = !(PHASE_MASK | PRESENTED_BIT | TIME_MASK);

impl IdleState {
    /// A running session that was used at `now`.
    pub(crate) fn new(now: MonoTime) -> Self {
        Self(AtomicU64::new(now.as_millis() & TIME_MASK))
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.0.load(Acquire) & PHASE_MASK {
            0 => Phase::Running,
            PARKED_BIT => Phase::Parked,
            _ => Phase::Resuming,
        }
    }

    /// How many requests, streams and guards hold the session open.
    pub(crate) fn count(&self) -> u64 {
        (self.0.load(Acquire) & COUNT_MASK) / COUNT_UNIT
    }

    /// Uses the session and holds it open until [`IdleState::release`]. True for exactly one of the
    /// callers that find it parked: that caller has it polled.
    pub(crate) fn acquire(&self, now: MonoTime) -> bool {
        let mut word = self.0.load(Acquire);
        loop {
            let time = word.wrapping_add(since(word, now).as_millis()) & TIME_MASK;
            let phase = if word & PHASE_MASK == 0 { 0 } else { RESUMING_BIT };
            let entered = (phase | word & (PRESENTED_BIT | COUNT_MASK) | time) + COUNT_UNIT;
            match self.0.compare_exchange_weak(word, entered, AcqRel, Acquire) {
                Ok(_) => return word & PARKED_BIT != 0,
                Err(newer) => word = newer,
            }
        }
    }

    /// How long the session has not been used.
    pub(crate) fn unused_for(&self, now: MonoTime) -> Millis {
        since(self.0.load(Acquire), now)
    }

    pub(crate) fn release(&self) {
        self.0.fetch_sub(COUNT_UNIT, AcqRel);
    }

    /// Parks a session that nothing holds open and that was not used for `keep`, also one whose
    /// first poll did not complete in that time. Returns whether it parked it. A session that is
    /// held open counts as used now.
    pub(crate) fn park(&self, now: MonoTime, keep: Millis) -> bool {
        let word = self.0.load(Acquire);
        if word & PARKED_BIT != 0 {
            return false;
        }
        let unused = since(word, now);
        let (parks, then) = match word & COUNT_MASK {
            0 if unused >= keep => (true, PARKED_BIT | word & !PHASE_MASK),
            0 => return false,
            count => {
                (false, word & (PHASE_MASK | PRESENTED_BIT) | count | now.as_millis() & TIME_MASK)
            }
        };
        // Fails if the session was used in between.
        self.0.compare_exchange(word, then, AcqRel, Acquire).is_ok() && parks
    }

    /// Whether a request has carried the session's credential.
    pub(crate) fn is_presented(&self) -> bool {
        self.0.load(Acquire) & PRESENTED_BIT != 0
    }

    /// Stores that a request has carried the credential.
    pub(crate) fn mark_presented(&self) {
        self.0.fetch_or(PRESENTED_BIT, AcqRel);
    }

    /// The poll that resumes the session is complete.
    pub(crate) fn mark_resumed(&self) {
        self.0.fetch_and(!RESUMING_BIT, AcqRel);
    }
}

/// The span from the last use to `now`; zero if the last use was stored by a clock that is
/// ahead of this one, as the clock of requests is of the poller's.
fn since(word: u64, now: MonoTime) -> Millis {
    let passed = now.as_millis().wrapping_sub(word) & TIME_MASK;
    Millis::from_millis(if passed > TIME_MASK / 2 { 0 } else { passed })
}
