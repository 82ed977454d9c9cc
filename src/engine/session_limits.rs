//! How many sessions there may be.

use std::sync::Arc;

use crate::engine::state::Engine;
use crate::events::event::{EventKind, Limit};
use crate::identity::{UserId, UserToken};
use crate::session::live::Session;
use crate::verdict::Verdict;

impl Engine {
    /// The limit that forbids the user one more session. `replacing` is the session that ends when
    /// the new one starts.
    pub(super) fn session_limit_for(
        &self,
        user: &UserId,
        token: &UserToken,
        replacing: Option<&Arc<Session>>,
    ) -> Option<Limit> {
        let stays =
            |session: &Arc<Session>| !replacing.is_some_and(|old| Arc::ptr_eq(old, session));
        let is_live =
            |session: &&Arc<Session>| session.verdict() != Verdict::Ended && stays(session);
        let sessions = self.sessions.of_user_and_token(user, Some(token));
        if sessions.iter().filter(is_live).count() >= self.config.max_sessions_per_user {
            return Some(Limit::SessionsPerUser);
        }
        (self.sessions.len() >= self.config.max_sessions).then_some(Limit::Sessions)
    }

    /// Reports that a limit rejected a login: at most once a second for each limit, so that clients
    /// that try again do not push other events out of the channel.
    pub(super) fn report_limit(&self, limit: Limit) {
        if let Some(suppressed) = self.warnings.admit_limit(limit, self.now().mono) {
            tracing::warn!(%limit, suppressed, "a login was rejected: a limit is reached");
            self.send_event(EventKind::LimitReached(limit));
        }
    }
}
