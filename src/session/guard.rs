use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::session::hold_timer::HoldTimer;
use crate::session::live::{Session, SessionWatcher};
use crate::session::policy::{Action, Policy};
use crate::session::snapshot::Snapshot;
use crate::verdict::Denial;

/// How many steps in a row may follow one look at the clocks.
const STEPS_PER_CLOCK_CHECK: u8 = 7;

/// Lets what a session let in go on, step by step: a handler, the frames of a body; and uploads and
/// holders of a guard, which look at the clocks each time.
///
/// To look at the clocks costs more than a frame does. As long as nothing is published about the
/// session, and nothing waited in between, a few steps follow on the last look alone: the poller
/// publishes it when what is known grows too old. Clocks are asked all the same now and then, for
/// a process that was stopped goes on before its poller does.
#[derive(Debug)]
pub(crate) struct StreamGuard {
    watch: SessionWatcher,
    policy: Policy,
    /// What was published when it was last to go on.
    last_seen: Snapshot,
    /// How many more steps may follow on that.
    steps_left: u8,
    held: Option<Box<HoldTimer>>,
}

impl StreamGuard {
    /// It was to go on at this word.
    pub(crate) fn new(watch: SessionWatcher, policy: Policy, last_seen: Snapshot) -> Self {
        Self { watch, policy, last_seen, steps_left: STEPS_PER_CLOCK_CHECK, held: None }
    }

    /// It is not known whether it may go on.
    pub(crate) fn unchecked(watch: SessionWatcher, policy: Policy) -> Self {
        let word = watch.get().snapshot();
        Self { steps_left: 0, ..Self::new(watch, policy, word) }
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        self.watch.get()
    }

    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    /// What to do about the next step.
    pub(crate) fn check_cached(&mut self) -> Action {
        if self.steps_left > 0 && self.watch.get().snapshot() == self.last_seen {
            self.steps_left -= 1;
            return Action::Forward;
        }
        self.check()
    }

    /// What to do about the next step, by the clocks.
    pub(crate) fn check(&mut self) -> Action {
        let (word, verdict) = self.watch.get().enforce(&self.policy);
        let reaction = self.policy.action_for(verdict);
        if reaction == Action::Forward {
            (self.last_seen, self.steps_left, self.held) = (word, STEPS_PER_CLOCK_CHECK, None);
        }
        reaction
    }

    /// Why a request of the session would be denied at this moment, if it would.
    pub(crate) fn denial(&self) -> Option<Denial> {
        self.policy.denial(self.watch.get().verdict())
    }

    /// Has this task woken at the next change, and looks once more. Time may go by until then, so
    /// the next step is taken by the clocks.
    pub(crate) fn register_and_check(&mut self, cx: &mut Context<'_>) -> Action {
        self.watch.register(cx);
        let reaction = self.check();
        self.steps_left = 0;
        reaction
    }

    /// Held back for this reason, this long in all; ready when that is over.
    pub(crate) fn hold(
        &mut self,
        limit: Duration,
        reason: Denial,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        HoldTimer::poll(&mut self.held, limit, reason, cx)
    }

    /// Waits until it is no longer allowed.
    ///
    /// Cancel safe: nothing is consumed.
    pub(crate) async fn revoked(&mut self) -> Denial {
        let policy = self.policy;
        self.watch.wait_for(|session| policy.denial(session.enforce(&policy).1)).await
    }
}

impl Clone for StreamGuard {
    /// Its own place among those who wait; held back by nothing so far.
    fn clone(&self) -> Self {
        Self::unchecked(self.watch.get().watch(), self.policy)
    }
}
