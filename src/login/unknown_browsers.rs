//! Warnings of logins in unknown browsers: the user's other sessions show them, because a phone may
//! approve a login that its owner did not start.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::session::session_id::SessionId;

/// When the user last saw the list of sessions, by the session that showed it; only of sessions
/// that showed a warning.
#[derive(Debug, Default)]
pub(crate) struct SeenWarnings(Mutex<HashMap<SessionId, Timestamp>>);

impl SeenWarnings {
    /// Removes entries that are older than any session.
    pub(crate) fn purge(&self, now: Timestamp, longest_life: Duration) {
        self.with(|seen| seen.retain(|_, at| at.age(now) < longest_life.into()));
    }

    pub(crate) fn with<R>(
        &self,
        change: impl FnOnce(&mut HashMap<SessionId, Timestamp>) -> R,
    ) -> R {
        // Nothing that can panic runs under the lock, so a poisoned one holds a whole value.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
