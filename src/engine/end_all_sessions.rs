use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::events::EndReason;
use super::logouts::LogoutPriority;
use super::{Activeconnect, Engine, LOGOUT_TIMEOUT, LoggedOut};
use crate::identity::{UserId, UserToken};
use crate::runtime;
use crate::store::StoreError;

/// Ends all sessions of a user when it is awaited; made by [`Activeconnect::end_all_sessions`].
///
/// It resolves to where the logouts took effect.
///
/// # Errors
///
/// When the token store fails, or takes longer than 5 s. The sessions that were begun for this very
/// id have ended all the same; those under other spellings of it may live. Call it again then.
#[derive(Debug)]
#[must_use = "nothing ends before it is awaited"]
pub struct EndAllSessions<'a> {
    pub(super) ac: &'a Activeconnect,
    pub(super) user: &'a UserId,
    pub(super) forgets_browsers: bool,
}

impl EndAllSessions<'_> {
    /// Also forgets the browsers of the user, as [`Activeconnect::forget_browsers`] does: for a user
    /// whose browser may be in the wrong hands.
    pub fn forget_browsers(mut self) -> Self {
        self.forgets_browsers = true;
        self
    }

    async fn end(self) -> Result<LoggedOut, StoreError> {
        let Self { ac, user, forgets_browsers } = self;
        let (outcome, token) = ac.end_sessions_of(user).await;
        if forgets_browsers {
            ac.forget_browsers(user).await?;
        }
        token.and(Ok(outcome))
    }
}

impl<'a> IntoFuture for EndAllSessions<'a> {
    type Output = Result<LoggedOut, StoreError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.end())
    }
}

impl Activeconnect {
    /// Ends the user's sessions, first those that take no look into the token store; gives the token
    /// that it names.
    pub(super) async fn end_sessions_of(
        &self,
        user: &UserId,
    ) -> (LoggedOut, Result<Option<UserToken>, StoreError>) {
        let engine = self.engine();
        let mut logouts = engine.end_sessions_here(user, None);
        let token = engine.find_token(user).await;
        if let Ok(Some(token)) = &token {
            logouts.extend(engine.end_sessions_here(user, Some(token)));
        }
        (engine.first_tries(logouts).await, token)
    }
}

impl Engine {
    /// Ends here the sessions and attempts of this id, and those of this token, which is the user's.
    /// Each logout at the service goes on by itself.
    pub(super) fn end_sessions_here(
        self: &Arc<Self>,
        user: &UserId,
        token: Option<&UserToken>,
    ) -> Vec<oneshot::Receiver<bool>> {
        self.cancel_attempts_of(user, token);
        let sessions = self.sessions.of_user_and_token(user, token);
        // All are over here before the first is asked about there.
        let ended: Vec<_> =
            sessions.iter().filter(|session| session.end(EndReason::LoggedOut)).collect();
        let logouts = ended.into_iter();
        logouts.map(|session| self.end_remotely(session, LogoutPriority::Prompt)).collect()
    }

    /// Waits for the first try of each logout at the service.
    pub(super) async fn first_tries(&self, logouts: Vec<oneshot::Receiver<bool>>) -> LoggedOut {
        let all = async {
            let mut everywhere = LoggedOut::Everywhere;
            for confirmed in logouts {
                if confirmed.await != Ok(true) {
                    everywhere = LoggedOut::HereOnly;
                }
            }
            everywhere
        };
        let everywhere = runtime::within(self.tasks.runtime(), LOGOUT_TIMEOUT, all).await;
        everywhere.unwrap_or(LoggedOut::HereOnly)
    }
}
