//! How sessions that ended here are logged out at the service.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, sleep_until, timeout};

use crate::client::ClientErrorKind;
use crate::engine::logouts::LogoutPriority;
use crate::engine::state::{Engine, SHUTDOWN_TIMEOUT};
use crate::events::event::EndReason;
use crate::runtime;
use crate::session::live::Session;

/// The longest that the next background logout yields to polls that wait for a place.
const POLL_PRIORITY_TIMEOUT: Duration = Duration::from_millis(100);

/// The longest that a caller waits for the first try of a logout at the service.
pub(super) const LOGOUT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest wait for the outcome of the first try, the wait for its turn included.
const FIRST_LOGOUT_TIMEOUT: Duration = Duration::from_secs(5);

/// The pauses before the tries after the first. A shutdown waits for the short ones and cuts the
/// others short.
const LOGOUT_RETRY_DELAYS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
];

/// Where a logout took effect. In this process it always does, at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogoutOutcome {
    /// Here and at the service.
    Confirmed,
    /// Here; the service has not confirmed yet. The engine tries five times more, within a quarter
    /// of an hour as a rule, while [`Health::logouts_pending`](crate::events::Health::logouts_pending)
    /// counts the logout. The session ends at the service by its own expiry at the latest.
    LocalOnly,
}

impl Engine {
    /// Ends a session here and, in the background, at the service.
    pub(crate) fn end_session(self: &Arc<Self>, session: &Arc<Session>, reason: EndReason) {
        if session.end(reason) {
            let priority = match reason {
                EndReason::LoggedOut => LogoutPriority::Prompt,
                _ => LogoutPriority::Background,
            };
            self.spawn_remote_logout(session, priority);
        }
    }

    /// Ends a session whose credential no request has carried: no client seems to have received it.
    pub(crate) fn end_unpresented(self: &Arc<Self>, session: &Arc<Session>) {
        if session.end_unpresented() {
            self.spawn_remote_logout(session, LogoutPriority::Prompt);
        }
    }

    /// Ends a session here and waits, at most 5 s, for the first try at the service.
    pub(crate) async fn log_out(self: &Arc<Self>, session: &Arc<Session>) -> LogoutOutcome {
        if !session.end(EndReason::LoggedOut) {
            return LogoutOutcome::Confirmed;
        }
        let first_try = self.spawn_remote_logout(session, LogoutPriority::Prompt);
        match runtime::within(self.tasks.runtime(), LOGOUT_TIMEOUT, first_try).await {
            Some(Ok(true)) => LogoutOutcome::Confirmed,
            Some(Ok(false) | Err(_)) | None => LogoutOutcome::LocalOnly,
        }
    }

    /// Logs out at the service in a task of the engine. The receiver learns within 5 s whether the
    /// first try was confirmed; further tries go on in the background.
    pub(super) fn spawn_remote_logout(
        self: &Arc<Self>,
        session: &Arc<Session>,
        priority: LogoutPriority,
    ) -> oneshot::Receiver<bool> {
        let (first, receiver) = oneshot::channel();
        let logout = Logout::new(self.clone(), session.clone());
        self.tasks.spawn_awaited(logout.run(priority, first));
        receiver
    }
}

/// One logout, counted as pending while it exists.
struct Logout {
    engine: Arc<Engine>,
    session: Arc<Session>,
}

impl Logout {
    fn new(engine: Arc<Engine>, session: Arc<Session>) -> Self {
        engine.logouts.pending.fetch_add(1, Ordering::Relaxed);
        Self { engine, session }
    }

    async fn run(self, priority: LogoutPriority, first: oneshot::Sender<bool>) {
        let confirmed = {
            let mut first_try = pin!(self.is_confirmed_now(priority));
            let in_time = timeout(FIRST_LOGOUT_TIMEOUT, first_try.as_mut()).await;
            first.send(in_time == Ok(true)).ok();
            match in_time {
                Ok(confirmed) => confirmed,
                Err(_) => first_try.await,
            }
        };
        if !confirmed && !self.is_confirmed_later().await {
            tracing::warn!("the service did not confirm a logout");
        }
    }

    /// Tries again after each pause.
    async fn is_confirmed_later(&self) -> bool {
        for pause in LOGOUT_RETRY_DELAYS {
            let is_long = pause > SHUTDOWN_TIMEOUT;
            tokio::select! {
                () = sleep(pause) => {}
                () = self.engine.shutdown.wait(), if is_long => {}
            }
            if self.is_confirmed_now(LogoutPriority::Background).await {
                return true;
            }
            if is_long && self.engine.shutdown.is_started() {
                break;
            }
        }
        false
    }

    /// Tries once, when it may; returns whether the session has ended at the service.
    async fn is_confirmed_now(&self, priority: LogoutPriority) -> bool {
        let (engine, logouts) = (&self.engine, &self.engine.logouts);
        let mut background = None;
        if priority == LogoutPriority::Background {
            background = logouts.background_in_flight.acquire().await.ok();
            self.background_turn().await;
        }
        let in_flight = logouts.in_flight.acquire().await.ok();
        let logout =
            async { engine.client.logout(&self.session.record.remote(&engine.client)?).await };
        let result = logout.await;
        drop((in_flight, background));
        match result {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(?error, "a logout was not confirmed");
                // The session had ended there already.
                let has_ended = [ClientErrorKind::Rejected, ClientErrorKind::UnknownSession];
                has_ended.contains(&error.kind())
            }
        }
    }

    /// Waits until a background logout may be sent: after the polls that wait for a place, unless
    /// that takes long, and no faster than the rate.
    async fn background_turn(&self) {
        let logouts = &self.engine.logouts;
        let mut pace = logouts.background_pace.lock().await;
        let mut polls_wait = logouts.polls_wait.subscribe();
        // After a timeout the logout is sent beside the polls.
        timeout(POLL_PRIORITY_TIMEOUT, polls_wait.wait_for(|waits| !waits)).await.ok();
        while let Err(at) = pace.try_acquire(self.engine.now().mono) {
            sleep_until(self.engine.shared.clock.instant(at)).await;
        }
    }
}

impl Drop for Logout {
    fn drop(&mut self) {
        self.engine.logouts.pending.fetch_sub(1, Ordering::Relaxed);
    }
}
