use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use crate::clock::{Clock, Timestamp, millis};
use crate::events::event::{EndReason, Event, EventKind, EventSender};
use crate::polling::backoff;
use crate::polling::schedule::{Schedule, Scheduled, UNSCHEDULED};
use crate::protocol::{AuthMethods, SessionStatus};
use crate::session::idle_state::{IdleState, Phase};
use crate::session::key_ring::KeyRing;
use crate::session::notify::{Notifies, WakerList, Watcher};
use crate::session::owner_id::OwnerId;
use crate::session::policy::{CompactWalkaway, Policy};
use crate::session::record::PackedRecord;
use crate::session::request_number::RequestNumber;
use crate::session::snapshot::{AtomicSnapshot, Snapshot};
use crate::verdict::{
    KnownState, PollOutcome, Requirement, SessionStateMachine, UpstreamSnapshot, Verdict,
    VerdictInput, VerdictLimits, verdict,
};

/// What judging a session and keeping it fresh takes beside the session itself; one for all of an
/// engine's sessions.
#[derive(Debug)]
pub(crate) struct SessionContext {
    pub(crate) clock: Clock,
    pub(crate) limits: VerdictLimits,
    /// How long a session may go unused, in milliseconds; `u64::MAX` for its whole life.
    pub(crate) idle_timeout: u64,
    /// When those who are told that nothing is known may try again.
    pub(crate) retry_after: Duration,
    pub(crate) schedule: Schedule<Session>,
    pub(crate) events: EventSender,
    /// Names sessions and their owners to those who may know of them.
    pub(crate) key_ring: Arc<KeyRing>,
    /// Whose sessions they are.
    pub(crate) owner: OnceLock<Weak<dyn SessionOwner>>,
}

/// What ends a session at the service, too.
pub(crate) trait SessionOwner: Send + Sync {
    /// Ends a session here, and has it ended at the service.
    fn end_session(self: Arc<Self>, session: &Arc<Session>, reason: EndReason);
}

/// How often the token store is asked about a session in use; jitter only shortens it.
const TOKEN_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// What the moment of a login is kept in, in milliseconds: a quarter of an hour is what fits, more
/// than any login takes.
pub(crate) const CLAIM_TICK_MS: u64 = 16;

/// One remote session and what is known of it.
///
/// What a verdict needs is one word, written under the lock of `polling` and read without any: the
/// gate takes no lock here. A session that is parked or over is this and its texts, 288 bytes for
/// typical ones; what polling needs beside is allocated while it is polled.
pub(crate) struct Session {
    pub(crate) record: PackedRecord,
    pub(crate) methods: AuthMethods,
    /// When it was asked for.
    created_at: Timestamp,
    shared: Arc<SessionContext>,
    snapshot: AtomicSnapshot,
    idle_state: IdleState,
    /// The last status that was stated, whatever its age.
    status: AtomicU8,
    /// When the status last changed: milliseconds after `asked`.
    status_changed_at: AtomicU32,
    /// When its client claimed it: ticks after `asked`, and one; zero before. What becomes of it is told
    /// from then on.
    claimed_at: AtomicU16,
    /// When a request last used it: milliseconds after `asked` by the monotonic clock, and above
    /// these 32 bits by the wall clock. Nothing is written where there is no idle timeout.
    last_use: AtomicU64,
    poll_state: Mutex<Option<Box<PollState>>>,
    watchers: WakerList,
}

struct PollState {
    machine: SessionStateMachine,
    sequence: u64,
    stage: PollStage,
    next_poll_at: u64,
    /// Polls in a row that came to nothing.
    failures: u32,
    /// When the first of these was sent.
    failing_since: u64,
    /// What was told last: it stands active or suspended.
    last_reported: KnownState,
    /// Why it ended here.
    end_reason: Option<EndReason>,
    /// The request whose own handler ended it.
    ended_by: Option<RequestNumber>,
    /// When the poller looks at the session next. An entry of the schedule for any other time is
    /// void.
    scheduled_at: u64,
    /// When the token store was asked that last named the session's token; zero if it has not
    /// been.
    token_checked_at: u64,
    /// When it is asked again.
    next_token_check: u64,
    /// The session was parked and is in use again.
    resumption: Option<Resumption>,
    /// The poll whose word has grown too old since, by when it was sent.
    stale_reported_for: Option<Timestamp>,
}

/// Where the next poll, or this one, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PollStage {
    /// Not yet due.
    Idle,
    /// Due; the poller sends it as soon as it may, those that are urgent first. `ticket` is the
    /// place in the queue that counts.
    Queued { urgent: bool, ticket: u64 },
    /// On its way.
    InFlight,
}

/// What a parked session needs before it lets anything through: a poll and a look into the token
/// store, both begun at `since` or later.
#[derive(Clone, Copy, Debug)]
struct Resumption {
    since: u64,
    is_polled: bool,
}

/// What is known of a session at the moment that something comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It is in use, or over: what was published, and the verdict on it.
    Known(Snapshot, Verdict),
    /// It was parked, or the service was not asked in time: a poll has to tell first.
    Asleep,
}

