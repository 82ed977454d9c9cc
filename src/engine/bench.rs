//! Access for benches: sessions without logins, and polls on demand.

use std::time::Duration;

use crate::engine::handle::Activeconnect;
use crate::engine::poller::IDLE_TIMEOUT;
use crate::identity::{SessionCredential, UserId, UserToken};
use crate::protocol::{AuthMethods, SessionStatus, StatusReading};
use crate::session::client_details::ClientDetails;
use crate::session::live::Session;
use crate::session::record::PackedRecord;
use crate::verdict::{PollOutcome, UpstreamSnapshot};

impl Activeconnect {
    /// A session that the service has called active and that is polled an interval from now, or
    /// parked. Its texts are as long as the service's.
    ///
    /// # Panics
    ///
    /// When the operating system has no randomness to give.
    #[doc(hidden)]
    #[must_use]
    #[expect(clippy::unwrap_used, reason = "a bench may fail")]
    pub fn bench_session(&self, user: &UserId, parked: bool) -> SessionCredential {
        let engine = self.engine();
        let token = UserToken::random().unwrap();
        let name = token.as_str();
        let secret = UserToken::random().unwrap();
        let path = |call| format!("/authentication/{call}/{name}");
        let (status, logout) = (path("session_status"), path("logout"));
        let remote = engine.client.restore(name, secret.as_str(), &status, &logout).unwrap();
        let record = PackedRecord::new(user, &token, &remote, &ClientDetails::default(), false);
        let now = engine.now();
        let session = Session::new(engine.shared.clone(), record, AuthMethods::default(), now);
        let upstream = UpstreamSnapshot { last_success: None, is_recent: false };
        session.queue_poll(now, 0);
        let poll = session.start_poll(now).unwrap();
        let active = PollOutcome::Status(StatusReading::Status(SessionStatus::Active));
        session.apply_poll(poll.sequence, now, active, upstream);
        session.finish_poll(now, engine.config.poll_interval, None);
        if parked {
            assert!(session.park(now.after(IDLE_TIMEOUT), IDLE_TIMEOUT));
        } else {
            engine.shared.schedule.reschedule(&session, now);
        }
        let attempt = engine.key_ring.issue_attempt(now.wall).unwrap();
        let credential = engine.key_ring.derive_session(&attempt);
        engine.sessions.insert(credential.key(), session);
        credential
    }

    /// Takes each session out of the schedule as it becomes due and schedules its next poll as if
    /// one had succeeded, `count` times in all; returns the time that took. The poller must not run
    /// at the same time.
    ///
    /// # Panics
    ///
    /// When there is no session.
    #[doc(hidden)]
    #[must_use]
    #[expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a bench may fail")]
    pub fn bench_timers(&self, how_many: usize) -> Duration {
        let engine = self.engine();
        let mut now = engine.now();
        let started_at = std::time::Instant::now();
        for _ in 0..how_many {
            let session = loop {
                match engine.shared.schedule.pop(now) {
                    Ok(session) => break session,
                    Err(next) => now = now.after(next.unwrap().since(now.mono)),
                }
            };
            session.queue_poll(now, 0);
            if let Some(poll) = session.start_poll(now) {
                let active = PollOutcome::Status(StatusReading::Status(SessionStatus::Active));
                session.apply_poll(
                    poll.sequence,
                    now,
                    active,
                    UpstreamSnapshot { last_success: None, is_recent: false },
                );
            }
            session.finish_poll(now, engine.config.poll_interval, None);
            engine.shared.schedule.reschedule(&session, now);
        }
        started_at.elapsed()
    }

    /// Polls for so long, with so many in flight at most; between two such calls, not at all. The
    /// first one has to be before any poll is due.
    #[doc(hidden)]
    pub async fn bench_polls(&self, in_flight: u32, during: Duration) {
        let engine = self.engine();
        engine.polling.limiter.fix_limit(in_flight as usize);
        engine.polling.slot_freed.notify_one();
        tokio::time::sleep(during).await;
        engine.polling.limiter.fix_limit(0);
        while engine.polling.limiter.snapshot().in_flight > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
