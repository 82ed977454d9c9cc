//! The handle by which applications use the engine.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::request::Parts;
use tokio_stream::wrappers::BroadcastStream;

use crate::engine::active_session::ActiveSession;
use crate::engine::end_all_sessions::EndAllSessions;
use crate::engine::login::StartError;
use crate::engine::poller;
use crate::engine::state::Engine;
use crate::engine::state::LogoutOutcome;
use crate::engine::state::SHUTDOWN_TIMEOUT;
use crate::events::event::Events;
use crate::events::event::Health;
use crate::events::event::Limit;
use crate::identity::{SessionCredential, UserId};
use crate::login::attempts::Attempt;
use crate::login::attempts::AttemptTarget;
use crate::login::attempts::LoginError;
use crate::login::attempts::StartAttempt;
use crate::login::login_limits::Initiator;
use crate::runtime::{self};
use crate::session::client_details::ClientDetails;
use crate::session::live::Session;
use crate::session::notify::Watcher;
use crate::session::session_info::SessionInfo;
use crate::store::StoreError;
use crate::verdict::Verdict;

/// How long the tasks that a shutdown aborts may take to end.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// A handle of the engine: it makes layers and routes, enrolls users, logs them in and out.
///
/// Cheap to clone; all clones are one engine. The poller stops when the last handle, layer and
/// service are dropped.
///
/// ```no_run
/// use tower_activeconnect::{Activeconnect, Credentials, MemoryTokenStore};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ac = Activeconnect::builder(Credentials::from_env()?)
///     .token_store(MemoryTokenStore::new())
///     .build()?;
/// ac.enroll(&"alice".into()).await?;
/// // The application vouches that this is her, here: it is her own machine.
/// let grant = ac.enrollment_grant(&"alice".into())?;
/// println!("open on the phone: {}", ac.registration_link(&grant).await?.expose());
/// let credential = ac.log_in(&"alice".into()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Activeconnect {
    inner: Arc<Shared>,
}

struct Shared {
    engine: Arc<StopOnDrop>,
    resolver: Option<Box<UserResolver>>,
}

/// Names the user of a request, beside another login.
type UserResolver = dyn Fn(&Parts) -> Option<UserId> + Send + Sync;