/// A poll that is due, and its place in the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueuedPoll {
    /// The lower goes first.
    pub(crate) order: u64,
    /// When it became due.
    pub(crate) due_at: u64,
    pub(crate) is_urgent: bool,
    /// The last poll of the session failed.
    pub(crate) is_retry: bool,
}

/// A poll that begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BegunPoll {
    pub(crate) sequence: u64,
    /// When the first of the polls was sent that have failed in a row until now.
    pub(crate) failing_since: Option<u64>,
}

/// Who needs an answer of the token store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenCheck {
    /// A session in use, once a minute.
    Routine,
    /// A session that was parked: it lets nothing through before.
    Resuming,
}

impl Session {
    pub(crate) fn new(
        upkeep: Arc<SessionContext>,
        record: PackedRecord,
        methods: AuthMethods,
        asked: Timestamp,
    ) -> Arc<Self> {
        Arc::new(Self {
            record,
            methods,
            created_at: asked,
            shared: upkeep,
            snapshot: AtomicSnapshot::new(KnownState::Pending as u8),
            idle_state: IdleState::new(asked.mono),
            status: AtomicU8::new(SessionStatus::Pending as u8),
            status_changed_at: AtomicU32::new(0),
            claimed_at: AtomicU16::new(0),
            last_use: AtomicU64::new(0),
            poll_state: Mutex::new(Some(Box::new(PollState {
                token_checked_at: asked.mono,
                next_token_check: token_check_after(asked.mono),
                ..PollState::new(SessionStateMachine::new(asked))
            }))),
            watchers: WakerList::default(),
        })
    }

    pub(crate) fn user(&self) -> &str {
        self.record.user()
    }

    /// Tells those who listen to events what happened to it.
    pub(crate) fn send_event(&self, kind: EventKind) {
        self.shared.events.send(|| {
            let client = self.record.client();
            Event {
                user: Some(self.user().into()),
                session: Some(self.shared.key_ring.session_id(self.record.token())),
                user_agent: client.description(),
                address: client.address,
                ..Event::new(kind, self.shared.clock.now())
            }
        });
    }

    /// What pages tell its user from others by.
    pub(crate) fn owner_id(&self) -> OwnerId {
        self.shared.key_ring.owner_id(self.user())
    }

    pub(crate) fn retry_after(&self) -> Duration {
        self.shared.retry_after
    }

    /// Whether it is of the engine whose upkeep this is.
    pub(crate) fn belongs_to(&self, upkeep: &Arc<SessionContext>) -> bool {
        Arc::ptr_eq(&self.shared, upkeep)
    }

