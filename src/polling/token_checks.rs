//! Asks the token store whether users still have the tokens that their sessions were made with.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::identity::UserId;
use crate::session::poll_state::TokenCheck;

/// How many looks for sessions in use run at once.
const MAX_ROUTINE_CHECKS: usize = 16;
/// How many more run for sessions that were parked: requests wait for these.
const MAX_RESUMING_CHECKS: usize = 48;

/// The checks that wait or run.
///
/// They are apart from the polls: a store that hangs keeps no poll from being sent, and costs no
/// session that is in use a request. Each check is asked for by a poll, so that no more begin in a
/// second than polls. One look at a time runs for a user, and counts for all sessions of that user.
#[derive(Debug)]
pub(crate) struct TokenChecks {
    by_user: Mutex<HashMap<UserId, UserCheck>>,
    routine: Semaphore,
    resuming: Semaphore,
}

/// The task that checks one user's token.
#[derive(Debug)]
pub(crate) struct UserCheck {
    /// What was asked for since the last look began.
    is_requested: Option<TokenCheck>,
    /// A parked session asks while the task waits among the routine ones.
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

    /// Asks for a check; if no task does it yet, gives what the task needs.
    pub(crate) fn request(&self, user: &UserId, check: TokenCheck) -> Option<Arc<Notify>> {
        match self.by_user().entry(user.clone()) {
            Entry::Vacant(entry) => {
                let upgraded = Arc::<Notify>::default();
                entry.insert(UserCheck { is_requested: Some(check), upgraded: upgraded.clone() });
                Some(upgraded)
            }
            Entry::Occupied(mut entry) => {
                let user_check = entry.get_mut();
                // A look that runs will do for a session in use. One for a parked session has to
                // begin after the session was used again.
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

    /// A look begins: what is asked for from now on is another.
    pub(crate) fn begin_lookup(&self, user: &UserId) {
        if let Some(check) = self.by_user().get_mut(user) {
            check.is_requested = None;
        }
    }

    /// Ends the task of this user unless another look is wanted; whether it has ended.
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

    /// Waits for the place of a look.
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
        // Nothing that can panic runs under the lock, so what a poisoned one holds is whole.
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
