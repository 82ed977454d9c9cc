//! What benches need that nobody else does: sessions without logins, and polls at will.

use std::time::Duration;

use super::record::Record;
use super::session::Session;
use super::{Activeconnect, POLLS};
use crate::identity::{SessionCredential, UserId, UserToken};
use crate::protocol::{Methods, Reading, SessionStatus};
use crate::verdict::{Others, Said};

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
        let record = Record::new(user, &token, &remote);
        let now = engine.now();
        let session = Session::new(engine.upkeep.clone(), record, Methods::default(), now);
        let others = Others { answered: None, lately: false };
        session.queue_poll(now);
        let sequence = session.begin_poll().unwrap();
        session.learn(sequence, now, Said::Answer(Reading::Status(SessionStatus::Active)), others);
        session.end_poll(now, engine.settings.poll_interval);
        if parked {
            assert!(session.park(now.after(super::poller::KEEP), super::poller::KEEP));
        } else {
            engine.upkeep.schedule.reset(&session, now);
        }
        let attempt = engine.key_ring.issue_attempt(now.wall).unwrap();
        let credential = engine.key_ring.derive_session(&attempt);
        engine.sessions.insert(credential.key(), session);
        credential
    }

    /// Takes each session out of the schedule as it becomes due, and plans its next poll as though
    /// one had been answered, until so many were; answers how long that took. The poller must not
    /// run meanwhile.
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
        let begun = std::time::Instant::now();
        for _ in 0..how_many {
            let session = loop {
                match engine.upkeep.schedule.pop(now) {
                    Ok(session) => break session,
                    Err(next) => now = now.after_millis(next.unwrap() - now.mono),
                }
            };
            session.queue_poll(now);
            if let Some(sequence) = session.begin_poll() {
                let active = Said::Answer(Reading::Status(SessionStatus::Active));
                session.learn(sequence, now, active, Others { answered: None, lately: false });
            }
            session.end_poll(now, engine.settings.poll_interval);
            engine.upkeep.schedule.reset(&session, now);
        }
        begun.elapsed()
    }

    /// Polls for so long, with so many in flight at most; between two such calls, not at all. The
    /// first one has to be before any poll is due.
    #[doc(hidden)]
    #[expect(clippy::unwrap_used, reason = "a bench may fail")]
    pub async fn bench_polls(&self, in_flight: u32, during: Duration) {
        let engine = self.engine();
        engine.polls.forget_permits(POLLS);
        engine.polls.add_permits(in_flight as usize);
        engine.turn.notify_one();
        tokio::time::sleep(during).await;
        engine.polls.acquire_many(in_flight).await.unwrap().forget();
    }
}
