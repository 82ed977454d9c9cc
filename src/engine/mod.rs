//! The engine: sessions and what is known of them, the poller, login attempts, enrollment.

mod active_session;
mod attempt_state;
#[cfg(test)]
mod attempt_state_tests;
mod attempts;
mod backoff;
#[cfg(feature = "__bench")]
mod bench;
mod browser_epochs;
mod browser_proofs;
mod builder;
mod check;
mod circuit_breaker;
mod client_details;
mod concurrency_limiter;
mod config;
mod cookie_names;
mod end_all_sessions;
mod end_session;
mod enrollment;
mod events;
mod faults;
mod grants;
mod guard;
mod hold_timer;
mod idle_state;
mod key_ring;
mod login_limits;
mod logouts;
mod method_sets;
#[cfg(test)]
pub(crate) mod model_tests;
mod notify;
#[cfg(test)]
mod notify_tests;
mod owner_id;
#[cfg(feature = "axum")]
mod pending_registrations;
mod policy;
mod poll_queue;
mod poll_stats;
mod poller;
mod push_budget;
mod rate_limiter;
mod rate_window;
mod record;
mod registration;
mod registry;
mod request_number;
mod route_placement;
mod schedule;
mod session;
mod session_id;
mod session_info;
mod site_origins;
mod snapshot;
mod tasks;
mod token_checks;
mod trusted_proxies;
mod unknown_browsers;
mod upgrade_stats;
mod upstream_health;
mod username;
mod warning_limiter;
#[cfg(test)]
pub(crate) mod yield_injection;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use http::request::Parts;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use self::attempts::Attempts;
use self::browser_epochs::BrowserEpochs;
use self::browser_proofs::BrowserProofs;
use self::circuit_breaker::{CircuitBreaker, Transition};
use self::concurrency_limiter::ConcurrencyLimiter;
use self::events::EventSender;
use self::faults::Faults;
use self::grants::Grants;
use self::login_limits::LoginRateLimiter;
use self::logouts::{LogoutPriority, Logouts};
use self::method_sets::RequiredMethodSets;
#[cfg(feature = "axum")]
use self::pending_registrations::PendingRegistrations;
use self::poll_stats::PollStats;
use self::push_budget::PushBudget;
use self::registration::SmsRateLimiter;
use self::registry::SessionRegistry;
use self::route_placement::RoutePlacement;
use self::schedule::Schedule;
use self::session::SessionContext;
use self::tasks::Tasks;
use self::token_checks::TokenChecks;
use self::unknown_browsers::SeenWarnings;
use self::upstream_health::UpstreamHealth;
use self::warning_limiter::WarningLimiter;
use crate::client::{Client, ClientError, Credentials};
use crate::clock::{Clock, Timestamp, millis};
use crate::identity::{SessionCredential, UserId, UserToken};
use crate::runtime::{self, NoResult};
use crate::store::{DynTokenStore, StoreError, StoreErrorKind};
use crate::verdict::{Verdict, VerdictLimits};

