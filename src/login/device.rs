//! A user's phone: at most one attempt at a time has it, and it is silent where the user could approve
//! a start that is not on their own screen.

use std::sync::Arc;

use dashmap::DashMap;

use crate::clock::Timestamp;
use crate::identity::{AttemptKey, UserToken};
use crate::login::attempts::Attempt;

/// What attempts know of a phone.
#[derive(Debug, Default)]
pub(crate) struct Device {
    /// The attempt whose request waits on it, or is about to.
    pub(crate) holder: Option<Arc<Attempt>>,
    /// It is silent for all anonymous starts until then: two browsers met at it under different
    /// names, and neither of them may be the one that the user sees.
    pub(crate) silent_until: Option<Timestamp>,
    /// The browser that the user let in last, and the deadline of its attempt: until then it is
    /// silent for other anonymous browsers, whatever name they start with.
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

    /// Whether there is nothing to be known of it.
    pub(crate) fn is_idle(&self, now: Timestamp) -> bool {
        let is_over = |until: Option<Timestamp>| until.is_none_or(|until| until.is_elapsed(now));
        self.holder.is_none()
            && is_over(self.silent_until)
            && is_over(self.approved.map(|(_, until)| until))
    }
}

/// The phones that attempts ring: several names may lead to one.
#[derive(Debug, Default)]
pub(crate) struct Devices(pub(crate) DashMap<UserToken, Device>);

impl Devices {
    /// Forgets phones of which nothing is kept any more.
    pub(crate) fn purge(&self, now: Timestamp) {
        self.0.retain(|_, device| !device.is_idle(now));
    }
}
