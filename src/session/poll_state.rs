//! What the poller knows of one session: no clock, no lock, no other session.

use std::time::Duration;

use crate::clock::{Millis, MonoTime, Timestamp};
use crate::events::event::{EndReason, EventKind};
use crate::polling::backoff;
use crate::session::idle_state::Phase;
use crate::session::request_number::RequestNumber;
use crate::verdict::{KnownState, PollOutcome, SessionStateMachine, UpstreamSnapshot};

/// How often the token store is asked for the token of a session in use; jitter only shortens it.
const TOKEN_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The state of a session that is polled, and of its polls.
///
/// A parked session without doubts has none, which saves memory.
pub(crate) struct PollState {
    machine: SessionStateMachine,
    sequence: u64,
    stage: PollStage,
    /// When the next poll is due; [`MonoTime::START`] for at once.
    next_poll_at: MonoTime,
    /// How many polls in a row got no response.
    failures: u32,
    /// When the first of these polls was sent.
    failing_since: MonoTime,
    /// The last state that an event reported: active, suspended or ended.
    last_reported: KnownState,
    /// Why the session ended in this process.
    end_reason: Option<EndReason>,
    /// The request whose own handler ended the session.
    ended_by: Option<RequestNumber>,
    /// When the poller looks at the session next. An entry of the schedule for another time is
    /// void.
    scheduled_at: MonoTime,
    /// When the token lookup that last confirmed the session's token started; `START` before the
    /// first.
    token_checked_at: MonoTime,
    next_token_check: MonoTime,
    /// Set while a session that was parked is not yet in use again.
    resumption: Option<Resumption>,
    /// When the poll was sent whose result was reported as stale.
    stale_reported_for: Option<Timestamp>,
}

/// Where the session's next poll is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PollStage {
    /// Not yet due.
    Idle,
    /// Due: the poller sends it when it may, urgent polls first. Only the place in the queue with
    /// this `ticket` counts.
    Queued {
        is_urgent: bool,
        ticket: u64,
    },
    InFlight,
}

/// What a parked session needs before it allows anything: a poll and a token lookup, both started
/// at `since` or later.
#[derive(Clone, Copy, Debug)]
struct Resumption {
    since: MonoTime,
    is_polled: bool,
}

/// A poll that is due, and its place in the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueuedPoll {
    /// The poll with the lowest order is sent first.
    pub(crate) order: MonoTime,
    pub(crate) due_at: MonoTime,
    pub(crate) is_urgent: bool,
    /// The last poll of the session got no response.
    pub(crate) is_retry: bool,
}

/// A poll that starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StartedPoll {
    pub(crate) sequence: u64,
    /// When the first of the polls was sent that have failed in a row until now.
    pub(crate) failing_since: Option<MonoTime>,
}

/// Why the token store has to be asked for the session's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenCheck {
    /// The session is in use; it is checked once a minute.
    Routine,
    /// The session was parked and allows nothing before the check.
    Resuming,
}

impl PollState {
    /// The state of a session whose token was known at `created_at`.
    pub(crate) fn new(created_at: Timestamp) -> Self {
        Self {
            token_checked_at: created_at.mono,
            next_token_check: token_check_after(created_at.mono),
            ..Self::resume(SessionStateMachine::new(created_at))
        }
    }

    /// The state of a session of which only this machine is known.
    pub(crate) fn resume(machine: SessionStateMachine) -> Self {
        let last_reported = machine.known_state();
        Self {
            machine,
            sequence: 0,
            stage: PollStage::Idle,
            next_poll_at: MonoTime::START,
            failures: 0,
            failing_since: MonoTime::START,
            last_reported,
            end_reason: None,
            ended_by: None,
            scheduled_at: MonoTime::NEVER,
            token_checked_at: MonoTime::START,
            next_token_check: MonoTime::START,
            resumption: None,
            stale_reported_for: None,
        }
    }

    pub(crate) fn machine(&self) -> &SessionStateMachine {
        &self.machine
    }

    pub(crate) fn known_state(&self) -> KnownState {
        self.machine.known_state()
    }

    /// Whether the session, forgotten now and resumed from its last state, would be the same.
    pub(crate) fn is_reproducible(&self) -> bool {
        self.machine.has_no_history()
    }

