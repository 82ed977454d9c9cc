//! The exclusive claim of one attempt to a user's phone.

use std::sync::Arc;

use crate::engine::state::Engine;
use crate::identity::UserToken;
use crate::login::attempt::Attempt;
use crate::login::login_error::LoginError;
use crate::session::live::Session;
use crate::session::notify::Watcher;

/// A phone that one attempt uses exclusively, until the attempt gets a response or is cancelled.
pub(super) struct DeviceLock {
    engine: Arc<Engine>,
    attempt: Arc<Attempt>,
    token: UserToken,
}

impl DeviceLock {
    /// Waits for a phone that another attempt is about to release, or has to release for this one.
    ///
    /// If another browser uses the phone under another name, and neither supersedes the other, both
    /// attempts lose it: the user who sees one of the requests could not tell whose it is.
    ///
    /// # Errors
    ///
    /// When the attempt may not use the phone, or is cancelled.
    pub(super) async fn acquire(
        engine: &Arc<Engine>,
        attempt: &Arc<Attempt>,
        token: &UserToken,
    ) -> Result<Self, LoginError> {
        loop {
            let (holder, goes_before) = {
                let now = engine.now();
                if let Some(error) = attempt.abort_reason(now) {
                    return Err(error);
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
            // The name stays reserved, so that the cancellation reveals nothing.
            holder.cancel();
            if !goes_before {
                return Err(LoginError::AlreadyPending);
            }
            let mut holder = Watcher::new(holder);
            let idle = holder.wait_for(|holder| holder.is_device_idle().then_some(()));
            attempt.run_unless_aborted(&engine.shared.clock, idle).await?;
        }
    }

    pub(super) fn token(&self) -> &UserToken {
        &self.token
    }

    /// The user has approved the attempt: its result can be claimed, unless it was cancelled.
    pub(super) fn approve(self, session: &Arc<Session>) {
        // Under the lock, so that a competing attempt is ordered before this or after it.
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
