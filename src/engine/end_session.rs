use std::fmt;
use std::sync::Arc;

use crate::engine::logouts::LogoutPriority;
use crate::engine::{Activeconnect, LogoutOutcome};
use crate::events::event::EndReason;
use crate::identity::UserId;
use crate::session::live::Session;
use crate::session::session_id::SessionId;
use crate::store::StoreError;

/// Why [`Activeconnect::end_session`] ended nothing.
#[non_exhaustive]
pub enum EndSessionError {
    /// The user has no session with that id: it has ended, it belongs to another user or another
    /// engine, or it never existed.
    Unknown,
    /// No session of this very user id has that session id, and the token store, which knows the
    /// other spellings, failed or took longer than 5 s. Call it again.
    Store(StoreError),
}

crate::error_debug::debug_as_message!(EndSessionError);

impl fmt::Display for EndSessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("the user has no such session; it may be over already"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EndSessionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unknown => None,
            // The message is the store's own, so the source is the store's, too.
            Self::Store(error) => error.source(),
        }
    }
}

impl Activeconnect {
    /// Ends one of the user's sessions, as [`Activeconnect::log_out`] does: here at once, with its
    /// open responses, then at the service. For the application's own page of sessions, and for
    /// administrators.
    ///
    /// Waits for the first try at the service (5 s at most); the tries go on even if this future is
    /// dropped. The user is the one whose page it is: an id alone ends nothing.
    ///
    /// ```no_run
    /// # use tower_activeconnect::session::{EndSessionError, SessionId};
    /// # use tower_activeconnect::{Activeconnect, UserId};
    /// # async fn example(ac: Activeconnect, user: UserId, id: SessionId) {
    /// match ac.end_session(&user, &id).await {
    ///     Ok(_) => println!("the session has ended"),
    ///     Err(EndSessionError::Unknown) => println!("that session is over already"),
    ///     Err(error) => println!("try again: {error}"),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`EndSessionError::Unknown`] if the session has ended, belongs to another user or never
    /// existed; [`EndSessionError::Store`] if the token store fails.
    pub async fn end_session(
        &self,
        user: &UserId,
        id: &SessionId,
    ) -> Result<LogoutOutcome, EndSessionError> {
        let engine = self.engine();
        let find = |sessions: Vec<Arc<Session>>| {
            sessions.into_iter().find(|session| engine.session_id(session) == *id)
        };
        // Most sessions are found without a token lookup, which may be slow.
        let mut found = find(engine.sessions.of_user(user));
        if found.is_none() {
            let token = engine.find_token(user).await.map_err(EndSessionError::Store)?;
            found = find(engine.sessions.of_user_and_token(user, token.as_ref()));
        }
        // Of two concurrent calls, one finds the session ended.
        let ended = found.filter(|session| session.end(EndReason::LoggedOut));
        let ended = ended.ok_or(EndSessionError::Unknown)?;
        let first_try = engine.spawn_remote_logout(&ended, LogoutPriority::Prompt);
        Ok(engine.first_tries(vec![first_try]).await)
    }
}
