//! Checks that users still have the tokens of their sessions.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::identity::UserId;
use crate::session::poll_state::TokenCheck;

/// The maximum number of concurrent lookups for sessions in use.
const MAX_ROUTINE_CHECKS: usize = 16;
/// The maximum number of further lookups for sessions that were parked: requests wait for these.
const MAX_RESUMING_CHECKS: usize = 48;

/// The pending and running checks.
///
/// Checks are independent of polls: a store that hangs delays no poll and rejects no request of a
/// session in use. A poll requests each check, so checks start no faster than polls. One lookup at
/// a time runs for a user and counts for all of the user's sessions.
#[derive(Debug)]
pub(crate) struct TokenChecks {
    by_user: Mutex<HashMap<UserId, UserCheck>>,
    routine: Semaphore,
    resuming: Semaphore,
}

/// The task that checks one user's token.
#[derive(Debug)]
pub(crate) struct UserCheck {
    /// The check that was requested since the last lookup started.
    is_requested: Option<TokenCheck>,
    /// Notified when a parked session requests a check while the task waits among the routine ones.
    pub(crate) upgraded: Arc<Notify>,
}

impl TokenChecks {
    pub(crate) fn new() -> Self {
        Self {
            by_user: Mutex::default(),
            routine: Semaphore::new(MAX_ROUTINE_CHECKS),
            resuming: Semaphore::new(MAX_RESUMING_CHECKS),
        }
    }

    /// Requests a check. If no task runs for the user, returns the notifier for a new one.
    pub(crate) fn request(&self, user: &UserId, check: TokenCheck) -> Option<Arc<Notify>> {
        match self.by_user().entry(user.clone()) {
            Entry::Vacant(entry) => {
                let upgraded = Arc::<Notify>::default();
                entry.insert(UserCheck { is_requested: Some(check), upgraded: upgraded.clone() });
                Some(upgraded)
            }
            Entry::Occupied(mut entry) => {
                let user_check = entry.get_mut();
                // A running lookup suffices for a session in use. One for a parked session has to
                // start after the session was used again.
                if check == TokenCheck::Resuming && user_check.is_requested != Some(check) {
                    user_check.is_requested = Some(check);
                    user_check.upgraded.notify_one();
                }
                None
            }
        }
    }

    fn is_requested(&self, user: &UserId) -> Option<TokenCheck> {
        self.by_user().get(user).and_then(|check| check.is_requested)
    }

    /// A lookup starts: a request from now on is for the next one.
    pub(crate) fn begin_lookup(&self, user: &UserId) {
        if let Some(check) = self.by_user().get_mut(user) {
            check.is_requested = None;
        }
    }

    /// Ends the user's task unless another check was requested; returns whether it has ended.
    pub(crate) fn finish(&self, user: &UserId) -> bool {
        match self.by_user().entry(user.clone()) {
            Entry::Occupied(entry) if entry.get().is_requested.is_some() => false,
            Entry::Occupied(entry) => {
                entry.remove();
                true
            }
            Entry::Vacant(_) => true,
        }
    }

    /// Waits for the place of a lookup.
    pub(crate) async fn place(
        &self,
        user: &UserId,
        upgraded: &Notify,
    ) -> Option<SemaphorePermit<'_>> {
        if self.is_requested(user) == Some(TokenCheck::Routine) {
            tokio::select! {
                biased;
                permit = self.routine.acquire() => return permit.ok(),
                () = upgraded.notified() => {}
            }
        }
        self.resuming.acquire().await.ok()
    }

    pub(crate) fn by_user(&self) -> MutexGuard<'_, HashMap<UserId, UserCheck>> {
        // Nothing that can panic runs under the lock, so a poisoned one holds a whole value.
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