    /// What is known at this moment, as a request asks: the clock may be read as a few
    /// milliseconds later than it is.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict_at(self.shared.clock.coarse())
    }

    pub(crate) fn verdict_at(&self, now: Timestamp) -> Verdict {
        self.verdict_of(self.snapshot(), now)
    }

    /// What is published at this moment.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshot.load()
    }

    /// What is known at this moment, met by something under this policy; and the word it is of.
    pub(crate) fn evaluate(self: &Arc<Self>, policy: &Policy) -> (Snapshot, Verdict) {
        let word = self.snapshot();
        let verdict = self.verdict_of(word, self.shared.clock.coarse());
        (word, self.apply_walkaway_policy(verdict, policy))
    }

    fn verdict_of(&self, word: Snapshot, now: Timestamp) -> Verdict {
        let verdict = self.verdict_by_age(word, now);
        // The request path: most applications have no idle timeout.
        if self.shared.idle_timeout == u64::MAX {
            verdict
        } else {
            self.verdict_by_last_use(verdict, now)
        }
    }

    fn verdict_by_age(&self, word: Snapshot, now: Timestamp) -> Verdict {
        // Since it was asked for, as what was published is told.
        let mono = now.mono.saturating_sub(self.created_at.mono);
        let wall = millis_between(self.created_at.wall, now.wall);
        let (standing, good_mono, Some(good_wall)) = word.read() else {
            return self.verdict_by_poll_state(now);
        };
        let since_good = wall.saturating_sub(good_wall).max(0).cast_unsigned();
        let age = mono.saturating_sub(good_mono).max(since_good);
        let lived = mono.max(wall.max(0).cast_unsigned());
        verdict(
            VerdictInput {
                state: KnownState::from_u8(standing),
                staleness: age,
                session_age: lived,
            },
            self.shared.limits,
        )
    }

    /// The same where the wall clock was set so far that the published word does not tell when the
    /// last good poll was sent: the poller's own record does. A session without one is over, or is
    /// parked and polled before it allows anything.
    #[cold]
    fn verdict_by_poll_state(&self, now: Timestamp) -> Verdict {
        let polling = self.poll_state.lock().unwrap_or_else(PoisonError::into_inner);
        let (standing, age) = match polling.as_ref() {
            Some(polling) => {
                (polling.machine.known_state(), polling.machine.last_good_at().age(now))
            }
            None => (KnownState::from_u8(self.snapshot().read().0), u64::MAX),
        };
        drop(polling);
        let lived = self.created_at.age(now);
        verdict(
            VerdictInput { state: standing, staleness: age, session_age: lived },
            self.shared.limits,
        )
    }

    /// The verdict where there is an idle timeout: over, if no request has used it for so long. It
    /// counts from the claim.
    #[cold]
    fn verdict_by_last_use(&self, verdict: Verdict, now: Timestamp) -> Verdict {
        let (mono, wall) = self.since_created(now);
        let (used_mono, used_wall) = self.used();
        let unused = mono.saturating_sub(used_mono).max(wall.saturating_sub(used_wall));
        let is_idle = self.is_claimed() && unused >= self.shared.idle_timeout;
        if is_idle { Verdict::Ended } else { verdict }
    }

    /// A request that was let in by it is a use.
    #[cold]
    pub(crate) fn mark_used(&self) {
        // 32 bits are 49 days, and no session lives that long.
        let (mono, wall) = self.since_created(self.shared.clock.coarse());
        let [mono, wall] = [mono, wall].map(|ms| u64::from(u32::try_from(ms).unwrap_or(0)));
        self.last_use.store(mono | wall << 32, Ordering::Release);
    }

    /// When it was last used, as [`Session::since_asked`] tells moments.
    fn used(&self) -> (u64, u64) {
        let used = self.last_use.load(Ordering::Acquire);
        (used & u64::from(u32::MAX), used >> 32)
    }

    /// How long after it was asked for that is, by the monotonic and the wall clock, in milliseconds.
    fn since_created(&self, now: Timestamp) -> (u64, u64) {
        (
            now.mono.saturating_sub(self.created_at.mono),
            now.wall.saturating_sub(self.created_at.wall),
        )
    }

    fn is_claimed(&self) -> bool {
        self.claimed_at.load(Ordering::Acquire) != 0
    }

    /// What is known, met by a request or by something in flight under this policy: where it is to
    /// end a session that is suspended, it ends.
    pub(crate) fn apply_walkaway_policy(
        self: &Arc<Self>,
        verdict: Verdict,
        policy: &Policy,
    ) -> Verdict {
        if verdict == Verdict::Suspended && policy.walkaway == CompactWalkaway::End {
            self.end_on_walkaway();
            return Verdict::Ended;
        }
        verdict
    }

    #[cold]
    fn end_on_walkaway(self: &Arc<Self>) {
        match self.shared.owner.get().and_then(Weak::upgrade) {
            Some(owner) => owner.end_session(self, EndReason::Walkaway),
            None => _ = self.end(EndReason::Walkaway),
        }
    }

    fn last_known(&self) -> (KnownState, Timestamp) {
        let (standing, mono, wall) = self.snapshot().read();
        let wall = wall.map_or(0, |wall| self.created_at.wall.saturating_add_signed(wall));
        (KnownState::from_u8(standing), Timestamp { mono: self.created_at.mono + mono, wall })
    }

    /// When it has to end by itself, by the monotonic clock: at the end of its life, or when it is
    /// idle for too long, if no request uses it before.
    fn expires(&self) -> u64 {
        let lifetime = self.shared.limits.lifetime;
        let idle = self.used().0.saturating_add(self.shared.idle_timeout);
        let life = if self.is_claimed() { lifetime.min(idle) } else { lifetime };
        self.created_at.mono.saturating_add(life)
    }

    /// How much of its life is left at most.
    #[cfg(feature = "axum")]
    pub(crate) fn life_left(&self, now: Timestamp) -> Duration {
        let lifetime = self.shared.limits.lifetime;
        Duration::from_millis(lifetime.saturating_sub(self.created_at.age(now)))
    }

    /// Why it is over by itself at this moment.
    pub(crate) fn expiry_reason(&self, now: Timestamp) -> EndReason {
        let is_old = self.created_at.age(now) >= self.shared.limits.lifetime;
        if is_old { EndReason::Expired } else { EndReason::Idle }
    }

    /// A watch that keeps the session live from now on, awake if it was parked. Everything that
    /// waits for a session or lets something through takes one, and looks at the verdict after.
    pub(crate) fn watch(self: &Arc<Self>) -> SessionWatcher {
        self.clone().acquire_watch().0
    }

    /// Such a watch, and what is known of the session once the watch is there.
    pub(crate) fn acquire_watch(self: Arc<Self>) -> (SessionWatcher, Arrival) {
        let now = self.shared.clock.coarse();
        let wakes = self.idle_state.acquire(now.mono);
        let watch = Watcher::new(self);
        let session = watch.get();
        // Read before the verdict: a poll that lands after the verdict was read may wake the
        // session, and would make an old verdict look like that of a session in use.
        let is_running = session.phase() == Phase::Running;
        let word = session.snapshot();
        let verdict = session.verdict_of(word, now);
        let is_neglected = session.is_unpolled_at(verdict);
        if is_neglected || (wakes && verdict != Verdict::Ended) {
            session.with_poll_state(|polling| polling.next_poll_at = 0);
        }
        // An end is never taken back.
        let is_known = verdict == Verdict::Ended || (is_running && !is_neglected);
        if !is_running || is_neglected {
            session.shared.schedule.reschedule(session, session.shared.clock.now());
        }
        (watch, if is_known { Arrival::Known(word, verdict) } else { Arrival::Asleep })
    }

    /// Whether what is known is too old though no poll came to nothing: none was sent, because the
    /// process or the machine slept, or the poller has more to do than it may. One poll will tell.
    pub(crate) fn is_stale_unpolled(&self) -> bool {
        self.is_unpolled_at(self.verdict())
    }

    /// The same at this verdict. If a poll has landed since the verdict was read, a request that
    /// waits for the next one finds that the wait is over.
    fn is_unpolled_at(&self, verdict: Verdict) -> bool {
        verdict == Verdict::Unavailable
            && self.last_known().0 != KnownState::Inconsistent
            && self.with_poll_state(|polling| polling.failures == 0)
    }

    /// Its client has claimed it.
    pub(crate) fn mark_claimed(&self) {
        self.with_poll_state(|polling| {
            // Under the lock, so that no end is told before it.
            if polling.machine.known_state() != KnownState::Ended {
                let after = self.shared.clock.now().mono.saturating_sub(self.created_at.mono);
                // More than there are ticks is told as earlier: the login seems older than it is.
                let ticks = u16::try_from(after / CLAIM_TICK_MS).unwrap_or(u16::MAX - 1);
                // Before it is claimed: an idle timeout counts from the claim on.
                self.mark_used();
                self.claimed_at.store(ticks.min(u16::MAX - 1) + 1, Ordering::Release);
                self.send_event(EventKind::Started);
            }
        });
    }

    /// A request carries the credential: its client has got it, so the answer that issued it is not
    /// repeated any more, nor the session ended as one that no client holds.
    pub(crate) fn mark_presented(&self) {
        if !self.idle_state.is_presented() {
            self.mark_first_presented();
        }
    }

    #[cold]
    fn mark_first_presented(&self) {
        // Under the lock: a session that is ended as not presented never was.
        let polling = self.poll_state.lock().unwrap_or_else(PoisonError::into_inner);
        self.idle_state.mark_presented();
        drop(polling);
        self.watchers.wake();
    }

    /// Whether a request has carried the credential.
    pub(crate) fn is_presented(&self) -> bool {
        self.idle_state.is_presented()
    }

    /// Whether the answer that issued the credential can be repeated: the session lives, and its
    /// client may not have got the answer.
    pub(crate) fn is_claimable_again(&self) -> bool {
        !self.is_presented() && self.verdict() != Verdict::Ended
    }

    /// Whether the login that made it was what a layer requires.
    pub(crate) fn satisfies(&self, requirement: &Requirement) -> bool {
        requirement.is_none() || {
            requirement.is_satisfied(self.methods, self.claimed_at(), self.shared.clock.coarse())
        }
    }

    /// When its client claimed it.
    pub(crate) fn claimed_at(&self) -> Timestamp {
        let ticks = self.claimed_at.load(Ordering::Acquire).saturating_sub(1);
        self.created_at.after(Duration::from_millis(u64::from(ticks) * CLAIM_TICK_MS))
    }

    /// When it was last come to, in Unix milliseconds: now, if something is held open by it.
    pub(crate) fn last_used(&self, now: Timestamp) -> u64 {
        let unused = now.mono.saturating_sub(self.idle_state.last_used(now.mono));
        if self.held_open() > 0 { now.wall } else { now.wall.saturating_sub(unused) }
    }

    /// The last status that was stated, whatever its age.
    pub(crate) fn status(&self) -> SessionStatus {
        SessionStatus::from_u8(self.status.load(Ordering::Acquire))
    }

    /// When the status last changed.
    pub(crate) fn status_changed_at(&self) -> Timestamp {
        self.created_at
            .after(Duration::from_millis(self.status_changed_at.load(Ordering::Acquire).into()))
    }

    pub(crate) fn phase(&self) -> Phase {
        self.idle_state.phase()
    }

    /// How many wait for the session or are held open by it.
    pub(crate) fn held_open(&self) -> u64 {
        self.idle_state.count()
    }

    /// Parks unless the session is live, was used within `keep`, or is being asked about.
    pub(crate) fn park(&self, now: Timestamp, keep: Duration) -> bool {
        let mut polling = self.poll_state.lock().unwrap_or_else(PoisonError::into_inner);
        let flies = polling.as_ref().is_some_and(|polling| polling.stage == PollStage::InFlight);
        if flies || !self.idle_state.park(now.mono, millis(keep)) {
            return false;
        }
        // What was said so far is published; only doubts are worth more memory than that.
        match polling.as_mut() {
            Some(polling) if !polling.machine.has_no_history() => {
                polling.scheduled_at = UNSCHEDULED;
                polling.stage = PollStage::Idle;
                polling.resumption = None;
            }
            _ => *polling = None,
        }
        true
    }

    /// Queues a poll under this ticket if one is due, and once more if one that is queued becomes
    /// urgent: the place before is void then.
    pub(crate) fn queue_poll(&self, now: Timestamp, ticket: u64) -> Option<QueuedPoll> {
        let is_urgent = self.is_urgent();
        self.with_poll_state(|polling| {
            let queues = match polling.stage {
                PollStage::Idle => now.mono >= polling.next_poll_at,
                PollStage::Queued { urgent: already, .. } => is_urgent && !already,
                PollStage::InFlight => false,
            };
            if !queues || polling.machine.known_state() == KnownState::Ended {
                return None;
            }
            if polling.next_poll_at == 0 {
                polling.next_poll_at = now.mono;
            }
            Some(self.enter_queue(polling, is_urgent, ticket))
        })
    }

    /// Gives the poll that is queued as urgent another place, under this ticket, if nothing waits
    /// for it any more.
    pub(crate) fn demote(&self, ticket: u64) -> Option<QueuedPoll> {
        self.with_poll_state(|polling| match polling.stage {
            PollStage::Queued { urgent: true, .. } => {
                Some(self.enter_queue(polling, false, ticket))
            }
            _ => None,
        })
    }

    /// First come, first served, but for knowledge that grows too old sooner than that. The age of
    /// what is known of a session that fails counts for nothing: it would always go first.
    fn enter_queue(&self, polling: &mut PollState, is_urgent: bool, ticket: u64) -> QueuedPoll {
        polling.stage = PollStage::Queued { urgent: is_urgent, ticket };
        let max_staleness = self.shared.limits.max_staleness;
        let in_line = polling.next_poll_at.saturating_add(max_staleness / 2);
        let stale = polling.machine.last_good_at().mono.saturating_add(max_staleness);
        let is_retry = polling.failures > 0;
        let order = if is_retry { in_line } else { in_line.min(stale) };
        QueuedPoll { order, due_at: polling.next_poll_at, is_urgent, is_retry }
    }

    /// Whether a poll waits for its turn at the place of this ticket.
    pub(crate) fn is_queued(&self, ticket: u64) -> bool {
        let polling = self.poll_state.lock().unwrap_or_else(PoisonError::into_inner);
        polling.as_ref().is_some_and(
            |polling| matches!(polling.stage, PollStage::Queued { ticket: mine, .. } if mine == ticket),
        )
    }

    /// Begins the poll that waits for its turn, if it still does. Its number is given to one
    /// caller only.
    pub(crate) fn begin_poll(&self, now: Timestamp) -> Option<BegunPoll> {
        self.with_poll_state(|polling| {
            let is_queued = matches!(polling.stage, PollStage::Queued { .. });
            if !is_queued || polling.machine.known_state() == KnownState::Ended {
                return None;
            }
            polling.stage = PollStage::InFlight;
            polling.sequence += 1;
            if self.phase() == Phase::Resuming {
                let resumption = Resumption { since: now.mono, is_polled: false };
                polling.resumption.get_or_insert(resumption);
            }
            let failing_since = (polling.failures > 0).then_some(polling.failing_since);
            Some(BegunPoll { sequence: polling.sequence, failing_since })
        })
    }

    /// Whether a request waits for the next poll, or something that is open depends on it.
    pub(crate) fn is_urgent(&self) -> bool {
        self.held_open() > 0
    }

    /// Whether its login was asked for at this moment or before.
    pub(crate) fn is_begun_before(&self, now: Timestamp) -> bool {
        self.created_at.mono <= now.mono
    }

    /// Why the token store is to be asked, if it is: a session that has not been claimed lets
    /// nothing through, and a parked one is asked about when it is used again.
    pub(crate) fn needs_token_check(&self, now: Timestamp) -> Option<TokenCheck> {
        match self.phase() {
            Phase::Parked => None,
            Phase::Resuming => self.with_poll_state(|polling| {
                let since = polling.resumption?.since;
                (polling.token_checked_at < since).then_some(TokenCheck::Resuming)
            }),
            Phase::Running if !self.is_claimed() => None,
            Phase::Running => self.with_poll_state(|polling| {
                (now.mono >= polling.next_token_check).then_some(TokenCheck::Routine)
            }),
        }
    }

    /// The token store, asked at this moment (milliseconds on the monotonic clock), has named the
    /// session's token.
    pub(crate) fn mark_token_checked(&self, asked: u64) {
        self.with_poll_state(|polling| {
            polling.token_checked_at = polling.token_checked_at.max(asked);
            polling.next_token_check = token_check_after(polling.token_checked_at);
            self.finish_resumption(polling);
        });
        self.watchers.wake();
    }

    /// A parked session is in use again once it was polled and the token store was asked.
    fn finish_resumption(&self, polling: &mut PollState) {
        let is_over = |resumption: Resumption| {
            resumption.is_polled && polling.token_checked_at >= resumption.since
        };
        if polling.resumption.is_some_and(is_over) {
            polling.resumption = None;
            self.idle_state.mark_resumed();
        }
    }

    /// Applies what poll `sequence`, sent at `sent`, said. True if the session is given up now,
    /// because the service no longer knows it, or makes no sense.
    pub(crate) fn apply_poll(
        &self,
        sequence: u64,
        sent: Timestamp,
        said: PollOutcome,
        others: UpstreamSnapshot,
    ) -> bool {
        let lost = self.with_poll_state(|polling| {
            match said {
                PollOutcome::NoResponse if polling.failures == 0 => {
                    (polling.failures, polling.failing_since) = (1, sent.mono);
                }
                PollOutcome::NoResponse => polling.failures = polling.failures.saturating_add(1),
                PollOutcome::Status(_) | PollOutcome::Rejected => polling.failures = 0,
            }
            polling.machine.apply(sequence, sent, said, others);
            polling.machine.is_lost()
        });
        self.watchers.wake();
        lost
    }

    /// Ends the poll that was sent at `sent`, and sets when the next is due: no sooner than the
    /// service asked for, `asked_pause`, but for its longest.
    pub(crate) fn end_poll(
        &self,
        sent: Timestamp,
        interval: Duration,
        asked_pause: Option<Duration>,
    ) {
        self.with_poll_state(|polling| {
            polling.stage = PollStage::Idle;
            let standing = polling.machine.known_state();
            let jitter = backoff::jitter();
            let delay = backoff::next_poll_delay(standing, interval, polling.failures, jitter);
            let delay = match asked_pause {
                Some(asked) => delay.max(asked).min(backoff::MAX_ASKED_PAUSE),
                None => delay,
            };
            polling.next_poll_at = sent.mono.saturating_add(millis(delay));
            if let Some(resumption) = &mut polling.resumption {
                resumption.is_polled = true;
            }
            self.finish_resumption(polling);
        });
        self.watchers.wake();
    }

    /// Has the next poll due at once, if the last came to nothing.
    pub(crate) fn queue_after_failure(&self) {
        self.with_poll_state(|polling| {
            if polling.failures > 0 {
                polling.next_poll_at = 0;
            }
        });
    }

    /// When the poller has to look again: at the next poll, the moment the knowledge grows too
    /// old, or the end of the session's life, whichever comes first; `None` if nothing will happen
    /// by itself. A poll that waits or is on its way looks again when it ends.
    fn next_wakeup(&self, polling: &PollState, now: Timestamp) -> Option<u64> {
        if polling.machine.known_state() == KnownState::Ended || self.phase() == Phase::Parked {
            return None;
        }
        let good = polling.machine.last_good_at();
        let stale = good.mono.saturating_add(self.shared.limits.max_staleness);
        // Planned until it is published, however late it is planned.
        let stale = Some(stale)
            .filter(|stale| *stale > now.mono || polling.stale_reported_for != Some(good));
        let next = match polling.stage {
            PollStage::Idle => Some(polling.next_poll_at),
            // A session that waits among the idle ones is in use now.
            PollStage::Queued { urgent: false, .. } if self.is_urgent() => Some(now.mono),
            PollStage::Queued { .. } | PollStage::InFlight => None,
        };
        let expires = Some(self.expires()).filter(|at| next.is_some() || *at > now.mono);
        [next, stale, expires].into_iter().flatten().min()
    }

    /// What is known has grown too old: publishes that, for those who look at no clock.
    pub(crate) fn publish_stale(&self, now: Timestamp) {
        self.with_poll_state(|polling| {
            let good = polling.machine.last_good_at();
            // Unless a poll came in since that was seen.
            if good.age(now) >= self.shared.limits.max_staleness {
                polling.stale_reported_for = Some(good);
            }
        });
        self.watchers.wake();
    }

    /// Ends the session here; false if it was over already.
    pub(crate) fn end(&self, reason: EndReason) -> bool {
        self.end_for(reason, None)
    }

    /// Ends the session here, as the handler of this request asks; false if it was over already.
    pub(crate) fn end_by(&self, request: RequestNumber) -> bool {
        self.end_for(EndReason::LoggedOut, Some(request))
    }

    fn end_for(&self, reason: EndReason, request: Option<RequestNumber>) -> bool {
        let ended = self.with_poll_state(|polling| {
            let ended = polling.end(reason);
            if ended {
                polling.ended_by = request;
            }
            ended
        });
        self.watchers.wake();
        ended
    }

    /// Whether the handler of this request ended the session.
    pub(crate) fn was_ended_by(&self, request: RequestNumber) -> bool {
        let polling = self.poll_state.lock().unwrap_or_else(PoisonError::into_inner);
        polling.as_ref().is_some_and(|polling| polling.ended_by == Some(request))
    }

    /// Ends the session here if no request has carried the credential; false if one has, or the
    /// session was over already.
    pub(crate) fn end_unpresented(&self) -> bool {
        let ended = self.with_poll_state(|polling| {
            !self.idle_state.is_presented() && polling.end(EndReason::Unclaimed)
        });
        self.watchers.wake();
        ended
    }

    /// Changes what is known, publishes it, and tells what is news.
    fn with_poll_state<R>(&self, change: impl FnOnce(&mut PollState) -> R) -> R {
        // Nothing that can panic runs under the lock, so what a poisoned one holds is whole.
        let mut held = self.poll_state.lock().unwrap_or_else(PoisonError::into_inner);
        let polling = held.get_or_insert_with(|| {
            let (standing, good) = self.last_known();
            Box::new(PollState::new(SessionStateMachine::resume(standing, self.status(), good)))
        });
        let before = (polling.machine.known_state(), polling.machine.status());
        let result = change(polling);
        let (standing, status) = (polling.machine.known_state(), polling.machine.status());
        let mut news = None;
        if before != (standing, status) {
            let after = self.shared.clock.now().mono.saturating_sub(self.created_at.mono);
            self.status_changed_at
                .store(u32::try_from(after).unwrap_or(u32::MAX), Ordering::Release);
            self.status.store(status as u8, Ordering::Release);
            tracing::debug!(%status, ?standing, "session changed");
            news = polling.take_event();
        }
        let good = polling.machine.last_good_at();
        let mono = good.mono.saturating_sub(self.created_at.mono);
        let wall = millis_between(self.created_at.wall, good.wall);
        self.snapshot.store(standing as u8, polling.stale_reported_for == Some(good), mono, wall);
        // Once it is over, nothing in it counts but the request whose handler ended it: the gate
        // asks for that when the handler has answered.
        if standing == KnownState::Ended && polling.ended_by.is_none() {
            *held = None;
        }
        drop(held);
        if let Some(news) = news.filter(|_| self.is_claimed()) {
            self.send_event(news);
        }
        result
    }

    /// Whether nothing decided on this session can change any more for `keep`.
    pub(crate) fn is_tombstone_expired(&self, now: Timestamp, keep: Duration) -> bool {
        self.last_known().0 == KnownState::Ended
            && now.mono.saturating_sub(self.status_changed_at().mono) >= millis(keep)
    }
}

