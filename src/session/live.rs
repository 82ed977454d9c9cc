use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Millis, Timestamp, UnixTime};
use crate::events::event::{EndReason, Event, EventKind, EventSender};
use crate::polling::schedule::Schedule;
use crate::protocol::AuthMethods;
use crate::session::idle_state::{IdleState, Phase};
use crate::session::key_ring::KeyRing;
use crate::session::lifecycle::Lifecycle;
use crate::session::notify::{Notifies, WakerList, Watcher};
use crate::session::owner_id::OwnerId;
use crate::session::policy::{CompactWalkaway, Policy};
use crate::session::poll_state::PollState;
use crate::session::record::PackedRecord;
use crate::session::request_number::RequestNumber;
use crate::session::snapshot::{AtomicSnapshot, Snapshot};
use crate::session::walkaway_ends::WalkawayEnds;
use crate::verdict::{KnownState, Requirement, SessionStateMachine, Verdict, VerdictLimits};

/// What all sessions of one engine share: the clock, the limits, the poller's schedule, the events.
#[derive(Debug)]
pub(crate) struct SessionContext {
    pub(crate) clock: Clock,
    pub(crate) limits: VerdictLimits,
    /// How long a session may go unused; [`Millis::MAX`] for its whole life.
    pub(crate) idle_timeout: Millis,
    /// The `Retry-After` of a response that cannot tell the state of a session.
    pub(crate) retry_after: Duration,
    pub(crate) schedule: Schedule<Session>,
    pub(crate) events: EventSender,
    /// Derives the public names of sessions and of their owners.
    pub(crate) key_ring: Arc<KeyRing>,
    /// Sessions that a layer's walkaway policy ended: the poller logs them out at the service.
    pub(crate) walkaway_ends: WalkawayEnds<Session>,
}

/// One remote session and what is known of it.
///
/// The gate reads a verdict from one atomic word, without a lock. The word is written under the
/// lock of `poll_state`, which exists only while the session is polled. A parked or ended session
/// is this struct and the texts of its record.
pub(crate) struct Session {
    pub(crate) record: PackedRecord,
    pub(crate) lifecycle: Lifecycle,
    pub(super) context: Arc<SessionContext>,
    pub(super) snapshot: AtomicSnapshot,
    pub(super) idle_state: IdleState,
    pub(super) poll_state: Mutex<Option<Box<PollState>>>,
    pub(super) watchers: WakerList,
}

/// What is known of a session when a request or a stream takes a watch on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The session is in use or has ended: the snapshot and its verdict.
    Known(Snapshot, Verdict),
    /// The session was parked, or the poller is late: a poll has to be awaited.
    Asleep,
}

/// Keeps a session live and is woken at its changes.
pub(crate) type SessionWatcher = Watcher<Arc<Session>>;

impl Session {
    pub(crate) fn new(
        context: Arc<SessionContext>,
        record: PackedRecord,
        methods: AuthMethods,
        created_at: Timestamp,
    ) -> Arc<Self> {
        Arc::new(Self {
            record,
            lifecycle: Lifecycle::new(created_at, methods),
            context,
            snapshot: AtomicSnapshot::new(KnownState::Pending),
            idle_state: IdleState::new(created_at.mono),
            poll_state: Mutex::new(Some(Box::new(PollState::new(created_at)))),
            watchers: WakerList::default(),
        })
    }

    pub(crate) fn user(&self) -> &str {
        self.record.user()
    }

    /// The id by which pages tell the user of the session from others.
    pub(crate) fn owner_id(&self) -> OwnerId {
        self.context.key_ring.owner_id(self.user())
    }

    pub(crate) fn retry_after(&self) -> Duration {
        self.context.retry_after
    }

    /// Whether the session is of the engine with this context.
    pub(crate) fn belongs_to(&self, context: &Arc<SessionContext>) -> bool {
        Arc::ptr_eq(&self.context, context)
    }

    /// Whether the login that made the session satisfies what a layer requires.
    pub(crate) fn satisfies(&self, requirement: &Requirement) -> bool {
        requirement.is_none() || {
            let (methods, claimed_at) = (self.lifecycle.methods(), self.lifecycle.claimed_at());
            requirement.is_satisfied(methods, claimed_at, self.context.clock.coarse())
        }
    }

    /// When the session was last used: now, if something holds it open.
    pub(crate) fn last_used(&self, now: Timestamp) -> UnixTime {
        let unused_for = self.idle_state.unused_for(now.mono);
        if self.held_open() > 0 { now.wall } else { now.wall.before(unused_for) }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.idle_state.phase()
    }

    /// How many requests, streams and guards hold the session open.
    pub(crate) fn held_open(&self) -> u64 {
        self.idle_state.count()
    }

    /// Whether something holds the session open, so that its next poll goes first.
    pub(crate) fn is_urgent(&self) -> bool {
        self.held_open() > 0
    }

    /// Stores that a request which the session allowed is a use of it.
    #[cold] // few applications have an idle timeout
    pub(crate) fn record_use(&self) {
        self.lifecycle.record_use(self.context.clock.coarse());
    }

