//! The exclusive claim of one attempt to a user's phone.

use std::sync::Arc;

use crate::engine::state::Engine;
use crate::identity::UserToken;
use crate::login::attempts::{Attempt, LoginError};
use crate::session::live::Session;
use crate::session::notify::Watcher;

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
                let mut device = engine.login.devices.0.entry(token.clone()).or_default();
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
            attempt.run_unless_aborted(&engine.shared.clock, quiet).await?;
        }
    }

    pub(super) fn token(&self) -> &UserToken {
        &self.token
    }

    /// The user has let the attempt's browser in: its result can be taken, unless it was given up.
    pub(super) fn approve(self, session: &Arc<Session>) {
        // Under the lock, so that an attempt that meets this one is before that or after.
        if let Some(mut device) = self.engine.login.devices.0.get_mut(&self.token)
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
        self.engine.login.devices.0.remove_if_mut(&self.token, |_, device| {
            if device.holder.as_ref().is_some_and(|holder| Arc::ptr_eq(holder, &self.attempt)) {
                device.holder = None;
            }
            device.is_idle(now)
        });
    }
}
