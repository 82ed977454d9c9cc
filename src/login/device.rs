//! The use of a user's phone: at most one attempt at a time uses it, and no push is sent where the
//! user could approve a start that is not on the user's own screen.

use std::sync::Arc;

use dashmap::DashMap;

use crate::clock::Timestamp;
use crate::identity::{AttemptKey, UserToken};
use crate::login::attempt::Attempt;

/// The state of a phone.
#[derive(Debug, Default)]
pub(crate) struct Device {
    /// The attempt whose push is on the phone, or is about to be.
    pub(crate) holder: Option<Arc<Attempt>>,
    /// No anonymous start sends a push until then: two browsers met at the phone under different
    /// names, and either may not be the one that the user sees.
    pub(crate) silent_until: Option<Timestamp>,
    /// The browser that the user approved last, and the deadline of its attempt: until then no
    /// other anonymous browser sends a push, whatever name it starts with.
    pub(crate) approved: Option<(AttemptKey, Timestamp)>,
}

impl Device {
    pub(crate) fn is_silent_for(&self, attempt: &Attempt, now: Timestamp) -> bool {
        let lasts = |until: Timestamp| !until.is_elapsed(now);
        attempt.initiator().is_anonymous()
            && (self.silent_until.is_some_and(lasts)
                || self
                    .approved
                    .is_some_and(|(browser, until)| browser != attempt.browser && lasts(until)))
    }

    /// Whether the phone has no state.
    pub(crate) fn is_idle(&self, now: Timestamp) -> bool {
        let is_over = |until: Option<Timestamp>| until.is_none_or(|until| until.is_elapsed(now));
        self.holder.is_none()
            && is_over(self.silent_until)
            && is_over(self.approved.map(|(_, until)| until))
    }
}

/// The phones in use: several names may lead to one.
#[derive(Debug, Default)]
pub(crate) struct Devices(pub(crate) DashMap<UserToken, Device>);

impl Devices {
    /// Forgets phones of which nothing is kept any more.
    pub(crate) fn purge(&self, now: Timestamp) {
        self.0.retain(|_, device| !device.is_idle(now));
    }
}
