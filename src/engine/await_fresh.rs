//! How a request on a parked session waits for the poll that resumes it.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::state::Engine;
use crate::session::idle_state::Phase;
use crate::session::live::{Session, SessionWatcher};
use crate::verdict::Verdict;

/// The longest that the first request after a pause waits for the shared poll.
pub(super) const WAKE_TIMEOUT: Duration = Duration::from_millis(3_500);

impl Engine {
    /// Waits until a parked session is in use again: for one poll and one token check that all
    /// requests share, at most 3.5 s. Returns at once while the service fails.
    ///
    /// Cancel safe: the poll goes on.
    pub(crate) async fn wait_until_fresh(self: &Arc<Self>, watch: &mut SessionWatcher) {
        let is_fresh = |session: &Arc<Session>| {
            let is_awake = session.phase() == Phase::Running && !session.is_stale_unpolled();
            (is_awake || session.verdict() == Verdict::Ended).then_some(())
        };
        if is_fresh(watch.get()).is_some() || self.polling.breaker.is_failing(self.now().mono) {
            return;
        }
        // The poll may be complete already, and only the token check have failed.
        self.check_token(watch.get());
        // A timeout is no error here: the verdict is then what it is without a poll.
        tokio::time::timeout(WAKE_TIMEOUT, watch.wait_for(is_fresh)).await.ok();
    }
}
