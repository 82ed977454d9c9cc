//! Asks the token store whether users still have the tokens that their sessions were made with.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::Engine;
use super::events::EndReason;
use super::idle_state::Phase;
use super::session::{Session, TokenCheck};
use crate::clock::Timestamp;
use crate::identity::UserId;

/// How long one look into the token store may take.
const TOKEN_LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);
/// A look that failed while a request waits for it is repeated so long after it began.
const RESUME_RETRY: Duration = Duration::from_secs(1);
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
struct UserCheck {
    /// What was asked for since the last look began.
    is_requested: Option<TokenCheck>,
    /// A parked session asks while the task waits among the routine ones.
    upgraded: Arc<Notify>,
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
    fn request(&self, user: &UserId, check: TokenCheck) -> Option<Arc<Notify>> {
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
    fn begin_lookup(&self, user: &UserId) {
        if let Some(check) = self.by_user().get_mut(user) {
            check.is_requested = None;
        }
    }

    /// Ends the task of this user unless another look is wanted; whether it has ended.
    fn finish(&self, user: &UserId) -> bool {
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
    async fn place(&self, user: &UserId, upgraded: &Notify) -> Option<SemaphorePermit<'_>> {
        if self.is_requested(user) == Some(TokenCheck::Routine) {
            tokio::select! {
                biased;
                permit = self.routine.acquire() => return permit.ok(),
                () = upgraded.notified() => {}
            }
        }
        self.resuming.acquire().await.ok()
    }

    fn by_user(&self) -> MutexGuard<'_, HashMap<UserId, UserCheck>> {
        // Nothing that can panic runs under the lock, so what a poisoned one holds is whole.
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Checks the session's token in a task of the engine, if that is due.
    pub(crate) fn check_token(self: &Arc<Self>, session: &Session) {
        let Some(check) = session.needs_token_check(self.now()) else { return };
        let user = UserId::from(session.user());
        if let Some(upgraded) = self.token_checks.request(&user, check) {
            let task = CheckTask { engine: self.clone(), user, upgraded };
            self.tasks.spawn(task.run());
        }
    }
}

/// Checks one user's token until no check of it is wanted.
struct CheckTask {
    engine: Arc<Engine>,
    user: UserId,
    upgraded: Arc<Notify>,
}

impl CheckTask {
    async fn run(self) {
        let checks = &self.engine.token_checks;
        loop {
            let place = checks.place(&self.user, &self.upgraded).await;
            checks.begin_lookup(&self.user);
            let began = self.engine.now();
            let is_answered = !self.is_needed(began) || self.look_up(began).await;
            drop(place);
            if !is_answered && self.is_waited_for() {
                checks.request(&self.user, TokenCheck::Resuming);
                let again = began.after(RESUME_RETRY);
                tokio::time::sleep_until(self.engine.shared.clock.instant(again.mono)).await;
            }
            if checks.finish(&self.user) {
                return;
            }
        }
    }

    /// Whether a look still serves a session: the wait for its place may have been long.
    fn is_needed(&self, now: Timestamp) -> bool {
        self.engine.sessions.of_user(&self.user).iter().any(|session| {
            match session.needs_token_check(now) {
                Some(TokenCheck::Routine) => true,
                Some(TokenCheck::Resuming) => session.is_urgent(),
                None => false,
            }
        })
    }

    /// Whether a request waits until a parked session of the user may be used again.
    fn is_waited_for(&self) -> bool {
        let sessions = self.engine.sessions.of_user(&self.user);
        sessions.iter().any(|session| session.phase() == Phase::Resuming && session.is_urgent())
    }

    /// Looks once, and applies what the token store says; whether it said anything.
    async fn look_up(&self, began: Timestamp) -> bool {
        let lookup = self.engine.store.token(&self.user);
        let token = match tokio::time::timeout(TOKEN_LOOKUP_TIMEOUT, lookup).await {
            Ok(Ok(token)) => token,
            Ok(Err(error)) => {
                self.engine.report_store_fault(Some(&error));
                return false;
            }
            Err(_) => {
                self.engine.report_store_fault(None);
                return false;
            }
        };
        for session in self.engine.sessions.of_user(&self.user) {
            // A session that was begun later knows a newer token, perhaps.
            if !session.is_begun_before(began) {
                continue;
            }
            if !token.as_ref().is_some_and(|token| session.record.matches_token(token)) {
                tracing::info!("a user's token was removed or changed; the session ends");
                self.engine.end_session(&session, EndReason::TokenChanged);
            } else if session.phase() != Phase::Parked {
                session.mark_token_checked(began.mono);
            }
        }
        true
    }
}

impl Drop for CheckTask {
    fn drop(&mut self) {
        // Also if it was aborted. Another task may be there by now, if this one has finished.
        let mut by_user = self.engine.token_checks.by_user();
        if by_user.get(&self.user).is_some_and(|own| Arc::ptr_eq(&own.upgraded, &self.upgraded)) {
            by_user.remove(&self.user);
        }
    }
}
