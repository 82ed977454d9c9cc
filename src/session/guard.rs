use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::session::hold_timer::HoldTimer;
use crate::session::live::{Session, SessionWatcher};
use crate::session::policy::{Action, Policy};
use crate::session::snapshot::Snapshot;
use crate::verdict::Denial;

/// How many steps in a row may rely on one reading of the clocks.
const STEPS_PER_CLOCK_CHECK: u8 = 7;

/// Decides, step by step, whether a response that a session allowed may go on: a running handler,
/// the frames of a body, uploads and holders of a guard.
///
/// Reading the clocks costs more than a frame does. While the published snapshot stays the same, a
/// few steps rely on the last reading, because the poller publishes when the knowledge grows stale.
/// The clocks are still read every few steps: after the process was stopped, a stream may resume
/// before the poller does.
#[derive(Debug)]
pub(crate) struct StreamGuard {
    watch: SessionWatcher,
    policy: Policy,
    /// The snapshot at the last step that was forwarded.
    last_seen: Snapshot,
    /// How many more steps may rely on that snapshot.
    steps_left: u8,
    held: Option<Box<HoldTimer>>,
}

impl StreamGuard {
    /// A guard whose last check, at this snapshot, allowed.
    pub(crate) fn new(watch: SessionWatcher, policy: Policy, last_seen: Snapshot) -> Self {
        Self { watch, policy, last_seen, steps_left: STEPS_PER_CLOCK_CHECK, held: None }
    }

    /// A guard whose first step reads the clocks.
    pub(crate) fn unchecked(watch: SessionWatcher, policy: Policy) -> Self {
        let snapshot = watch.get().snapshot();
        Self { steps_left: 0, ..Self::new(watch, policy, snapshot) }
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        self.watch.get()
    }

    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    /// Decides the next step, on the last reading of the clocks if that is recent enough.
    pub(crate) fn check_cached(&mut self) -> Action {
        if self.steps_left > 0 && self.watch.get().snapshot() == self.last_seen {
            self.steps_left -= 1;
            return Action::Forward;
        }
        self.check()
    }

    /// Decides the next step by the clocks.
    pub(crate) fn check(&mut self) -> Action {
        let (snapshot, verdict) = self.watch.get().enforce(&self.policy);
        let action = self.policy.action_for(verdict);
        if action == Action::Forward {
            (self.last_seen, self.steps_left, self.held) = (snapshot, STEPS_PER_CLOCK_CHECK, None);
        }
        action
    }

    /// The denial of a request that would come now, if it were denied.
    pub(crate) fn denial(&self) -> Option<Denial> {
        self.policy.denial(self.watch.get().verdict())
    }

    /// Registers this task for the next change and decides the next step. Time passes until the
    /// task wakes, so the step after that reads the clocks.
    pub(crate) fn register_and_check(&mut self, cx: &mut Context<'_>) -> Action {
        self.watch.register(cx);
        let action = self.check();
        self.steps_left = 0;
        action
    }

    /// Holds the response for this reason; ready when it was held for `limit`.
    pub(crate) fn hold(
        &mut self,
        limit: Duration,
        reason: Denial,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        HoldTimer::poll(&mut self.held, limit, reason, cx)
    }

    /// Waits until the session no longer allows.
    ///
    /// Cancel safe: nothing is consumed.
    pub(crate) async fn revoked(&mut self) -> Denial {
        let policy = self.policy;
        self.watch.wait_for(|session| policy.denial(session.enforce(&policy).1)).await
    }
}

impl Clone for StreamGuard {
    /// A guard with a watch of its own that has not held anything yet.
    fn clone(&self) -> Self {
        Self::unchecked(self.watch.get().watch(), self.policy)
    }
}