pub(crate) use active_session::GuardState;
pub use active_session::{ActiveSession, SessionGuard};
pub use attempts::LoginError;
pub(crate) use attempts::{
    Attempt, AttemptTarget, BrowserToRemember, ClaimedSession, NamedAttempt, StartAttempt,
    StartError,
};
pub(crate) use browser_proofs::PROOF_TTL;
#[cfg(test)]
pub(crate) use browser_proofs::{BrowserId, BrowserProof};
pub(crate) use builder::is_plain_path;
pub use builder::{ActiveconnectBuilder, BuildError};
pub use check::{ClockFinding, RoutesFinding, ServiceFinding, SetupReport, TokenStoreFinding};
pub(crate) use client_details::ClientDetails;
pub(crate) use config::Config;
#[cfg(feature = "axum")]
pub(crate) use cookie_names::REGISTRATION_SUFFIX;
pub(crate) use cookie_names::{ATTEMPT_SUFFIX, CookieNames, KNOWN_BROWSER_SUFFIX};
pub use end_all_sessions::EndAllSessions;
pub use end_session::EndSessionError;
pub use enrollment::{EnrollNewError, EnrollmentError};
pub use events::{EndReason, Event, EventKind, Events, Health, Limit};
pub use faults::Fault;
pub use grants::EnrollmentGrant;
pub(crate) use guard::StreamGuard;
pub(crate) use idle_state::Phase;
pub(crate) use key_ring::{CredentialKind, KeyRing};
pub(crate) use login_limits::Initiator;
pub use login_limits::LoginLimits;
pub(crate) use notify::Watcher;
use notify::{Notifies, WakerList};
pub use owner_id::OwnerId;
#[cfg(feature = "axum")]
pub(crate) use pending_registrations::{PAGE_WAITS_FOR, RegistrationProgress};
pub use policy::Walkaway;
pub(crate) use policy::{Action, Policy};
pub use rate_window::RateLimit;
pub use registration::{
    Authorization, MakeRegistrationLink, RegistrationLink, SendRegistrationSms,
};
pub(crate) use request_number::RequestNumber;
pub(crate) use route_placement::SeenRoutes;
pub(crate) use session::{Arrival, Session, SessionWatcher};
pub use session_id::{InvalidSessionIdError, SessionId};
pub use session_info::SessionInfo;
pub(crate) use site_origins::SiteOrigins;
pub(crate) use snapshot::Snapshot;
pub use trusted_proxies::ForwardedHeader;
pub(crate) use trusted_proxies::TrustedProxies;
pub(crate) use upgrade_stats::{Upgrade, UpgradeStats};
#[cfg(test)]
pub(crate) use username::UsernameNormalizer;
pub(crate) use username::trim_username;

/// How long a logout that was asked for waits for the service's answer.
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the token store may take to name the token of a user whose sessions are asked for.
const TOKEN_LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a shutdown waits for the service.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the tasks that a shutdown aborts may take to end.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the first request after a pause waits for the shared poll.
const WAKE_TIMEOUT: Duration = Duration::from_millis(3_500);

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

/// What the handles share with the engine's own tasks.
pub(crate) struct Engine {
    pub(crate) client: Client,
    pub(crate) store: DynTokenStore,
    pub(crate) config: Config,
    pub(crate) shared: Arc<SessionContext>,
    pub(crate) sessions: SessionRegistry,
    pub(crate) attempts: Attempts,
    upstream_health: UpstreamHealth,
    breaker: CircuitBreaker,
    poll_limiter: Arc<ConcurrencyLimiter>,
    poll_stats: Mutex<PollStats>,
    /// When the poll became due that waits first in line; `u64::MAX` if none waits.
    oldest_queued_poll_ms: AtomicU64,
    logouts: Logouts,
    /// A poll has ended: it may be another's turn.
    poll_slot_freed: Notify,
    token_checks: TokenChecks,
    sms_limiter: Mutex<SmsRateLimiter>,
    login_limiter: Mutex<LoginRateLimiter>,
    pub(crate) browser_proofs: BrowserProofs,
    browser_epochs: BrowserEpochs,
    push_budget: PushBudget,
    seen_warnings: SeenWarnings,
    warned_missing_client_ip: AtomicBool,
    warned_lost_cookie: AtomicBool,
    /// Errors about login pages that the gate itself turns away.
    gated_login_warnings: WarningLimiter,
    unread_cookie_warnings: WarningLimiter,
    warned_missing_runtime: AtomicBool,
    limit_warnings: [WarningLimiter; Limit::ALL],
    faults: Faults,
    pub(crate) route_placement: RoutePlacement,
    grants: Grants,
    /// Pages that wait for a phone to register.
    #[cfg(feature = "axum")]
    pub(crate) registrations: PendingRegistrations,
    pub(crate) key_ring: Arc<KeyRing>,
    /// What its layers require.
    pub(crate) required_method_sets: RequiredMethodSets,
    /// No login begins any more.
    shutting_down: AtomicBool,
    /// Those who wait for the engine to be stopped.
    stop_watchers: WakerList,
    tasks: Tasks,
}

/// Where a logout took effect. It always does here, at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogoutOutcome {
    /// Here and at the service.
    Confirmed,
    /// Here; the service has not confirmed yet. It is asked five times more, in a quarter of an
    /// hour as a rule, while [`Health::logouts_pending`] counts it; the session ends there by its own expiry
    /// at the latest.
    LocalOnly,
}

