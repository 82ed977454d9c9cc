//! The handle by which applications use the engine.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use tokio_stream::wrappers::BroadcastStream;

use crate::engine::active_session::ActiveSession;
use crate::engine::end_all_sessions::EndAllSessions;
use crate::engine::login::StartError;
use crate::engine::poller;
use crate::engine::remote_logout::LogoutOutcome;
use crate::engine::state::Engine;
use crate::engine::state::SHUTDOWN_TIMEOUT;
use crate::events::event::Events;
use crate::events::event::Health;
use crate::events::event::Limit;
use crate::identity::{SessionCredential, UserId};
use crate::login::attempt::Attempt;
use crate::login::initiator::Initiator;
use crate::login::login_error::LoginError;
use crate::login::start_attempt::AttemptTarget;
use crate::login::start_attempt::StartAttempt;
use crate::runtime::{self};
use crate::session::client_details::ClientDetails;
use crate::session::live::Session;
use crate::session::notify::Watcher;
use crate::session::session_info::SessionInfo;
use crate::store::StoreError;
use crate::verdict::Verdict;

/// The longest that aborted tasks may take to end.
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

/// Resolves the user of a request by another login.
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
        engine.tasks.spawn(poller::run(engine.clone()));
        Self { inner: Arc::new(Shared { engine: Arc::new(StopOnDrop(engine)), resolver: None }) }
    }

    /// Returns a handle of the same engine for use beside another login; `resolve` finds that
    /// login's user in the request. The handle's layer allows a request whose credential names a
    /// live session *of that user*; its login route ignores typed names and sends the push to that
    /// user's phone.
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

    /// Sends a push to the user's phone, waits for the approval, and returns the credential of the
    /// session. For callers without a browser: command lines, examples, tests.
    ///
    /// Dropping the future cancels the attempt, at the service too.
    ///
    /// # Errors
    ///
    /// When the user is not enrolled or has no phone, declines, or does not respond in time; when
    /// another login of that user is pending, or too many were started since the last that
    /// succeeded.
    pub async fn log_in(&self, user: &UserId) -> Result<SessionCredential, LoginError> {
        let engine = self.engine();
        let started = engine.begin_attempt(StartAttempt {
            target: AttemptTarget::User(user.clone()),
            initiator: Initiator::Application,
            previous_attempt: None,
            deliver_in_body: false,
            client: ClientDetails::default(),
        });
        let named = started.map_err(|error| match error {
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
                // The caller has the credential: no response can be lost on the way.
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
    /// A handler behind the gate that ends its own session is cut by that, and its client gets the
    /// denial `Ended`. A handler that has to respond after the end calls
    /// [`ActiveSession::log_out`].
    pub async fn log_out(&self, session: &ActiveSession) -> LogoutOutcome {
        self.engine().log_out(session.session()).await
    }

    /// The user's sessions that have not ended, under every spelling of the id that the lookup
    /// table has for the user, in no particular order.
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

    /// Ends every session of the user, as [`Activeconnect::log_out`] does each;
    /// [`Confirmed`](LogoutOutcome::Confirmed) only if all are. Cancels the user's logins that are
    /// pending or wait to be claimed. Nothing happens before it is awaited.
    ///
    /// Sessions of this very id end first. Then the token store is asked for the user's token, and
    /// the sessions of that token end too: a lookup table that ignores case knows a user by several
    /// spellings of the id.
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

    /// Stops the engine: ends every session here with its open responses, cancels pending logins at
    /// the service, for 5 s at most, and ends all tasks. It logs no session out at the service:
    /// sessions end there by their own expiry.
    ///
    /// Open responses end at the start of these 5 s: a gated response as at the end of its session
    /// (a running handler has its layer's [`grace`](crate::ActiveconnectLayer::grace)), `events`
    /// with a last `closed` or `timeout`, a login whose request body is not complete with 503.
    /// Later logins get 503.
    ///
    /// Call it when the server starts to shut down, so that no stream delays its end:
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
    /// Dropping the future aborts the tasks and does not wait for them.
    pub async fn shutdown(&self) {
        let engine = self.engine();
        let _aborts = AbortOnDrop(engine);
        engine.shutdown.start();
        // The attempts first: no result is claimed after that, so all sessions are among those that
        // end here.
        for attempt in engine.login.attempts.all() {
            engine.cancel_attempt(&attempt);
        }
        engine.end_all_locally();
        let finishing = engine.clone();
        let finish = async move { finishing.tasks.join_awaited(SHUTDOWN_TIMEOUT).await };
        // Tasks of a runtime that is not driven are aborted below.
        runtime::run_on(engine.tasks.runtime(), SHUTDOWN_TIMEOUT + ABORT_TIMEOUT, finish)
            .await
            .ok();
    }

    /// The present state of the engine.
    #[must_use]
    pub fn health(&self) -> Health {
        let engine = self.engine();
        let now = engine.now().mono;
        let (poll_latency, longest_wait) = {
            let mut stats = engine.polling.lock_stats();
            (stats.mean_latency(now), stats.longest_wait(now))
        };
        let wait = longest_wait.max(engine.polling.oldest_wait(now));
        let polls = engine.polling.limiter.snapshot();
        Health {
            sessions: engine.sessions.len(),
            attempts: engine.login.attempts.len(),
            effective_interval: engine.config.poll_interval + wait,
            logouts_pending: engine.logouts.pending(),
            pushes_left: engine.login.push_budget.left(engine.now()),
            breaker_open: engine.polling.breaker.is_open(),
            poll_latency,
            polls_in_flight: polls.in_flight,
            max_polls_in_flight: polls.limit,
            capacity: engine.config.capacity(polls.reachable, poll_latency),
        }
    }

    /// Resets this month's [`push_budget`](crate::ActiveconnectBuilder::push_budget) for unknown
    /// browsers.
    pub fn reset_push_budget(&self) {
        self.engine().login.push_budget.reset();
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
    /// The events from now on. The engine never waits for a reader: one that is more than 1,024
    /// events behind gets [`EventKind::Lagged`](crate::events::EventKind::Lagged) with the number of lost
    /// events.
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
        let context = &self.engine().shared;
        Events {
            stream: BroadcastStream::new(context.events.subscribe()),
            clock: context.clock.clone(),
        }
    }
}

impl fmt::Debug for Activeconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activeconnect").finish_non_exhaustive()
    }
}

/// Aborts the remaining tasks.
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