    /// Stores that the client has claimed the session.
    pub(crate) fn mark_claimed(&self) {
        self.update_poll_state(|state| {
            // Under the lock, so that no event of an end precedes the event of the start.
            if state.known_state() != KnownState::Ended {
                // First the use: an idle timeout counts from the claim on.
                self.record_use();
                self.lifecycle.record_claim(self.context.clock.now());
                self.send_event(EventKind::Started);
            }
        });
    }

    /// Stores that a request carries the credential. The client has received it then: the response
    /// that issued it is not repeated, and the session is not ended as unclaimed.
    pub(crate) fn mark_presented(&self) {
        if !self.idle_state.is_presented() {
            self.mark_first_presented();
        }
    }

    #[cold]
    fn mark_first_presented(&self) {
        // Under the lock: `end_unpresented` either comes first or sees the mark.
        let state = self.poll_state.lock().unwrap_or_else(PoisonError::into_inner);
        self.idle_state.mark_presented();
        drop(state);
        self.watchers.wake();
    }

    /// Whether a request has carried the credential.
    pub(crate) fn is_presented(&self) -> bool {
        self.idle_state.is_presented()
    }

    /// Whether the response that issued the credential can be repeated: the session has not ended,
    /// and the client may not have received the response.
    pub(crate) fn is_claimable_again(&self) -> bool {
        !self.is_presented() && self.verdict() != Verdict::Ended
    }

    /// Takes a watch, which keeps the session live and resumes a parked one. Everything that waits
    /// for a session or forwards something takes one, and reads the verdict after that.
    pub(crate) fn watch(self: &Arc<Self>) -> SessionWatcher {
        self.clone().acquire_watch().0
    }

    /// Takes a watch; returns it with what is known of the session once the watch exists.
    pub(crate) fn acquire_watch(self: Arc<Self>) -> (SessionWatcher, Arrival) {
        let now = self.context.clock.coarse();
        let resumes = self.idle_state.acquire(now.mono);
        let watch = Watcher::new(self);
        let session = watch.get();
        // Read before the verdict: a poll that completes after the verdict was read may resume the
        // session, and would make an old verdict look like that of a session in use.
        let is_running = session.phase() == Phase::Running;
        let snapshot = session.snapshot();
        let verdict = session.verdict_of(snapshot, now);
        let is_unpolled = is_stale_unpolled(snapshot, verdict);
        if is_unpolled || (resumes && verdict != Verdict::Ended) {
            session.update_poll_state(PollState::poll_now);
        }
        // An end is final.
        let is_known = verdict == Verdict::Ended || (is_running && !is_unpolled);
        if !is_running || is_unpolled {
            session.context.schedule.reschedule(session, session.context.clock.now());
        }
        (watch, if is_known { Arrival::Known(snapshot, verdict) } else { Arrival::Asleep })
    }

    /// Whether the knowledge is stale although no poll failed: none was sent, because the process
    /// or the machine slept, or because the poller is overloaded. One poll will tell.
    pub(crate) fn is_stale_unpolled(&self) -> bool {
        let snapshot = self.snapshot();
        is_stale_unpolled(snapshot, self.verdict_of(snapshot, self.context.clock.coarse()))
    }

    /// The present verdict under this policy, and the snapshot that it was read from. Ends a
    /// suspended session whose policy says so.
    pub(crate) fn enforce(self: &Arc<Self>, policy: &Policy) -> (Snapshot, Verdict) {
        let snapshot = self.snapshot();
        let verdict = self.verdict_of(snapshot, self.context.clock.coarse());
        (snapshot, self.enforce_walkaway(verdict, policy))
    }

    /// This verdict under this policy. Ends a suspended session whose policy says so.
    pub(crate) fn enforce_walkaway(self: &Arc<Self>, verdict: Verdict, policy: &Policy) -> Verdict {
        if verdict == Verdict::Suspended && policy.walkaway == CompactWalkaway::End {
            self.end_on_walkaway();
            return Verdict::Ended;
        }
        verdict
    }

    #[cold]
    fn end_on_walkaway(self: &Arc<Self>) {
        if self.end(EndReason::Walkaway) {
            self.context.walkaway_ends.push(self);
        }
    }

    /// Ends the session in this process; false if it had ended.
    pub(crate) fn end(&self, reason: EndReason) -> bool {
        self.end_for(reason, None)
    }

    /// Ends the session in this process for the handler of this request; false if it had ended.
    pub(crate) fn end_by(&self, request: RequestNumber) -> bool {
        self.end_for(EndReason::LoggedOut, Some(request))
    }

    fn end_for(&self, reason: EndReason, request: Option<RequestNumber>) -> bool {
        let ended = self.update_poll_state(|state| state.end(reason, request));
        self.watchers.wake();
        ended
    }

    /// Ends the session in this process if no request has carried the credential; false if one has,
    /// or if the session had ended.
    pub(crate) fn end_unpresented(&self) -> bool {
        let ended = self.update_poll_state(|state| {
            !self.is_presented() && state.end(EndReason::Unclaimed, None)
        });
        self.watchers.wake();
        ended
    }