impl Activeconnect {
    /// Begins to configure an engine for these credentials.
    pub fn builder(credentials: Credentials) -> ActiveconnectBuilder {
        ActiveconnectBuilder::new(credentials)
    }

    fn start(engine: Engine) -> Self {
        let engine = Arc::new(engine);
        engine.shared.engine.get_or_init(|| Arc::downgrade(&engine));
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
    /// let ac = ac.resolve_user(|parts: &Parts| {
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
    pub async fn log_in(&self, user: &UserId) -> Result<SessionCredential, Arc<LoginError>> {
        let engine = self.engine();
        let begun = engine.begin_attempt(StartAttempt {
            target: AttemptTarget::User(user.clone()),
            initiator: Initiator::Application,
            previous_attempt: None,
            bearer: false,
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
            .unwrap_or_else(|| Err(Arc::new(LoginError::TimedOut)))
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
    /// # use tower_activeconnect::{Activeconnect, StoreError, UserId};
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

    /// Gives strangers the whole of this month's [`push_budget`](Builder::push_budget) anew.
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

impl Notifies for Arc<Engine> {
    fn watchers(&self) -> &WakerList {
        &self.stop_watchers
    }
}

impl Engine {
    fn new(client: Client, store: DynTokenStore, config: Config, runtime: Handle) -> Self {
        let key_ring = Arc::new(KeyRing::from_application_secret(client.application_secret()));
        let upkeep = SessionContext {
            clock: config.clock.clone().unwrap_or_else(Clock::system),
            limits: VerdictLimits {
                max_staleness: millis(config.max_staleness),
                lifetime: millis(config.session_lifetime()),
            },
            idle_timeout: config.idle_timeout.map_or(u64::MAX, millis),
            retry_after: config.retry_after(),
            schedule: Schedule::default(),
            events: EventSender::new(),
            key_ring: key_ring.clone(),
            engine: OnceLock::new(),
        };
        let browser_proofs = BrowserProofs::new(client.application_secret());
        let max_polls_in_flight = config.max_polls_in_flight(client.max_calls());
        Self {
            client,
            store,
            shared: Arc::new(upkeep),
            sessions: SessionRegistry::new(),
            attempts: Attempts::new(),
            upstream_health: UpstreamHealth::new(config.poll_interval),
            breaker: CircuitBreaker::new(),
            poll_limiter: Arc::new(ConcurrencyLimiter::new(max_polls_in_flight)),
            poll_stats: Mutex::new(PollStats::new(config.poll_interval)),
            oldest_queued_poll_ms: AtomicU64::new(u64::MAX),
            logouts: Logouts::new(config.max_polls_per_second),
            poll_slot_freed: Notify::new(),
            token_checks: TokenChecks::new(),
            sms_limiter: Mutex::new(SmsRateLimiter::new()),
            login_limiter: Mutex::new(LoginRateLimiter::new(&config.login_limits)),
            browser_proofs,
            browser_epochs: BrowserEpochs::default(),
            push_budget: PushBudget::new(config.push_budget),
            seen_warnings: SeenWarnings::default(),
            warned_missing_client_ip: AtomicBool::new(false),
            warned_lost_cookie: AtomicBool::new(false),
            gated_login_warnings: WarningLimiter::default(),
            unread_cookie_warnings: WarningLimiter::default(),
            warned_missing_runtime: AtomicBool::new(false),
            limit_warnings: Default::default(),
            faults: Faults::default(),
            route_placement: RoutePlacement::default(),
            grants: Grants::default(),
            #[cfg(feature = "axum")]
            registrations: PendingRegistrations::new(),
            key_ring,
            required_method_sets: RequiredMethodSets::default(),
            shutting_down: AtomicBool::new(false),
            stop_watchers: WakerList::default(),
            config,
            tasks: Tasks::new(runtime),
        }
    }

    fn logins(&self) -> MutexGuard<'_, LoginRateLimiter> {
        self.login_limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many polls may be in flight: as many as may be sent in the time that one may take, and
    /// as the client can carry.
    fn max_polls_in_flight(&self) -> usize {
        self.config.max_polls_in_flight(self.client.max_calls())
    }

    fn poll_stats(&self) -> MutexGuard<'_, PollStats> {
        self.poll_stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn messages(&self) -> MutexGuard<'_, SmsRateLimiter> {
        self.sms_limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all tasks, and here every session, so that no task waits for news that will not come.
    fn stop(&self) {
        self.refuse_logins();
        self.tasks.stop();
        self.end_all_locally();
        self.shared.events.close();
    }

    /// Begins no login from now on, and tells those who wait for the engine to be stopped.
    fn refuse_logins(&self) {
        self.shutting_down.store(true, Ordering::Release);
        self.stop_watchers.wake();
    }

    /// Whether the engine is stopped or shuts down: no attempt or session goes on.
    pub(crate) fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Acquire)
    }

    /// Waits until the engine is stopped.
    ///
    /// Cancel safe: nothing is consumed.
    pub(crate) async fn wait_shutdown(self: &Arc<Self>) {
        Watcher::new(self.clone()).wait_for(|engine| engine.is_shutting_down().then_some(())).await;
    }

    fn end_all_locally(&self) {
        for session in self.sessions.all() {
            session.end(EndReason::Shutdown);
        }
    }

    /// Asks the token store for the user's token, for no longer than 5 s.
    async fn find_token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        self.call_store(|| {
            let (store, user) = (self.store.clone(), user.clone());
            async move { store.token(&user).await }
        })
        .await
    }

    /// Waits for what the token store is asked, for no longer than 5 s.
    async fn call_store<T: Send + 'static, F>(&self, ask: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (runtime, limit) = (self.tasks.runtime(), TOKEN_LOOKUP_TIMEOUT);
        let asking = ask();
        // Its timer is the engine's: the caller's runtime may have none.
        let asking = async move { tokio::time::timeout(limit, asking).await.ok() };
        let answer = match runtime::run_on(runtime, limit, asking).await {
            Ok(answer) => answer,
            Err(NoResult::TimedOut) => None,
            // The engine's runtime is gone.
            Err(NoResult::Lost) => runtime::within(runtime, limit, ask()).await,
        };
        answer.unwrap_or_else(|| {
            let error = StoreError::new("the token store did not answer in time");
            Err(error.with_kind(StoreErrorKind::Unavailable))
        })
    }

    /// The limit that keeps this user from one more session.
    /// `instead` is the one that would end for it.
    fn session_limit_for(
        &self,
        user: &UserId,
        token: &UserToken,
        instead: Option<&Arc<Session>>,
    ) -> Option<Limit> {
        let stays = |session: &Arc<Session>| !instead.is_some_and(|old| Arc::ptr_eq(old, session));
        let is_live =
            |session: &&Arc<Session>| session.verdict() != Verdict::Ended && stays(session);
        let sessions = self.sessions.of_user_and_token(user, Some(token));
        if sessions.iter().filter(is_live).count() >= self.config.max_sessions_per_user {
            return Some(Limit::SessionsPerUser);
        }
        (self.sessions.len() >= self.config.max_sessions).then_some(Limit::Sessions)
    }

    /// A login is refused. Told once a second: refused clients begin again, and would have other
    /// events missed.
    fn report_limit(&self, limit: Limit) {
        let limiter = &self.limit_warnings[limit as usize];
        if let Some(suppressed) = limiter.admit(self.now().mono, Duration::from_secs(1)) {
            tracing::warn!(%limit, suppressed, "a login was refused: a limit is reached");
            self.send_event(EventKind::LimitReached(limit));
        }
    }

    /// A login begins, and the application does not say from which address. Warned of once.
    pub(crate) fn warn_missing_client_ip(&self) {
        if !self.warned_missing_client_ip.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "logins are not counted by address; serve the application by \
                 into_make_service_with_connect_info::<SocketAddr>(), or, on a unix socket, by \
                 that of the type that Builder::trust_unix_peer was given"
            );
        }
    }

    /// A browser on plain http has lost the cookie of its login. Warned of once.
    #[cfg(feature = "axum")]
    pub(crate) fn warn_of_lost_cookie(&self) {
        if !self.warned_lost_cookie.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a browser that seems to be on plain http did not bring back the cookie of its \
                 login: browsers take no secure cookie from an http address that is not their own \
                 machine's; serve https, or for development set Builder::insecure_cookie_name"
            );
        }
    }

    /// The gate has turned away a page to which it sends users, so that none of them can log in.
    /// Logged once a minute.
    pub(crate) fn report_gated_login(&self, page: &str, mistake: &str) {
        let interval = Duration::from_secs(60);
        if let Some(suppressed) = self.gated_login_warnings.admit(self.now().mono, interval) {
            let reason = mistake;
            tracing::error!(page, reason, suppressed, "the layer turns its own login page away");
        }
    }

    /// Logs once that the engine has lost its runtime, and what to do.
    fn warn_missing_runtime(&self) {
        if !self.warned_missing_runtime.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "the tokio runtime that this engine was built on is shut down: no login starts and \
                 no session is polled; call build() on a runtime that lives as long as the server"
            );
        }
    }

    /// A request has more cookies than are read. Warned of once an hour, as any client can send it.
    pub(crate) fn warn_unread_cookies(&self, reason: &str) {
        let interval = Duration::from_secs(60 * 60);
        if let Some(suppressed) = self.unread_cookie_warnings.admit(self.now().mono, interval) {
            tracing::warn!(
                reason,
                suppressed,
                "a request without a session has more cookies than are read"
            );
        }
    }

    /// Tells what a call's end did to the breaker.
    fn report_breaker_transition(
        &self,
        transition: Option<Transition>,
        error: Option<&ClientError>,
    ) {
        let error = error.map(tracing::field::display);
        let event = match transition {
            None => return,
            Some(Transition::Failing) => {
                tracing::warn!(error, "a poll of the service failed, the first after a good one");
                EventKind::PollFailed
            }
            Some(Transition::Opened) => {
                tracing::warn!(
                    error,
                    "the service fails, or asks for a pause: it gets one call now and then"
                );
                EventKind::BreakerOpened
            }
            Some(Transition::Closed) => {
                tracing::warn!("the service answers again");
                EventKind::BreakerClosed
            }
        };
        self.send_event(event);
    }

    /// Tells those who listen to events what happened to the engine.
    fn send_event(&self, kind: EventKind) {
        self.shared.events.send(|| Event::new(kind, self.now()));
    }

    /// How many watches there are of sessions whose credential a client holds.
    #[cfg(test)]
    pub(crate) fn owns_session(&self) -> u64 {
        self.sessions.all().iter().map(|session| session.held_open()).sum()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Waits until a session that was not used for a while is known afresh: for one poll that all
    /// requests share, and one look into the token store, at most 3.5 s. While the service is out
    /// it does not wait.
    ///
    /// Cancel safe: the poll goes on.
    pub(crate) async fn wait_until_fresh(self: &Arc<Self>, watch: &mut SessionWatcher) {
        let is_fresh = |session: &Arc<Session>| {
            let awake = session.phase() == Phase::Running && !session.is_stale_unpolled();
            (awake || session.verdict() == Verdict::Ended).then_some(())
        };
        if is_fresh(watch.get()).is_some() || self.breaker.is_failing(self.now().mono) {
            return;
        }
        // The poll may be back already, and only the token store have failed.
        self.check_token(watch.get());
        // Too late is not an error here: the verdict is then what it is without news.
        tokio::time::timeout(WAKE_TIMEOUT, watch.wait_for(is_fresh)).await.ok();
    }

    /// Ends a session here, and sees to it that it ends at the service.
    pub(crate) fn end_session(self: &Arc<Self>, session: &Arc<Session>, reason: EndReason) {
        if session.end(reason) {
            let priority = match reason {
                EndReason::LoggedOut => LogoutPriority::Prompt,
                _ => LogoutPriority::Background,
            };
            self.spawn_remote_logout(session, priority);
        }
    }

    /// Ends a session whose credential no request has carried, as no client seems to have it.
    pub(crate) fn end_unpresented(self: &Arc<Self>, session: &Arc<Session>) {
        if session.end_unpresented() {
            self.spawn_remote_logout(session, LogoutPriority::Prompt);
        }
    }

    /// What a session of this engine is called by its user and by administrators.
    pub(crate) fn session_id(&self, session: &Session) -> SessionId {
        self.key_ring.session_id(session.record.token())
    }

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
}
