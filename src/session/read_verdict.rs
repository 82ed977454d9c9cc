//! How a session's verdict is read: from one atomic word and the clocks, without a lock.

use std::sync::PoisonError;
#[cfg(feature = "axum")]
use std::time::Duration;

use crate::clock::{Millis, Timestamp};
use crate::events::event::EndReason;
use crate::session::live::Session;
use crate::session::poll_state::PollState;
use crate::session::snapshot::Snapshot;
use crate::verdict::{KnownState, Verdict, VerdictInput, verdict};

impl Session {
    /// The present verdict for a request: the clock may be read as a few milliseconds later than it
    /// is.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict_at(self.context.clock.coarse())
    }

    pub(crate) fn verdict_at(&self, now: Timestamp) -> Verdict {
        self.verdict_of(self.snapshot(), now)
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshot.load()
    }

    pub(super) fn verdict_of(&self, snapshot: Snapshot, now: Timestamp) -> Verdict {
        let verdict = self.verdict_by_age(snapshot, now);
        // The request path: most applications have no idle timeout.
        if self.context.idle_timeout == Millis::MAX {
            verdict
        } else {
            self.verdict_by_last_use(verdict, now)
        }
    }

    fn verdict_by_age(&self, snapshot: Snapshot, now: Timestamp) -> Verdict {
        // A snapshot counts from the creation of its session.
        let created_at = self.lifecycle.created_at();
        let mono = now.mono.since(created_at.mono);
        let wall = now.wall.signed_since(created_at.wall);
        let (good_mono, Some(good_wall)) = snapshot.last_good() else {
            return self.verdict_under_lock(now);
        };
        let span = |ms: i64| Millis::from_millis(ms.max(0).cast_unsigned());
        let input = VerdictInput {
            state: snapshot.known_state(),
            staleness: mono.saturating_sub(good_mono).max(span(wall.saturating_sub(good_wall))),
            session_age: mono.max(span(wall)),
        };
        verdict(input, self.context.limits)
    }

    /// The verdict where the wall clock was set so far that the snapshot cannot hold the last good
    /// poll: the poll state holds it. A session without a poll state has ended, or is parked and
    /// polled before it allows anything.
    #[cold]
    fn verdict_under_lock(&self, now: Timestamp) -> Verdict {
        let slot = self.poll_state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, staleness) = match slot.as_ref() {
            Some(state) => (state.known_state(), state.machine().last_good_at().age(now)),
            None => (self.snapshot().known_state(), Millis::MAX),
        };
        drop(slot);
        let session_age = self.lifecycle.age(now);
        verdict(VerdictInput { state, staleness, session_age }, self.context.limits)
    }

    /// The verdict where there is an idle timeout: ended, if no request has used the session for
    /// that long.
    #[cold]
    fn verdict_by_last_use(&self, verdict: Verdict, now: Timestamp) -> Verdict {
        let is_idle = self.lifecycle.is_idle(self.context.idle_timeout, now);
        if is_idle { Verdict::Ended } else { verdict }
    }

    /// The last published state, and when the poll was sent that reported it.
    pub(super) fn last_known(&self) -> (KnownState, Timestamp) {
        let (created_at, snapshot) = (self.lifecycle.created_at(), self.snapshot());
        let (mono, wall) = snapshot.last_good();
        let wall = wall.map(|ms| created_at.wall.saturating_add_signed(ms)).unwrap_or_default();
        (snapshot.known_state(), Timestamp { mono: created_at.mono + mono, wall })
    }

    /// Publishes the poll state to readers without the lock. The caller holds the lock.
    pub(super) fn publish(&self, state: &PollState) {
        let (created_at, good) = (self.lifecycle.created_at(), state.machine().last_good_at());
        let snapshot = Snapshot::new(
            state.known_state(),
            state.is_stale_reported(),
            state.is_failing(),
            good.mono.since(created_at.mono),
            good.wall.signed_since(created_at.wall),
        );
        self.snapshot.store(snapshot);
    }

    /// The longest time that the session can still live.
    #[cfg(feature = "axum")]
    pub(crate) fn life_left(&self, now: Timestamp) -> Duration {
        let lifetime = self.context.limits.lifetime;
        lifetime.saturating_sub(self.lifecycle.age(now)).into()
    }

    /// The reason of an end that no status and no caller caused.
    pub(crate) fn expiry_reason(&self, now: Timestamp) -> EndReason {
        let is_old = self.lifecycle.age(now) >= self.context.limits.lifetime;
        if is_old { EndReason::Expired } else { EndReason::Idle }
    }
}
