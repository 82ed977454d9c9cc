//! What the poller does with a session: it queues, sends and applies polls, and parks the session.

use std::sync::PoisonError;
use std::time::Duration;

use crate::clock::{MonoTime, Timestamp};
use crate::polling::schedule::Scheduled;
use crate::session::idle_state::Phase;
use crate::session::live::Session;
use crate::session::poll_state::{PollState, QueuedPoll, StartedPoll, TokenCheck};
use crate::session::request_number::RequestNumber;
use crate::verdict::{KnownState, PollOutcome, UpstreamSnapshot};

impl Session {
    /// Queues a poll under this ticket if one is due. A queued poll that becomes urgent is queued
    /// again, which voids its former place.
    pub(crate) fn queue_poll(&self, now: Timestamp, ticket: u64) -> Option<QueuedPoll> {
        let (is_urgent, max_staleness) = (self.is_urgent(), self.context.limits.max_staleness);
        self.update_poll_state(|state| state.queue(now, ticket, is_urgent, max_staleness))
    }

    /// Moves an urgent poll, for which nothing waits any more, to the others, under this ticket.
    pub(crate) fn demote(&self, ticket: u64) -> Option<QueuedPoll> {
        let max_staleness = self.context.limits.max_staleness;
        self.update_poll_state(|state| state.demote(ticket, max_staleness))
    }

    /// Starts the queued poll; `None` if none is queued.
    pub(crate) fn start_poll(&self, now: Timestamp) -> Option<StartedPoll> {
        let phase = self.phase();
        self.update_poll_state(|state| state.start_poll(now, phase))
    }

    /// Applies the outcome of poll `sequence`, sent at `sent`. True if the session ends by that
    /// because it is lost: the service no longer knows it, or its statuses stayed inconsistent.
    pub(crate) fn apply_poll(
        &self,
        sequence: u64,
        sent: Timestamp,
        outcome: PollOutcome,
        upstream: UpstreamSnapshot,
    ) -> bool {
        let is_lost =
            self.update_poll_state(|state| state.apply(sequence, sent, outcome, upstream));
        self.watchers.wake();
        is_lost
    }

    /// Finishes the poll that was sent at `sent` and sets when the next one is due.
    pub(crate) fn finish_poll(
        &self,
        sent: Timestamp,
        interval: Duration,
        requested_pause: Option<Duration>,
    ) {
        self.update_poll_state(|state| {
            state.finish_poll(sent, interval, requested_pause);
            self.finish_resumption(state);
        });
        self.watchers.wake();
    }

    /// Makes the next poll due at once if the last one got no response.
    pub(crate) fn poll_now_if_failing(&self) {
        self.update_poll_state(PollState::poll_now_if_failing);
    }

    /// Publishes that the knowledge is stale, for guards that read no clock.
    pub(crate) fn publish_stale(&self, now: Timestamp) {
        let max_staleness = self.context.limits.max_staleness;
        self.update_poll_state(|state| state.report_stale(now, max_staleness));
        self.watchers.wake();
    }

    /// The token store, asked at `asked_at`  has confirmed
    /// the session's token.
    pub(crate) fn mark_token_checked(&self, asked_at: MonoTime) {
        self.update_poll_state(|state| {
            state.mark_token_checked(asked_at);
            self.finish_resumption(state);
        });
        self.watchers.wake();
    }

    /// A parked session is in use again once it was polled and its token checked.
    fn finish_resumption(&self, state: &mut PollState) {
        if state.take_finished_resumption() {
            self.idle_state.mark_resumed();
        }
    }

    /// Parks the session unless it is live, was used within `idle_timeout`, or is being polled.
    pub(crate) fn park(&self, now: Timestamp, idle_timeout: Duration) -> bool {
        let mut slot = self.poll_state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_in_flight = slot.as_ref().is_some_and(|state| state.is_in_flight());
        if is_in_flight || !self.idle_state.park(now.mono, idle_timeout.into()) {
            return false;
        }
        match slot.as_mut() {
            // Doubts about the session are worth the memory.
            Some(state) if !state.is_reproducible() => state.park(),
            Some(state) => {
                state.forget_failures();
                self.publish(state);
                *slot = None;
            }
            None => {}
        }
        true
    }

    /// Reads the poll state under its lock; changes and allocates nothing.
    fn read_poll_state<R>(&self, read: impl FnOnce(&PollState) -> R) -> Option<R> {
        let slot = self.poll_state.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_deref().map(read)
    }

    /// Whether a poll waits at the place of this ticket. Takes the session's lock.
    pub(crate) fn read_is_queued(&self, ticket: u64) -> bool {
        self.read_poll_state(|state| state.is_queued_as(ticket)).unwrap_or(false)
    }

    /// Why the token store has to be asked now, if it has. Takes the session's lock.
    pub(crate) fn read_token_check_due(&self, now: Timestamp) -> Option<TokenCheck> {
        let (phase, is_claimed) = (self.phase(), self.lifecycle.is_claimed());
        self.read_poll_state(|state| state.token_check_due(phase, is_claimed, now)).flatten()
    }

    /// Whether the handler of this request ended the session. Takes the session's lock.
    pub(crate) fn read_is_ended_by(&self, request: RequestNumber) -> bool {
        self.read_poll_state(|state| state.ended_by() == Some(request)).unwrap_or(false)
    }
}

impl Scheduled for Session {
    fn schedule_next(&self, now: Timestamp) -> Option<MonoTime> {
        if self.snapshot().known_state() == KnownState::Ended || self.phase() == Phase::Parked {
            // An entry that stays in the schedule finds nothing to do.
            return None;
        }
        let limits = self.context.limits;
        let expires_at = self.lifecycle.expires_at(limits.lifetime, self.context.idle_timeout);
        self.update_poll_state(|state| {
            let next = match self.phase() {
                Phase::Parked => None,
                Phase::Running | Phase::Resuming => {
                    state.next_wakeup(now, self.is_urgent(), limits.max_staleness, expires_at)
                }
            };
            state.reschedule(next)
        })
    }

    fn is_due(&self, at: MonoTime) -> bool {
        let mut slot = self.poll_state.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_mut().is_some_and(|state| state.take_scheduled(at))
    }
}
