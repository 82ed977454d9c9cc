//! A session in an engine, without a login, for unit tests.

use crate::engine::Engine;
use crate::identity::{SessionCredential, UserId, UserToken};
use crate::protocol::{AuthMethods, SessionStatus, StatusReading};
use crate::session::client_details::ClientDetails;
use crate::session::live::Session;
use crate::session::record::PackedRecord;
use crate::verdict::PollOutcome;

impl Engine {
    /// Adds session number `which` of this user, active as of now. The token is the user's name.
    pub(crate) fn insert_test_session(&self, user: &UserId, which: usize) -> SessionCredential {
        let path = |to: &str| format!("/{to}/{which}");
        let remote = self.client.restore("TOKEN", "SECRET", &path("s"), &path("l")).unwrap();
        let token = UserToken::new(user.as_str()).unwrap();
        let record = PackedRecord::new(user, &token, &remote, &ClientDetails::default(), false);
        let now = self.now();
        let session = Session::new(self.shared.clone(), record, AuthMethods::default(), now);
        session.queue_poll(now, 0);
        let poll = session.start_poll(now).unwrap();
        let active = PollOutcome::Status(StatusReading::Status(SessionStatus::Active));
        session.apply_poll(poll.sequence, now, active, self.polling.upstream_health.snapshot(now));
        session.finish_poll(now, self.config.poll_interval, None);
        session.mark_claimed();
        let attempt = self.key_ring.issue_attempt(now.wall).unwrap();
        let credential = self.key_ring.derive_session(&attempt);
        self.sessions.insert(credential.key(), session.clone());
        self.shared.schedule.reschedule(&session, now);
        credential
    }
}
