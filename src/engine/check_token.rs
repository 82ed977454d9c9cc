//! How the engine checks that a user still has the token of a session.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::engine::state::Engine;
use crate::events::event::EndReason;
use crate::identity::UserId;
use crate::session::idle_state::Phase;
use crate::session::live::Session;
use crate::session::poll_state::TokenCheck;
use crate::store::StoreError;

/// The longest that one token lookup may take.
const TOKEN_LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);

/// The interval at which a failed lookup is repeated while a request waits.
const RESUME_RETRY: Duration = Duration::from_secs(1);

impl Engine {
    /// Checks the session's token in a task of the engine, if that is due.
    pub(crate) fn check_token(self: &Arc<Self>, session: &Session) {
        let Some(check) = session.read_token_check_due(self.now()) else { return };
        let user = UserId::from(session.user());
        if let Some(upgraded) = self.polling.token_checks.request(&user, check) {
            let task = CheckTask { engine: self.clone(), user, upgraded };
            self.tasks.spawn(task.run());
        }
    }
}

/// Checks one user's token until no check of it is requested.
struct CheckTask {
    engine: Arc<Engine>,
    user: UserId,
    upgraded: Arc<Notify>,
}

impl CheckTask {
    async fn run(self) {
        let checks = &self.engine.polling.token_checks;
        loop {
            let place = checks.place(&self.user, &self.upgraded).await;
            checks.begin_lookup(&self.user);
            let started_at = self.engine.now();
            let is_done = !self.is_needed(started_at) || self.look_up(started_at).await;
            drop(place);
            if !is_done && self.is_waited_for() {
                checks.request(&self.user, TokenCheck::Resuming);
                let again = started_at.after(RESUME_RETRY);
                tokio::time::sleep_until(self.engine.shared.clock.instant(again.mono)).await;
            }
            if checks.finish(&self.user) {
                return;
            }
        }
    }

    /// Whether a session still needs the lookup: the wait for a place may have been long.
    fn is_needed(&self, now: Timestamp) -> bool {
        self.engine.sessions.of_user(&self.user).iter().any(|session| {
            match session.read_token_check_due(now) {
                Some(TokenCheck::Routine) => true,
                Some(TokenCheck::Resuming) => session.is_urgent(),
                None => false,
            }
        })
    }

    /// Whether a request waits for a parked session of the user.
    fn is_waited_for(&self) -> bool {
        let sessions = self.engine.sessions.of_user(&self.user);
        sessions.iter().any(|session| session.phase() == Phase::Resuming && session.is_urgent())
    }

    /// Looks the token up once and applies the result; false if the lookup failed.
    async fn look_up(&self, started_at: Timestamp) -> bool {
        let lookup = self.engine.store.token(&self.user);
        let token = match tokio::time::timeout(TOKEN_LOOKUP_TIMEOUT, lookup).await {
            Ok(Ok(token)) => token,
            Ok(Err(error)) => {
                self.engine.report_store_fault(&error);
                return false;
            }
            Err(_) => {
                self.engine.report_store_fault(&StoreError::timed_out());
                return false;
            }
        };
        for session in self.engine.sessions.of_user(&self.user) {
            // A later session may have a newer token.
            if session.lifecycle.created_at().mono > started_at.mono {
                continue;
            }
            if !token.as_ref().is_some_and(|token| session.record.matches_token(token)) {
                tracing::info!("a user's token was removed or changed; the session ends");
                self.engine.end_session(&session, EndReason::TokenChanged);
            } else if session.phase() != Phase::Parked {
                session.mark_token_checked(started_at.mono);
            }
        }
        true
    }
}

impl Drop for CheckTask {
    fn drop(&mut self) {
        // Also after an abort. Another task may have taken the entry, if this one has finished.
        let mut by_user = self.engine.polling.token_checks.by_user();
        if by_user.get(&self.user).is_some_and(|own| Arc::ptr_eq(&own.upgraded, &self.upgraded)) {
            by_user.remove(&self.user);
        }
    }
}