    /// Whether the last poll got no response.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        self.stage == PollStage::InFlight
    }

    /// Whether a poll waits at the place of this ticket.
    pub(crate) fn is_queued_as(&self, expected: u64) -> bool {
        matches!(self.stage, PollStage::Queued { ticket, .. } if ticket == expected)
    }

    /// Makes the next poll due at once.
    pub(crate) fn poll_now(&mut self) {
        self.next_poll_at = MonoTime::START;
    }

    /// Makes the next poll due at once if the last one got no response.
    pub(crate) fn poll_now_if_failing(&mut self) {
        if self.is_failing() {
            self.poll_now();
        }
    }

    /// Queues a poll under this ticket if one is due. A queued poll that becomes urgent is queued
    /// again, which voids its former place.
    pub(crate) fn queue(
        &mut self,
        now: Timestamp,
        ticket: u64,
        is_urgent: bool,
        max_staleness: Millis,
    ) -> Option<QueuedPoll> {
        let queues = match self.stage {
            PollStage::Idle => now.mono >= self.next_poll_at,
            PollStage::Queued { is_urgent: was_urgent, .. } => is_urgent && !was_urgent,
            PollStage::InFlight => false,
        };
        if !queues || self.known_state() == KnownState::Ended {
            return None;
        }
        if self.next_poll_at == MonoTime::START {
            self.next_poll_at = now.mono;
        }
        Some(self.enter_queue(ticket, is_urgent, max_staleness))
    }

    /// Moves an urgent poll to the others, under this ticket.
    pub(crate) fn demote(&mut self, ticket: u64, max_staleness: Millis) -> Option<QueuedPoll> {
        match self.stage {
            PollStage::Queued { is_urgent: true, .. } => {
                Some(self.enter_queue(ticket, false, max_staleness))
            }
            _ => None,
        }
    }

    /// Polls are sent in the order in which they became due, except that knowledge which grows
    /// stale sooner is renewed first. The age of a failing session does not count: it would always
    /// be first.
    fn enter_queue(&mut self, ticket: u64, is_urgent: bool, max_staleness: Millis) -> QueuedPoll {
        self.stage = PollStage::Queued { is_urgent, ticket };
        let in_line = self.next_poll_at + max_staleness.half();
        let stale_at = self.machine.last_good_at().mono + max_staleness;
        let is_retry = self.is_failing();
        let order = if is_retry { in_line } else { in_line.min(stale_at) };
        QueuedPoll { order, due_at: self.next_poll_at, is_urgent, is_retry }
    }

    /// Starts the queued poll; `None` if none is queued. Only one caller gets a sequence number.
    pub(crate) fn start_poll(&mut self, now: Timestamp, phase: Phase) -> Option<StartedPoll> {
        let is_queued = matches!(self.stage, PollStage::Queued { .. });
        if !is_queued || self.known_state() == KnownState::Ended {
            return None;
        }
        self.stage = PollStage::InFlight;
        self.sequence += 1;
        if phase == Phase::Resuming {
            let resumption = Resumption { since: now.mono, is_polled: false };
            self.resumption.get_or_insert(resumption);
        }
        let failing_since = self.is_failing().then_some(self.failing_since);
        Some(StartedPoll { sequence: self.sequence, failing_since })
    }

    /// Applies the outcome of poll `sequence`, sent at `sent`. True if the session is lost: the
    /// service no longer knows it, or its statuses stayed inconsistent.
    pub(crate) fn apply(
        &mut self,
        sequence: u64,
        sent: Timestamp,
        outcome: PollOutcome,
        upstream: UpstreamSnapshot,
    ) -> bool {
        match outcome {
            PollOutcome::NoResponse if self.failures == 0 => {
                (self.failures, self.failing_since) = (1, sent.mono);
            }
            PollOutcome::NoResponse => self.failures = self.failures.saturating_add(1),
            PollOutcome::Status(_) | PollOutcome::Rejected => self.failures = 0,
        }
        self.machine.apply(sequence, sent, outcome, upstream);
        self.machine.is_lost()
    }

    /// Finishes the poll that was sent at `sent` and sets when the next one is due: not before
    /// `requested_pause` is over, which counts up to [`backoff::MAX_REQUESTED_PAUSE`].
    pub(crate) fn finish_poll(
        &mut self,
        sent: Timestamp,
        interval: Duration,
        requested_pause: Option<Duration>,
    ) {
        self.stage = PollStage::Idle;
        let jitter = backoff::jitter();
        let delay = backoff::next_poll_delay(self.known_state(), interval, self.failures, jitter);
        let delay = match requested_pause {
            Some(pause) => delay.max(pause).min(backoff::MAX_REQUESTED_PAUSE),
            None => delay,
        };
        self.next_poll_at = sent.mono + delay;
        if let Some(resumption) = &mut self.resumption {
            resumption.is_polled = true;
        }
    }

    /// Why the token store has to be asked now. A session that no client has claimed allows
    /// nothing and needs no check; a parked one is checked when it is used again.
    pub(crate) fn token_check_due(
        &self,
        phase: Phase,
        is_claimed: bool,
        now: Timestamp,
    ) -> Option<TokenCheck> {
        match phase {
            Phase::Parked => None,
            Phase::Resuming => {
                let since = self.resumption?.since;
                (self.token_checked_at < since).then_some(TokenCheck::Resuming)
            }
            Phase::Running => {
                (is_claimed && now.mono >= self.next_token_check).then_some(TokenCheck::Routine)
            }
        }
    }

    /// The token store, asked at `asked_at`, has confirmed the session's token.
    pub(crate) fn mark_token_checked(&mut self, asked_at: MonoTime) {
        self.token_checked_at = self.token_checked_at.max(asked_at);
        self.next_token_check = token_check_after(self.token_checked_at);
    }

    /// Takes the resumption away once the session was polled and its token checked; true then.
    pub(crate) fn take_finished_resumption(&mut self) -> bool {
        let is_finished = |resumption: Resumption| {
            resumption.is_polled && self.token_checked_at >= resumption.since
        };
        let finished = self.resumption.is_some_and(is_finished);
        if finished {
            self.resumption = None;
        }
        finished
    }

    /// Forgets the polls that got no response.
    pub(crate) fn forget_failures(&mut self) {
        self.failures = 0;
    }

    /// Forgets what only a session in use needs.
    pub(crate) fn park(&mut self) {
        self.scheduled_at = MonoTime::NEVER;
        self.stage = PollStage::Idle;
        self.resumption = None;
    }

    /// When the poller has to look at the session: at the next poll, when the knowledge grows stale
    /// or when the session expires, whichever comes first; `None` if nothing happens by itself. A
    /// poll that is queued or in flight reports its end itself.
    pub(crate) fn next_wakeup(
        &self,
        now: Timestamp,
        is_urgent: bool,
        max_staleness: Millis,
        expires_at: MonoTime,
    ) -> Option<MonoTime> {
        if self.known_state() == KnownState::Ended {
            return None;
        }
        let last_good_at = self.machine.last_good_at();
        let stale_at = last_good_at.mono + max_staleness;
        // Scheduled until it is reported, however late.
        let stale_at = Some(stale_at).filter(|stale_at| {
            *stale_at > now.mono || self.stale_reported_for != Some(last_good_at)
        });
        let poll_at = match self.stage {
            PollStage::Idle => Some(self.next_poll_at),
            // The queue has to learn that the poll became urgent.
            PollStage::Queued { is_urgent: false, .. } if is_urgent => Some(now.mono),
            PollStage::Queued { .. } | PollStage::InFlight => None,
        };
        let expires_at = Some(expires_at).filter(|at| poll_at.is_some() || *at > now.mono);
        [poll_at, stale_at, expires_at].into_iter().flatten().min()
    }

    /// Sets when the poller looks at the session next; returns the time if it is another one.
    pub(crate) fn reschedule(&mut self, at: Option<MonoTime>) -> Option<MonoTime> {
        let at = at.unwrap_or(MonoTime::NEVER);
        let is_changed = std::mem::replace(&mut self.scheduled_at, at) != at;
        (is_changed && at != MonoTime::NEVER).then_some(at)
    }

    /// Whether the poller was to look at the session at this time; it was the last look then.
    pub(crate) fn take_scheduled(&mut self, at: MonoTime) -> bool {
        let is_due = self.scheduled_at == at;
        if is_due {
            self.scheduled_at = MonoTime::NEVER;
        }
        is_due
    }

    /// Whether the poller has reported that the last good result grew stale.
    pub(crate) fn is_stale_reported(&self) -> bool {
        self.stale_reported_for == Some(self.machine.last_good_at())
    }

    /// Reports the last good result as stale, unless a newer one has come in.
    pub(crate) fn report_stale(&mut self, now: Timestamp, max_staleness: Millis) {
        let last_good_at = self.machine.last_good_at();
        if last_good_at.age(now) >= max_staleness {
            self.stale_reported_for = Some(last_good_at);
        }
    }

    /// Ends the session, for the handler of this request if there is one; false if it had ended.
    pub(crate) fn end(&mut self, reason: EndReason, request: Option<RequestNumber>) -> bool {
        let ends = self.known_state() != KnownState::Ended;
        self.machine.end(reason.status());
        self.end_reason = Some(reason);
        if ends {
            self.ended_by = request;
        }
        ends
    }

    /// The request whose own handler ended the session.
    pub(crate) fn ended_by(&self) -> Option<RequestNumber> {
        self.ended_by
    }

    /// The event for a change since the last one, if the change has one.
    pub(crate) fn take_event(&mut self) -> Option<EventKind> {
        let state = self.known_state();
        let before = self.last_reported;
        if matches!(state, KnownState::Active | KnownState::Suspended | KnownState::Ended) {
            self.last_reported = state;
        }
        match (before, state) {
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

fn token_check_after(asked_at: MonoTime) -> MonoTime {
    let interval = backoff::shortened(TOKEN_CHECK_INTERVAL, backoff::jitter());
    asked_at + interval
}
