use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::engine::logouts::LogoutPriority;
use crate::engine::remote_logout::LOGOUT_TIMEOUT;
use crate::engine::{ActiveSession, Engine, LogoutOutcome};
use crate::events::event::EndReason;
use crate::identity::{UserId, UserToken};
use crate::runtime;
use crate::session::live::Session;
use crate::store::StoreError;

/// Ends all sessions of a user when awaited; returned by
/// [`Activeconnect::end_all_sessions`](crate::engine::handle::Activeconnect::end_all_sessions) and
/// [`ActiveSession::end_all_sessions`].
///
/// Resolves to where the logouts took effect.
///
/// # Errors
///
/// When the token store fails, or takes longer than 5 s. The sessions of this very id have ended
/// even then; those under other spellings of it may live. Call it again.
#[must_use = "nothing ends before it is awaited"]
pub struct EndAllSessions<'a> {
    engine: Arc<Engine>,
    user: &'a UserId,
    /// The session of the handler that called it.
    own: Option<&'a ActiveSession>,
    spared: Option<Arc<Session>>,
    forgets_browsers: bool,
}

impl ActiveSession {
    /// Ends every session of the user, as
    /// [`Activeconnect::end_all_sessions`](crate::engine::handle::Activeconnect::end_all_sessions)
    /// does, and lets the handler respond after that, as [`ActiveSession::log_out`] does.
    pub fn end_all_sessions(&self) -> EndAllSessions<'_> {
        EndAllSessions::by(self)
    }
}

impl<'a> EndAllSessions<'a> {
    pub(super) fn new(engine: Arc<Engine>, user: &'a UserId) -> Self {
        Self { engine, user, own: None, spared: None, forgets_browsers: false }
    }

    fn by(own: &'a ActiveSession) -> Self {
        let engine = own.engine().clone();
        Self { engine, user: own.user(), own: Some(own), spared: None, forgets_browsers: false }
    }

    /// Spares this session: "log out everywhere else".
    ///
    /// ```no_run
    /// # use tower_activeconnect::ActiveSession;
    /// # use tower_activeconnect::store::StoreError;
    /// # async fn example(session: ActiveSession) -> Result<(), StoreError> {
    /// session.end_all_sessions().except(&session).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn except(self, session: &ActiveSession) -> Self {
        self.except_session(session.session().clone())
    }

    pub(crate) fn except_session(mut self, session: Arc<Session>) -> Self {
        self.spared = Some(session);
        self
    }

    /// Also forgets the user's known browsers, as
    /// [`Activeconnect::forget_browsers`](crate::engine::handle::Activeconnect::forget_browsers)
    /// does: for a user whose browser may be in the wrong hands.
    pub fn forget_browsers(mut self) -> Self {
        self.forgets_browsers = true;
        self
    }

    async fn end(self) -> Result<LogoutOutcome, StoreError> {
        let Self { engine, user, own, spared, forgets_browsers } = self;
        let spared = spared.as_ref();
        let own = own.filter(|own| !is_spared(own.session(), spared));
        let own = own.and_then(ActiveSession::end_by_handler);
        let (outcome, token) = engine.end_sessions_of(user, own, spared).await;
        if forgets_browsers {
            engine.forget_browsers(user).await?;
        }
        token.and(Ok(outcome))
    }
}

impl fmt::Debug for EndAllSessions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndAllSessions").field("user", self.user).finish_non_exhaustive()
    }
}

impl<'a> IntoFuture for EndAllSessions<'a> {
    type Output = Result<LogoutOutcome, StoreError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.end())
    }
}

impl Engine {
    /// Ends the user's sessions, first those that need no token lookup; returns the token that the
    /// lookup found. Waits for `own` as for the logouts of these.
    pub(super) async fn end_sessions_of(
        self: &Arc<Self>,
        user: &UserId,
        own: Option<oneshot::Receiver<bool>>,
        spared: Option<&Arc<Session>>,
    ) -> (LogoutOutcome, Result<Option<UserToken>, StoreError>) {
        let mut logouts = self.end_sessions_here(user, None, spared);
        logouts.extend(own);
        let token = self.find_token(user).await;
        if let Ok(Some(token)) = &token {
            logouts.extend(self.end_sessions_here(user, Some(token), spared));
        }
        (self.first_tries(logouts).await, token)
    }

    /// Ends here the sessions and attempts of this id and of the user's token, except `spared`. The
    /// logouts at the service go on in the background.
    pub(super) fn end_sessions_here(
        self: &Arc<Self>,
        user: &UserId,
        token: Option<&UserToken>,
        spared: Option<&Arc<Session>>,
    ) -> Vec<oneshot::Receiver<bool>> {
        self.cancel_attempts_of(user, token);
        let sessions = self.sessions.of_user_and_token(user, token);
        // All end here before the first logout is sent.
        let ended = sessions.iter().filter(|session| !is_spared(session, spared));
        let ended: Vec<_> = ended.filter(|session| session.end(EndReason::LoggedOut)).collect();
        let logouts = ended.into_iter();
        logouts.map(|session| self.spawn_remote_logout(session, LogoutPriority::Prompt)).collect()
    }

    /// Waits for the first try of each logout at the service.
    pub(super) async fn first_tries(&self, logouts: Vec<oneshot::Receiver<bool>>) -> LogoutOutcome {
        let all = async {
            let mut everywhere = LogoutOutcome::Confirmed;
            for confirmed in logouts {
                if confirmed.await != Ok(true) {
                    everywhere = LogoutOutcome::LocalOnly;
                }
            }
            everywhere
        };
        let everywhere = runtime::within(self.tasks.runtime(), LOGOUT_TIMEOUT, all).await;
        everywhere.unwrap_or(LogoutOutcome::LocalOnly)
    }
}

fn is_spared(session: &Arc<Session>, spared: Option<&Arc<Session>>) -> bool {
    spared.is_some_and(|spared| Arc::ptr_eq(spared, session))
}