    /// Changes the poll state under its lock, publishes the result, and sends the event of the
    /// change.
    pub(super) fn update_poll_state<R>(&self, change: impl FnOnce(&mut PollState) -> R) -> R {
        // Nothing that can panic runs under the lock, so a poisoned one holds a whole state.
        let mut slot = self.poll_state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = slot.get_or_insert_with(|| {
            let (known_state, good) = self.last_known();
            let status = self.lifecycle.status();
            let machine = SessionStateMachine::resume(known_state, status, good);
            Box::new(PollState::resume(machine))
        });
        let before = (state.known_state(), state.machine().status());
        let result = change(state);
        let (known_state, status) = (state.known_state(), state.machine().status());
        let mut event = None;
        if before != (known_state, status) {
            self.lifecycle.record_status(status, self.context.clock.now());
            tracing::debug!(%status, ?known_state, "session changed");
            event = state.take_event();
        }
        self.publish(state);
        // After the end only the request whose handler ended the session counts: the gate reads it
        // when the handler has responded.
        if known_state == KnownState::Ended && state.ended_by().is_none() {
            *slot = None;
        }
        drop(slot);
        if let Some(event) = event.filter(|_| self.lifecycle.is_claimed()) {
            self.send_event(event);
        }
        result
    }

    /// Sends an event of the session.
    pub(crate) fn send_event(&self, kind: EventKind) {
        self.context.events.send(|| {
            let client = self.record.client();
            Event {
                user: Some(self.user().into()),
                session: Some(self.context.key_ring.session_id(self.record.token())),
                user_agent: client.description(),
                address: client.address,
                ..Event::new(kind, self.context.clock.now())
            }
        });
    }

    /// Whether the session ended at least `ttl` ago, so that nothing refers to its end any more.
    pub(crate) fn is_tombstone_expired(&self, now: Timestamp, ttl: Duration) -> bool {
        let ended_at = self.lifecycle.status_changed_at();
        self.last_known().0 == KnownState::Ended && now.mono.since(ended_at.mono) >= ttl.into()
    }
}

/// Whether the verdict is `Unavailable` only because no poll was sent in time.
fn is_stale_unpolled(snapshot: Snapshot, verdict: Verdict) -> bool {
    verdict == Verdict::Unavailable
        && snapshot.known_state() != KnownState::Inconsistent
        && !snapshot.is_failing()
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("verdict", &self.verdict()).finish_non_exhaustive()
    }
}

impl Notifies for Arc<Session> {
    fn watchers(&self) -> &WakerList {
        &self.watchers
    }

    fn on_watcher_dropped(&self) {
        self.idle_state.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::UserToken;
    use crate::polling::schedule::Scheduled as _;
    use crate::session::test_session::test_session;
    use crate::verdict::{PollOutcome, UpstreamSnapshot};

    /// Also if a poll without a response completes just then and schedules the next one.
    #[test]
    fn staleness_is_rescheduled_until_published() {
        let session = test_session(&"alice".into(), &UserToken::random().unwrap());
        let interval = Duration::from_secs(5);
        let stale = session.lifecycle.created_at().after(Millis::from_secs(15));
        session.queue_poll(session.lifecycle.created_at(), 0);
        let poll = session.start_poll(session.lifecycle.created_at()).unwrap();
        let upstream = UpstreamSnapshot { last_success: None, is_recent: false };
        session.apply_poll(poll.sequence, stale, PollOutcome::NoResponse, upstream);
        session.finish_poll(stale, interval, None);
        assert_eq!(session.schedule_next(stale), Some(stale.mono));
        assert!(session.is_due(stale.mono));
        session.publish_stale(stale);
        assert!(session.schedule_next(stale).is_some_and(|next| next > stale.mono));
    }

    /// T093: a poll may complete between any two reads of a session that resumes. The verdict from
    /// before the poll must not count as that of a session in use.
    #[test]
    fn arrival_uses_no_verdict_from_before_resume() {
        let (user, token) = ("alice".into(), UserToken::random().unwrap());
        for _ in 0..200 {
            let session = test_session(&user, &token);
            assert!(session.park(session.lifecycle.created_at(), Duration::ZERO));
            let arrival = std::thread::scope(|scope| {
                let held = session.poll_state.lock().unwrap_or_else(PoisonError::into_inner);
                let arriving = scope.spawn(|| session.clone().acquire_watch().1);
                // The arriving thread waits for the lock, mostly after it has read the verdict.
                while session.phase() != Phase::Resuming {
                    std::hint::spin_loop();
                }
                (0..5_000).for_each(|_| std::hint::spin_loop());
                // What a completed poll does.
                session.snapshot.store(Snapshot::new(
                    KnownState::Active,
                    false,
                    false,
                    Millis::ZERO,
                    0,
                ));
                session.idle_state.mark_resumed();
                drop(held);
                arriving.join().unwrap()
            });
            match arrival {
                Arrival::Asleep => {}
                Arrival::Known(_, verdict) => assert_eq!(verdict, Verdict::Allow),
            }
        }
    }

    /// What the documentation of [`Session`] says of its size.
    #[test]
    fn parked_session_is_small() {
        assert!(size_of::<Session>() <= 104, "{}", size_of::<Session>());
    }
}