/// How far `to` is after `from`; negative if it is before.
fn millis_between(from: u64, to: u64) -> i64 {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    if to >= from { signed(to - from) } else { -signed(from - to) }
}

impl PollState {
    fn new(machine: SessionStateMachine) -> Self {
        let last_reported = machine.known_state();
        Self {
            machine,
            sequence: 0,
            stage: PollStage::Idle,
            next_poll_at: 0,
            failures: 0,
            failing_since: 0,
            last_reported,
            end_reason: None,
            ended_by: None,
            scheduled_at: UNSCHEDULED,
            token_checked_at: 0,
            next_token_check: 0,
            resumption: None,
            stale_reported_for: None,
        }
    }

    /// Ends the session; false if it was over already.
    fn end(&mut self, reason: EndReason) -> bool {
        let was_over = self.machine.known_state() == KnownState::Ended;
        self.machine.end(reason.status());
        self.end_reason = Some(reason);
        !was_over
    }

    /// What there is to tell of a change.
    fn take_event(&mut self) -> Option<EventKind> {
        let standing = self.machine.known_state();
        let before = self.last_reported;
        if matches!(standing, KnownState::Active | KnownState::Suspended | KnownState::Ended) {
            self.last_reported = standing;
        }
        match (before, standing) {
            (KnownState::Suspended, KnownState::Active) => Some(EventKind::Resumed),
            (KnownState::Active, KnownState::Suspended) => Some(EventKind::Suspended),
            (_, KnownState::Ended) => {
                let lost = self.machine.is_lost().then_some(EndReason::UnknownUpstream);
                let stated = EndReason::Upstream(self.machine.status());
                Some(EventKind::Ended { reason: self.end_reason.or(lost).unwrap_or(stated) })
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("verdict", &self.verdict()).finish_non_exhaustive()
    }
}

impl Scheduled for Session {
    fn schedule_next(&self, now: Timestamp) -> Option<u64> {
        if self.last_known().0 == KnownState::Ended || self.phase() == Phase::Parked {
            // An entry that is left in the schedule finds nothing to do.
            return None;
        }
        self.with_poll_state(|polling| {
            let at = self.next_wakeup(polling, now).unwrap_or(UNSCHEDULED);
            let is_news = std::mem::replace(&mut polling.scheduled_at, at) != at;
            (is_news && at != UNSCHEDULED).then_some(at)
        })
    }

    fn is_due(&self, at: u64) -> bool {
        let mut polling = self.poll_state.lock().unwrap_or_else(PoisonError::into_inner);
        match polling.as_mut() {
            Some(polling) if polling.scheduled_at == at => {
                polling.scheduled_at = UNSCHEDULED;
                true
            }
            _ => false,
        }
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

fn token_check_after(asked: u64) -> u64 {
    let interval = backoff::shortened(TOKEN_CHECK_INTERVAL, backoff::jitter());
    asked.saturating_add(millis(interval))
}

/// Keeps a session live and learns of its changes.
pub(crate) type SessionWatcher = Watcher<Arc<Session>>;

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::Credentials;
    use crate::client::Client;
    use crate::engine::Engine;
    use crate::identity::{SessionCredential, UserId, UserToken};
    use crate::protocol::StatusReading;
    use crate::session::client_details::ClientDetails;

    static CLIENT: LazyLock<Client> = LazyLock::new(|| {
        let credentials = Credentials::new("APPLICATION", "MXG9EDN581U33XTPLPFT75V2").unwrap();
        Client::new(credentials.with_server("http://127.0.0.1:9").unwrap()).unwrap()
    });

    impl Session {
        pub(crate) fn created_at(&self) -> Timestamp {
            self.created_at
        }
    }

    impl Engine {
        /// A session of this user, active as of now, without a login: number `which` at the
        /// service, and with the user's name for a token.
        pub(crate) fn insert_test_session(&self, user: &UserId, which: usize) -> SessionCredential {
            let path = |to: &str| format!("/{to}/{which}");
            let remote = self.client.restore("TOKEN", "SECRET", &path("s"), &path("l")).unwrap();
            let token = UserToken::new(user.as_str()).unwrap();
            let record = PackedRecord::new(user, &token, &remote, &ClientDetails::default(), false);
            let now = self.now();
            let session = Session::new(self.shared.clone(), record, AuthMethods::default(), now);
            session.queue_poll(now, 0);
            let poll = session.begin_poll(now).unwrap();
            let active = PollOutcome::Status(StatusReading::Status(SessionStatus::Active));
            session.apply_poll(poll.sequence, now, active, self.upstream_health.snapshot(now));
            session.end_poll(now, self.config.poll_interval, None);
            session.mark_claimed();
            let attempt = self.key_ring.issue_attempt(now.wall).unwrap();
            let credential = self.key_ring.derive_session(&attempt);
            self.sessions.insert(credential.key(), session.clone());
            self.shared.schedule.reschedule(&session, now);
            credential
        }
    }

    /// A session of this user and token, just begun, of an engine that does not poll.
    pub(crate) fn test_session(user: &UserId, token: &UserToken) -> Arc<Session> {
        let clock = Clock::system();
        let asked = clock.now();
        let upkeep = SessionContext {
            clock,
            limits: VerdictLimits { max_staleness: 15_000, lifetime: 3_600_000 },
            idle_timeout: u64::MAX,
            retry_after: Duration::from_secs(5),
            schedule: Schedule::default(),
            events: EventSender::new(),
            key_ring: Arc::new(KeyRing::from_application_secret(CLIENT.application_secret())),
            owner: OnceLock::new(),
        };
        let remote = CLIENT.restore("TOKEN", "SECRET", "/s/TOKEN", "/l/TOKEN").unwrap();
        let record = PackedRecord::new(user, token, &remote, &ClientDetails::default(), false);
        Session::new(Arc::new(upkeep), record, AuthMethods::default(), asked)
    }

    /// Also if a poll that came to nothing lands just then, and plans the next one.
    #[test]
    fn staleness_is_rescheduled_until_published() {
        let session = test_session(&"alice".into(), &UserToken::random().unwrap());
        let interval = Duration::from_secs(5);
        let stale = session.created_at.after_millis(15_000);
        session.queue_poll(session.created_at, 0);
        let poll = session.begin_poll(session.created_at).unwrap();
        let others = UpstreamSnapshot { last_success: None, is_recent: false };
        session.apply_poll(poll.sequence, stale, PollOutcome::NoResponse, others);
        session.end_poll(stale, interval, None);
        assert_eq!(session.schedule_next(stale), Some(stale.mono));
        assert!(session.is_due(stale.mono));
        session.publish_stale(stale);
        assert!(session.schedule_next(stale).is_some_and(|next| next > stale.mono));
    }

    /// T093: a poll may land between any two looks at a session that wakes. What was known before
    /// it then is not what is known of a session in use.
    #[test]
    fn arrival_uses_no_verdict_from_before_resume() {
        let (user, token) = ("alice".into(), UserToken::random().unwrap());
        for _ in 0..200 {
            let session = test_session(&user, &token);
            // As far as is known, the phone is not answered yet.
            assert!(session.park(session.created_at, Duration::ZERO));
            let arrival = std::thread::scope(|scope| {
                let held = session.poll_state.lock().unwrap_or_else(PoisonError::into_inner);
                let coming = scope.spawn(|| session.clone().acquire_watch().1);
                // It has to wait for the lock, as a rule after it has looked at what is known.
                while session.phase() != Phase::Resuming {
                    std::hint::spin_loop();
                }
                (0..5_000).for_each(|_| std::hint::spin_loop());
                // What the end of a poll does.
                session.snapshot.store(KnownState::Active as u8, false, 0, 0);
                session.idle_state.mark_resumed();
                drop(held);
                coming.join().unwrap()
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
