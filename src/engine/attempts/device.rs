//! A user's phone: at most one attempt at a time has it, and it is silent where the user could approve
//! a start that is not on their own screen.

use std::sync::Arc;

use super::{Attempt, LoginError};
use crate::clock::Timestamp;
use crate::engine::Engine;
use crate::engine::notify::Watcher;
use crate::engine::session::Session;
use crate::identity::{AttemptKey, UserToken};

/// What attempts know of a phone.
#[derive(Debug, Default)]
pub(super) struct Device {
    /// The attempt whose request waits on it, or is about to.
    holder: Option<Arc<Attempt>>,
    /// It is silent for all anonymous starts until then: two browsers met at it under different
    /// names, and neither of them may be the one that the user sees.
    silent_until: Option<Timestamp>,
    /// The browser that the user let in last, and the deadline of its attempt: until then it is
    /// silent for other anonymous browsers, whatever name they start with.
    approved: Option<(AttemptKey, Timestamp)>,
}

impl Device {
    fn is_silent_for(&self, attempt: &Attempt, now: Timestamp) -> bool {
        let lasts = |until: Timestamp| !until.is_elapsed(now);
        attempt.initiator().is_anonymous()
            && (self.silent_until.is_some_and(lasts)
                || self
                    .approved
                    .is_some_and(|(browser, until)| browser != attempt.browser && lasts(until)))
    }

    /// Whether there is nothing to be known of it.
    pub(super) fn is_idle(&self, now: Timestamp) -> bool {
        let is_over = |until: Option<Timestamp>| until.is_none_or(|until| until.is_elapsed(now));
        self.holder.is_none()
            && is_over(self.silent_until)
            && is_over(self.approved.map(|(_, until)| until))
    }
}

/// A phone that one attempt has to itself, until it is answered or given up.
pub(super) struct DeviceLock {
    engine: Arc<Engine>,
    attempt: Arc<Attempt>,
    token: UserToken,
}

impl DeviceLock {
    /// Waits for a phone that another attempt is about to leave, or leaves to this one.
    ///
    /// Where another browser has it by another name, and neither goes before the other, neither
    /// keeps it: the user who sees one of both requests could not tell whose it is.
    ///
    /// # Errors
    ///
    /// When the phone is not this attempt's to have, or the attempt is given up.
    pub(super) async fn acquire(
        engine: &Arc<Engine>,
        attempt: &Arc<Attempt>,
        token: &UserToken,
    ) -> Result<Self, LoginError> {
        loop {
            let (holder, goes_before) = {
                let now = engine.now();
                if let Some(why) = attempt.abort_reason(now) {
                    return Err(why);
                }
                let mut device = engine.attempts.devices.entry(token.clone()).or_default();
                if device.is_silent_for(attempt, now) {
                    return Err(LoginError::AlreadyPending);
                }
                let Some(holder) = device.holder.clone() else {
                    device.holder = Some(attempt.clone());
                    let (engine, attempt) = (engine.clone(), attempt.clone());
                    return Ok(Self { engine, attempt, token: token.clone() });
                };
                let is_left = holder.failure().is_some() || holder.abort_reason(now).is_some();
                let goes_before = is_left || attempt.initiator().may_supersede(holder.initiator());
                if !goes_before {
                    let meet = attempt.initiator().is_anonymous()
                        && holder.initiator().is_anonymous()
                        && attempt.name != holder.name;
                    if !meet {
                        return Err(LoginError::AlreadyPending);
                    }
                    let until = attempt.deadline.later(holder.deadline);
                    let until = device.silent_until.map_or(until, |other| other.later(until));
                    device.silent_until = Some(until);
                }
                (holder, goes_before)
            };
            // Its name stays reserved: that it is given up tells its browser and others nothing.
            holder.cancel();
            if !goes_before {
                return Err(LoginError::AlreadyPending);
            }
            let mut holder = Watcher::new(holder);
            let quiet = holder.wait_for(|holder| holder.is_device_idle().then_some(()));
            attempt.run_unless_aborted(engine, quiet).await?;
        }
    }

    pub(super) fn token(&self) -> &UserToken {
        &self.token
    }

    /// The user has let the attempt's browser in: its result can be taken, unless it was given up.
    pub(super) fn approve(self, session: &Arc<Session>) {
        // Under the lock, so that an attempt that meets this one is before that or after.
        if let Some(mut device) = self.engine.attempts.devices.get_mut(&self.token)
            && self.attempt.state.approve(session.clone())
        {
            device.approved = Some((self.attempt.browser, self.attempt.deadline));
            device.holder = None;
        }
        self.attempt.watchers.wake();
    }
}

impl Drop for DeviceLock {
    fn drop(&mut self) {
        let now = self.engine.now();
        self.engine.attempts.devices.remove_if_mut(&self.token, |_, device| {
            if device.holder.as_ref().is_some_and(|holder| Arc::ptr_eq(holder, &self.attempt)) {
                device.holder = None;
            }
            device.is_idle(now)
        });
    }
}
