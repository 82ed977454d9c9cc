//! How sessions that ended here are ended at the service.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, sleep_until, timeout};

use crate::client::ClientErrorKind;
use crate::engine::logouts::LogoutPriority;
use crate::engine::{Engine, SHUTDOWN_TIMEOUT};
use crate::session::live::Session;

/// How long the next background logout lets polls that wait for their turn go first.
const POLL_PRIORITY_TIMEOUT: Duration = Duration::from_millis(100);

/// How long the outcome of the first try is waited for, its turn included.
const FIRST_LOGOUT_TIMEOUT: Duration = Duration::from_secs(5);

/// The pauses before the tries that follow the first. A shutdown waits for the short ones and cuts
/// the others short.
const LOGOUT_RETRY_DELAYS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
];

impl Engine {
    /// Logs out at the service in a task of the engine. The receiver hears within 5 s whether the
    /// first try was confirmed; the others go on behind it.
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
                () = self.engine.wait_shutdown(), if is_long => {}
            }
            if self.is_confirmed_now(LogoutPriority::Background).await {
                return true;
            }
            if is_long && self.engine.is_shutting_down() {
                break;
            }
        }
        false
    }

    /// Tries once, at its turn; whether the session is over at the service.
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
                // It is over there already.
                let over = [ClientErrorKind::Rejected, ClientErrorKind::UnknownSession];
                over.contains(&error.kind())
            }
        }
    }

    /// Waits for the turn of a background logout: after the polls that wait for theirs, unless that
    /// takes long, and no faster than its pace.
    async fn background_turn(&self) {
        let logouts = &self.engine.logouts;
        let mut pace = logouts.background_pace.lock().await;
        let mut polls_wait = logouts.polls_wait.subscribe();
        // A timeout is no error: the logout then goes beside the polls.
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
