use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::hold::Hold;
use super::policy::{Policy, Reaction};
use super::published::Word;
use super::session::{Session, SessionWatch};
use crate::verdict::Denial;

/// How many steps in a row may follow one look at the clocks.
const IN_A_ROW: u8 = 7;

/// Lets what a session let in go on, step by step: a handler, the frames of a body; and uploads and
/// holders of a guard, which look at the clocks each time.
///
/// To look at the clocks costs more than a frame does. As long as nothing is published about the
/// session, and nothing waited in between, a few steps follow on the last look alone: the poller
/// publishes it when what is known grows too old. Clocks are asked all the same now and then, for
/// a process that was stopped goes on before its poller does.
#[derive(Debug)]
pub(crate) struct Passage {
    watch: SessionWatch,
    policy: Policy,
    /// What was published when it was last to go on.
    word: Word,
    /// How many more steps may follow on that.
    steps: u8,
    held: Option<Box<Hold>>,
}

impl Passage {
    /// It was to go on at this word.
    pub(crate) fn new(watch: SessionWatch, policy: Policy, word: Word) -> Self {
        Self { watch, policy, word, steps: IN_A_ROW, held: None }
    }

    /// It is not known whether it may go on.
    pub(crate) fn unknown(watch: SessionWatch, policy: Policy) -> Self {
        let word = watch.get().word();
        Self { steps: 0, ..Self::new(watch, policy, word) }
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        self.watch.get()
    }

    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    /// What to do about the next step.
    pub(crate) fn next(&mut self) -> Reaction {
        if self.steps > 0 && self.watch.get().word() == self.word {
            self.steps -= 1;
            return Reaction::Forward;
        }
        self.look()
    }

    /// What to do about the next step, by the clocks.
    pub(crate) fn look(&mut self) -> Reaction {
        let (word, verdict) = self.watch.get().look(&self.policy);
        let reaction = self.policy.react(verdict);
        if reaction == Reaction::Forward {
            (self.word, self.steps, self.held) = (word, IN_A_ROW, None);
        }
        reaction
    }

    /// Why a request of the session would be denied at this moment, if it would.
    pub(crate) fn denial(&self) -> Option<Denial> {
        self.policy.denial(self.watch.get().look(&self.policy).1)
    }

    /// Has this task woken at the next change, and looks once more. Time may go by until then, so
    /// the next step is taken by the clocks.
    pub(crate) fn wait(&mut self, cx: &mut Context<'_>) -> Reaction {
        self.watch.register(cx);
        let reaction = self.look();
        self.steps = 0;
        reaction
    }

    /// Held back for this reason, this long in all; ready when that is over.
    pub(crate) fn hold(
        &mut self,
        limit: Duration,
        reason: Denial,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        Hold::poll(&mut self.held, limit, reason, cx)
    }

    /// Waits until it is no longer allowed.
    ///
    /// Cancel safe: nothing is consumed.
    pub(crate) async fn revoked(&mut self) -> Denial {
        let policy = self.policy;
        self.watch.until(|session| policy.denial(session.look(&policy).1)).await
    }
}

impl Clone for Passage {
    /// Its own place among those who wait; held back by nothing so far.
    fn clone(&self) -> Self {
        Self::unknown(self.watch.get().watch(), self.policy)
    }
}
