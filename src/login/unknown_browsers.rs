//! Logins of browsers in which the user had not logged in before: the user's other sessions are warned
//! of them, since a phone may approve what its owner did not begin.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::session::session_id::SessionId;

/// When the user last looked at their sessions, by the session from which they looked. Only of those
/// that were warned.
#[derive(Debug, Default)]
pub(crate) struct SeenWarnings(Mutex<HashMap<SessionId, Timestamp>>);

impl SeenWarnings {
    /// Forgets what is older than any session.
    pub(crate) fn sweep(&self, now: Timestamp, longest_life: Duration) {
        self.with(|seen| seen.retain(|_, at| at.age(now) < longest_life.into()));
    }

    pub(crate) fn with<R>(
        &self,
        change: impl FnOnce(&mut HashMap<SessionId, Timestamp>) -> R,
    ) -> R {
        // Nothing that can panic runs under the lock, so what a poisoned one holds is whole.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