/// Ends the engine's tasks with the last handle. The tasks hold the engine, never this.
struct StopOnDrop(Arc<Engine>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Activeconnect {
    pub(super) fn start(engine: Engine) -> Self {
        let engine = Arc::new(engine);
        engine.shared.owner.get_or_init(|| {
            let engine: Weak<Engine> = Arc::downgrade(&engine);
            engine
        });
        engine.tasks.spawn(poller::run(engine.clone()));
        Self { inner: Arc::new(Shared { engine: Arc::new(StopOnDrop(engine)), resolver: None }) }
    }

    /// A handle of the same engine for use beside another login, whose user `resolve` finds in
    /// the request. Its layer lets a request in when the credential it bears names a live session
    /// *of that user*; its login route ignores typed names and rings that user's phone.
    ///
    /// ```no_run
    /// # use tower_activeconnect::{Activeconnect, UserId};
    /// # use http::request::Parts;
    /// # #[derive(Clone)] struct AppUser { id: String }
    /// # fn example(ac: Activeconnect) {
    /// let ac = ac.with_user_resolver(|parts: &Parts| {
    ///     parts.extensions.get::<AppUser>().map(|user| UserId::from(&user.id))
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn with_user_resolver(
        &self,
        resolve: impl Fn(&Parts) -> Option<UserId> + Send + Sync + 'static,
    ) -> Self {
        let running = self.inner.engine.clone();
        Self { inner: Arc::new(Shared { engine: running, resolver: Some(Box::new(resolve)) }) }
    }

    /// Rings the user's phone, waits for the answer, and gives the credential of the session. For
    /// callers that are their own browser: command lines, examples, tests.
    ///
    /// Dropping the future cancels the attempt, at the service too.
    ///
    /// # Errors
    ///
    /// When the user is not enrolled or has no phone, declines, or does not answer in time; when
    /// another login of that user is waiting, or there were too many since the last that succeeded.
    pub async fn log_in(&self, user: &UserId) -> Result<SessionCredential, LoginError> {
        let engine = self.engine();
        let begun = engine.begin_attempt(StartAttempt {
            target: AttemptTarget::User(user.clone()),
            initiator: Initiator::Application,
            previous_attempt: None,
            deliver_in_body: false,
            client: ClientDetails::default(),
        });
        let named = begun.map_err(|error| match error {
            StartError::AlreadyPending { .. } => LoginError::AlreadyPending,
            StartError::RateLimited { retry_after } => LoginError::RateLimited(retry_after),
            StartError::LimitReached { .. } => LoginError::LimitReached(Limit::Attempts),
            StartError::ShuttingDown | StartError::NoRuntime => LoginError::Aborted,
            StartError::Rng => LoginError::Rng,
        })?;
        let attempt = named.attempt.clone();
        let mut watch = Watcher::new(attempt.clone());
        let _cancel = CancelOnDrop { engine, attempt };
        let outcome = watch.wait_for(|attempt| match engine.claim(&named, Some(user)) {
            Some(claimed) => {
                // Its caller has it: no answer is lost on the way.
                claimed.session.mark_presented();
                Some(Ok(claimed.credential))
            }
            None => attempt.failure().map(Err),
        });
        runtime::within(engine.tasks.runtime(), engine.config.login_timeout, outcome)
            .await
            .unwrap_or_else(|| Err(LoginError::TimedOut))
    }

    /// Ends a session: here at once, then at the service. Waits for the first try there (5 s at
    /// most); the tries go on even if this future is dropped.
    ///
    /// A handler behind the gate that ends the session which let its request in is cut by that, and
    /// its client is told that the session ended. One that has something to say after that calls
    /// [`ActiveSession::log_out`].
    pub async fn log_out(&self, session: &ActiveSession) -> LogoutOutcome {
        self.engine().log_out(session.session()).await
    }

    /// The user's sessions that have not ended, of all browsers and callers, under every spelling of
    /// the id that the lookup table takes for that user, in no order.
    ///
    /// # Errors
    ///
    /// When the token store fails, or takes longer than 5 s.
    pub async fn sessions(&self, user: &UserId) -> Result<Vec<SessionInfo>, StoreError> {
        let engine = self.engine();
        let token = engine.find_token(user).await?;
        let sessions = engine.sessions.of_user_and_token(user, token.as_ref()).into_iter();
        let live = sessions.filter(|session| session.verdict() != Verdict::Ended);
        let now = engine.now();
        let info =
            |session: Arc<Session>| SessionInfo::new(&session, engine.session_id(&session), now);
        Ok(live.map(info).collect())
    }

    /// Ends every session of the user, as [`Activeconnect::log_out`] does each; everywhere only if
    /// all are. Logins that wait for that user's phone, or to be taken, are given up. Nothing happens
    /// before it is awaited.
    ///
    /// Sessions that were begun for this very id end first. Then the token store is asked for the
    /// user's token, and the sessions of that token end too: a lookup table that ignores case knows
    /// a user by several spellings of the id.
    ///
    /// ```no_run
    /// # use tower_activeconnect::store::StoreError;
    /// # use tower_activeconnect::{Activeconnect, UserId};
    /// # async fn example(ac: Activeconnect) -> Result<(), StoreError> {
    /// ac.end_all_sessions(&UserId::from("alice")).forget_browsers().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// For a handler behind the gate: [`ActiveSession::end_all_sessions`].
    pub fn end_all_sessions<'a>(&self, user: &'a UserId) -> EndAllSessions<'a> {
        EndAllSessions::new(self.engine().clone(), user)
    }

    /// Ends the engine: every session ends here, and all that is held open by one; logins that
    /// wait are withdrawn at the service, for 5 s at most; then no task is left. Nothing is logged
    /// out at the service otherwise: sessions end there by their own expiry.
    ///
    /// What clients hold open ends at the beginning of these 5 s: a gated response
    /// as its session's end says (a running handler has its layer's
    /// [`grace`](crate::ActiveconnectLayer::grace)), `events` with a last `closed` or `timeout`, a
    /// login whose body is still on its way with 503. Logins that begin later get 503.
    ///
    /// Call it when the server begins to shut down, so that no stream keeps it from finishing:
    ///
    /// ```no_run
    /// # use tower_activeconnect::Activeconnect;
    /// # async fn example(ac: Activeconnect, app: axum::Router) -> std::io::Result<()> {
    /// # let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    /// axum::serve(listener, app)
    ///     .with_graceful_shutdown(async move {
    ///         tokio::signal::ctrl_c().await.ok();
    ///         ac.shutdown().await;
    ///     })
    ///     .await
    /// # }
    /// ```
    ///
    /// Dropping the future goes on without waiting: the tasks are aborted.
    pub async fn shutdown(&self) {
        let engine = self.engine();
        let _aborts = AbortOnDrop(engine);
        engine.refuse_logins();
        // The attempts first: no result is claimed after, so that all sessions are among those that
        // end here.
        for attempt in engine.attempts.all() {
            engine.cancel_attempt(&attempt);
        }
        engine.end_all_locally();
        let finishing = engine.clone();
        let finish = async move { finishing.tasks.join_awaited(SHUTDOWN_TIMEOUT).await };
        // What is left when its runtime is not driven is aborted below.
        runtime::run_on(engine.tasks.runtime(), SHUTDOWN_TIMEOUT + ABORT_TIMEOUT, finish)
            .await
            .ok();
    }

    /// How the engine is at this moment.
    #[must_use]
    pub fn health(&self) -> Health {
        let engine = self.engine();
        let now = engine.now().mono;
        let (poll_latency, longest_wait) = {
            let mut stats = engine.poll_stats();
            (stats.mean_latency(now), stats.longest_wait(now))
        };
        let waiting = now.saturating_sub(engine.oldest_queued_poll_ms.load(Ordering::Relaxed));
        let wait = longest_wait.max(Duration::from_millis(waiting));
        let polls = engine.poll_limiter.snapshot();
        Health {
            sessions: engine.sessions.len(),
            attempts: engine.attempts.len(),
            effective_interval: engine.config.poll_interval + wait,
            logouts_pending: engine.logouts.pending(),
            pushes_left: engine.push_budget.left(engine.now()),
            breaker_open: engine.breaker.is_open(),
            poll_latency,
            polls_in_flight: polls.in_flight,
            max_polls_in_flight: polls.limit,
            capacity: engine.config.capacity(polls.reachable, poll_latency),
        }
    }

    /// Gives strangers the whole of this month's [`push_budget`](crate::ActiveconnectBuilder::push_budget) anew.
    pub fn reset_push_budget(&self) {
        self.engine().push_budget.reset();
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.inner.engine.0
    }

    pub(crate) fn has_resolver(&self) -> bool {
        self.inner.resolver.is_some()
    }

    /// The user that the other login names; `None` without one.
    pub(crate) fn resolve(&self, parts: &Parts) -> Option<UserId> {
        self.inner.resolver.as_ref().and_then(|resolve| resolve(parts))
    }
}

