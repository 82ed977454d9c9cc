//! How the user's other sessions warn of a login in an unknown browser.

use crate::clock::Timestamp;
use crate::engine::state::Engine;
use crate::session::lifecycle::CLAIM_TICK;
use crate::session::live::Session;
use crate::verdict::Verdict;

impl Engine {
    /// Whether an unknown browser has logged in as this session's user since this session started,
    /// and since the user last saw the list of sessions from it. A session of an unknown browser
    /// that has ended causes no warning.
    pub(crate) fn warns_of_unknown_browser(&self, session: &Session) -> bool {
        let mut since = session.lifecycle.claimed_at();
        let is_later = |other: &Session, since: Timestamp| {
            other.record.is_of_unknown_browser()
                && other.lifecycle.claimed_at().mono > since.mono
                && other.verdict() != Verdict::Ended
        };
        // By the token: the other login may have used another spelling of the id.
        let others = self.sessions.of_token_of(session);
        if !others.iter().any(|other| is_later(other, since)) {
            return false;
        }
        let seen =
            self.login.seen_warnings.with(|seen| seen.get(&self.session_id(session)).copied());
        since = seen.map_or(since, |seen| seen.later(since));
        others.iter().any(|other| is_later(other, since))
    }

    /// Stores that the user has seen the list of sessions, as it was at `shown`, from this session.
    #[cfg(feature = "axum")]
    pub(crate) fn mark_warnings_seen(&self, session: &Session, shown: Timestamp) {
        if self.warns_of_unknown_browser(session) {
            // The moment of a login is stored to a tick, and may have been a tick later.
            let shown = Timestamp { mono: shown.mono.before(CLAIM_TICK), ..shown };
            let id = self.session_id(session);
            self.login.seen_warnings.with(|seen| seen.insert(id, shown));
        }
    }

    pub(super) fn purge_seen_warnings(&self, now: Timestamp) {
        self.login.seen_warnings.purge(now, self.config.session_lifetime());
    }
}
