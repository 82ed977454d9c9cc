use std::future::IntoFuture;
use std::pin::Pin;

use super::events::EndReason;
use super::logouts::LogoutPriority;
use super::{Activeconnect, LOGOUT_TIMEOUT, LoggedOut};
use crate::identity::UserId;
use crate::runtime;
use crate::store::StoreError;

/// Ends all sessions of a user when it is awaited; made by [`Activeconnect::end_all_sessions`].
///
/// It resolves to where the logouts took effect.
///
/// # Errors
///
/// When the browsers are to be forgotten and the token store fails. The sessions have ended all the
/// same.
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
        // Sessions end first: they depend on no store.
        let outcome = ac.end_sessions_of(user).await;
        if forgets_browsers {
            ac.forget_browsers(user).await?;
        }
        Ok(outcome)
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
    pub(super) async fn end_sessions_of(&self, user: &UserId) -> LoggedOut {
        let engine = self.engine();
        engine.cancel_attempts_of(user);
        // All are over here before the first is asked about there.
        let ended: Vec<_> = engine
            .sessions
            .of_user(user)
            .iter()
            .filter(|session| session.end(EndReason::LoggedOut))
            .map(|session| engine.end_remotely(session, LogoutPriority::Prompt))
            .collect();
        let all = async {
            let mut everywhere = LoggedOut::Everywhere;
            for confirmed in ended {
                if confirmed.await != Ok(true) {
                    everywhere = LoggedOut::HereOnly;
                }
            }
            everywhere
        };
        let everywhere = runtime::within(engine.tasks.runtime(), LOGOUT_TIMEOUT, all).await;
        everywhere.unwrap_or(LoggedOut::HereOnly)
    }
}