impl Activeconnect {
    /// What happens from now on. The engine never waits for a reader: one that is more than 1,024
    /// events behind is told by [`EventKind::Lagged`](crate::events::EventKind::Lagged) how many are lost.
    ///
    /// ```
    /// use tower_activeconnect::Activeconnect;
    /// use tower_activeconnect::events::EventKind;
    ///
    /// async fn watch(ac: Activeconnect) {
    ///     let mut events = ac.events();
    ///     drop(ac); // an engine that is held is never over
    ///     while let Some(event) = events.next().await {
    ///         if let (EventKind::Ended { reason }, Some(user)) = (event.kind, event.user) {
    ///             println!("{user} is out: {reason}");
    ///         }
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn events(&self) -> Events {
        let upkeep = &self.engine().shared;
        Events {
            stream: BroadcastStream::new(upkeep.events.subscribe()),
            clock: upkeep.clock.clone(),
        }
    }
}

impl fmt::Debug for Activeconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activeconnect").finish_non_exhaustive()
    }
}

/// Aborts what is left of the tasks.
struct AbortOnDrop<'a>(&'a Engine);

impl Drop for AbortOnDrop<'_> {
    fn drop(&mut self) {
        self.0.tasks.stop();
        self.0.shared.events.close();
    }
}

struct CancelOnDrop<'a> {
    engine: &'a Engine,
    attempt: Arc<Attempt>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.engine.cancel_attempt(&self.attempt);
    }
}
