//! The engine: sessions and what is known of them, the poller, login attempts, enrollment.

mod active;
mod activity;
mod attempts;
mod backoff;
#[cfg(feature = "emulator")]
mod bench;
mod browser_epochs;
mod budget;
mod builder;
mod check;
mod circuit_breaker;
mod client_details;
mod concurrency_limiter;
mod cookie_names;
mod end_all_sessions;
mod end_session;
mod enrollment;
mod events;
mod faults;
mod grants;
mod hold;
mod key_ring;
mod known_browser;
mod login_limits;
mod logouts;
#[cfg(test)]
pub(crate) mod model_tests;
mod outcome;
#[cfg(test)]
mod outcome_tests;
mod owner_id;
mod passage;
#[cfg(feature = "axum")]
mod pending_registrations;
mod policy;
mod poll_queue;
mod poll_stats;
mod poller;
mod published;
mod push_budget;
mod rate_limiter;
mod record;
mod registration;
mod request_number;
mod required;
mod route_placement;
mod schedule;
mod session;
mod session_id;
mod session_info;
mod sessions;
mod settings;
mod site_origins;
mod tasks;
mod token_checks;
mod trusted_proxies;
mod unknown_browsers;
#[cfg(test)]
pub(crate) mod unrest;
mod upgrade;
mod upstream_health;
mod username;
mod warning_limiter;
mod watchers;
#[cfg(test)]
mod watchers_tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use http::request::Parts;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use self::attempts::Attempts;
use self::browser_epochs::BrowserEpochs;
use self::circuit_breaker::{CircuitBreaker, Transition};
use self::concurrency_limiter::ConcurrencyLimiter;
use self::events::News;
use self::faults::Faults;
use self::grants::Grants;
use self::known_browser::KnownBrowsers;
use self::login_limits::LoginRateLimiter;
use self::logouts::{LogoutPriority, Logouts};
#[cfg(feature = "axum")]
use self::pending_registrations::PendingRegistrations;
use self::poll_stats::PollStats;
use self::push_budget::PushBudget;
use self::registration::MessageBudgets;
use self::required::Required;
use self::route_placement::RoutePlacement;
use self::schedule::Schedule;
use self::session::Upkeep;
use self::sessions::Sessions;
use self::tasks::Tasks;
use self::token_checks::TokenChecks;
use self::unknown_browsers::SeenWarnings;
use self::upstream_health::UpstreamHealth;
use self::warning_limiter::WarningLimiter;
use crate::client::{Client, ClientError, Credentials};
use crate::clock::{Clock, Stamp, millis};
use crate::identity::{SessionCredential, UserId, UserToken};
use crate::runtime::{self, NoResult};
use crate::store::{DynTokenStore, StoreError, StoreErrorKind};
use crate::verdict::{Limits, Verdict};

pub(crate) use active::GuardReading;
pub use active::{ActiveSession, SessionGuard};
pub(crate) use activity::Phase;
pub use attempts::LogInError;
pub(crate) use attempts::{Attempt, BeginError, ClaimedSession, KnownAs, NamedAttempt, Start, Who};
pub use budget::Rate;
pub(crate) use builder::is_plain_path;
pub use builder::{BuildError, Builder};
pub use check::{ClockFinding, RoutesFinding, ServiceFinding, SetupReport, TokenStoreFinding};
pub(crate) use client_details::ClientDetails;
#[cfg(feature = "axum")]
pub(crate) use cookie_names::REGISTRATION;
pub(crate) use cookie_names::{ATTEMPT, CookieNames, KNOWN};
pub use end_all_sessions::EndAllSessions;
pub use end_session::EndSessionError;
pub use enrollment::{EnrollNewError, EnrollmentError};
pub use events::{EndReason, Event, EventKind, Events, Health, Limit};
pub use faults::Fault;
pub use grants::EnrollmentGrant;
pub(crate) use key_ring::{CredentialKind, KeyRing};
pub(crate) use known_browser::KNOWN_FOR;
#[cfg(test)]
pub(crate) use known_browser::{BrowserId, BrowserProof};
pub(crate) use login_limits::Initiator;
pub use login_limits::LoginLimits;
pub use owner_id::OwnerId;
pub(crate) use passage::Passage;
#[cfg(feature = "axum")]
pub(crate) use pending_registrations::{PAGE_WAITS_FOR, RegistrationProgress};
pub use policy::Walkaway;
pub(crate) use policy::{Policy, Reaction};
pub(crate) use published::Word;
pub use registration::{MakeRegistrationLink, RegistrationLink, SendRegistrationSms, VouchedBy};
pub(crate) use request_number::RequestNumber;
pub(crate) use route_placement::SeenRoutes;
pub(crate) use session::{Arrival, Session, SessionWatch};
pub use session_id::{InvalidSessionId, SessionId};
pub use session_info::SessionInfo;
pub(crate) use settings::Settings;
pub(crate) use site_origins::SiteOrigins;
pub use trusted_proxies::ForwardedHeader;
pub(crate) use trusted_proxies::TrustedProxies;
pub(crate) use upgrade::{Upgrade, Upgrades};
#[cfg(test)]
pub(crate) use username::UsernameNormalizer;
pub(crate) use username::trim_username;
pub(crate) use watchers::Watch;
use watchers::{Watched, Watchers};

/// How long a logout that was asked for waits for the service's answer.
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the token store may take to name the token of a user whose sessions are asked for.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a shutdown waits for the service.
const FAREWELL: Duration = Duration::from_secs(5);
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
    inner: Arc<Inner>,
}

struct Inner {
    running: Arc<Running>,
    resolver: Option<Box<Resolver>>,
}

/// Names the user of a request, beside another login.
type Resolver = dyn Fn(&Parts) -> Option<UserId> + Send + Sync;

/// Ends the engine's tasks with the last handle. The tasks hold the engine, never this.
struct Running(Arc<Engine>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What the handles share with the engine's own tasks.
pub(crate) struct Engine {
    pub(crate) client: Client,
    pub(crate) store: DynTokenStore,
    pub(crate) settings: Settings,
    pub(crate) upkeep: Arc<Upkeep>,
    pub(crate) sessions: Sessions,
    pub(crate) attempts: Attempts,
    upstream_health: UpstreamHealth,
    breaker: CircuitBreaker,
    poll_limiter: Arc<ConcurrencyLimiter>,
    poll_stats: Mutex<PollStats>,
    /// When the poll became due that waits first in line; `u64::MAX` if none waits.
    oldest_due: AtomicU64,
    logouts: Logouts,
    /// A poll has ended: it may be another's turn.
    poll_slot_freed: Notify,
    token_checks: TokenChecks,
    messages: Mutex<MessageBudgets>,
    logins: Mutex<LoginRateLimiter>,
    pub(crate) known_browsers: KnownBrowsers,
    browser_epochs: BrowserEpochs,
    push_budget: PushBudget,
    seen_warnings: SeenWarnings,
    warned_of_addresses: AtomicBool,
    warned_of_lost_cookie: AtomicBool,
    /// Errors about login pages that the gate itself turns away.
    gated_login: WarningLimiter,
    unread_cookies: WarningLimiter,
    warned_of_runtime: AtomicBool,
    limits_told: [WarningLimiter; Limit::ALL],
    faults: Faults,
    pub(crate) route_placement: RoutePlacement,
    grants: Grants,
    /// Pages that wait for a phone to register.
    #[cfg(feature = "axum")]
    pub(crate) registrations: PendingRegistrations,
    pub(crate) key_ring: Arc<KeyRing>,
    /// What its layers require.
    pub(crate) required: Required,
    /// No login begins any more.
    stopped: AtomicBool,
    /// Those who wait for the engine to be stopped.
    stop_watchers: Watchers,
    tasks: Tasks,
}

/// Where a logout took effect. It always does here, at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoggedOut {
    /// Here and at the service.
    Everywhere,
    /// Here; the service has not confirmed yet. It is asked five times more, in a quarter of an
    /// hour as a rule, while [`Health::logouts_pending`] counts it; the session ends there by its own expiry
    /// at the latest.
    HereOnly,
}

impl Activeconnect {
    /// Begins to configure an engine for these credentials.
    pub fn builder(credentials: Credentials) -> Builder {
        Builder::new(credentials)
    }

    fn start(engine: Engine) -> Self {
        let engine = Arc::new(engine);
        engine.upkeep.engine.get_or_init(|| Arc::downgrade(&engine));
        engine.tasks.spawn(poller::run(engine.clone()));
        Self { inner: Arc::new(Inner { running: Arc::new(Running(engine)), resolver: None }) }
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
    pub fn resolve_user(
        &self,
        resolve: impl Fn(&Parts) -> Option<UserId> + Send + Sync + 'static,
    ) -> Self {
        let running = self.inner.running.clone();
        Self { inner: Arc::new(Inner { running, resolver: Some(Box::new(resolve)) }) }
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
    pub async fn log_in(&self, user: &UserId) -> Result<SessionCredential, Arc<LogInError>> {
        let engine = self.engine();
        let begun = engine.begin_attempt(Start {
            who: Who::Known(user.clone()),
            initiator: Initiator::Application,
            mine: None,
            bearer: false,
            client: ClientDetails::default(),
        });
        let named = begun.map_err(|error| match error {
            BeginError::Busy { .. } => LogInError::Busy,
            BeginError::TooMany { retry_after } => LogInError::TooMany(retry_after),
            BeginError::Full { .. } => LogInError::Full(Limit::Attempts),
            BeginError::Stopped | BeginError::NoRuntime => LogInError::Interrupted,
            BeginError::NoRandomness => LogInError::NoRandomness,
        })?;
        let attempt = named.attempt.clone();
        let mut watch = Watch::new(attempt.clone());
        let _cancel = CancelOnDrop { engine, attempt };
        let outcome = watch.until(|attempt| match engine.claim(&named, Some(user)) {
            Some(claimed) => {
                // Its caller has it: no answer is lost on the way.
                claimed.session.mark_presented();
                Some(Ok(claimed.credential))
            }
            None => attempt.failure().map(Err),
        });
        runtime::within(engine.tasks.runtime(), engine.settings.attempt_deadline, outcome)
            .await
            .unwrap_or_else(|| Err(Arc::new(LogInError::TimedOut)))
    }

    /// Ends a session: here at once, then at the service. Waits for the first try there (5 s at
    /// most); the tries go on even if this future is dropped.
    ///
    /// A handler behind the gate that ends the session which let its request in is cut by that, and
    /// its client is told that the session ended. One that has something to say after that calls
    /// [`ActiveSession::log_out`].
    pub async fn log_out(&self, session: &ActiveSession) -> LoggedOut {
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
        let _aborts = Aborts(engine);
        engine.refuse_logins();
        // The attempts first: no result is claimed after, so that all sessions are among those that
        // end here.
        for attempt in engine.attempts.all() {
            engine.cancel_attempt(&attempt);
        }
        engine.end_here();
        let finishing = engine.clone();
        let finish = async move { finishing.tasks.finish(FAREWELL).await };
        // What is left when its runtime is not driven is aborted below.
        runtime::run_on(engine.tasks.runtime(), FAREWELL + ABORT_TIMEOUT, finish).await.ok();
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
        let waiting = now.saturating_sub(engine.oldest_due.load(Ordering::Relaxed));
        let wait = longest_wait.max(Duration::from_millis(waiting));
        let polls = engine.poll_limiter.snapshot();
        Health {
            sessions: engine.sessions.len(),
            attempts: engine.attempts.len(),
            effective_interval: engine.settings.poll_interval + wait,
            logouts_pending: engine.logouts.pending(),
            pushes_left: engine.push_budget.left(engine.now()),
            breaker_open: engine.breaker.is_open(),
            poll_latency,
            polls_in_flight: polls.in_flight,
            max_polls_in_flight: polls.limit,
            capacity: engine.settings.capacity(polls.reachable, poll_latency),
        }
    }

    /// Gives strangers the whole of this month's [`push_budget`](Builder::push_budget) anew.
    pub fn reset_push_budget(&self) {
        self.engine().push_budget.reset();
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.inner.running.0
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
struct Aborts<'a>(&'a Engine);

impl Drop for Aborts<'_> {
    fn drop(&mut self) {
        self.0.tasks.stop();
        self.0.upkeep.news.close();
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

impl Watched for Arc<Engine> {
    fn watchers(&self) -> &Watchers {
        &self.stop_watchers
    }
}

impl Engine {
    fn new(client: Client, store: DynTokenStore, settings: Settings, runtime: Handle) -> Self {
        let key_ring = Arc::new(KeyRing::from_application_secret(client.application_secret()));
        let upkeep = Upkeep {
            clock: settings.clock.clone().unwrap_or_else(Clock::system),
            limits: Limits {
                max_staleness: millis(settings.max_staleness),
                lifetime: millis(settings.session_lifetime()),
            },
            idle_timeout: settings.idle_timeout.map_or(u64::MAX, millis),
            retry_after: settings.retry_after(),
            schedule: Schedule::default(),
            news: News::new(),
            key_ring: key_ring.clone(),
            engine: OnceLock::new(),
        };
        let known_browsers = KnownBrowsers::new(client.application_secret());
        let max_polls_in_flight = settings.max_polls_in_flight(client.max_calls());
        Self {
            client,
            store,
            upkeep: Arc::new(upkeep),
            sessions: Sessions::new(),
            attempts: Attempts::new(),
            upstream_health: UpstreamHealth::new(settings.poll_interval),
            breaker: CircuitBreaker::new(),
            poll_limiter: Arc::new(ConcurrencyLimiter::new(max_polls_in_flight)),
            poll_stats: Mutex::new(PollStats::new(settings.poll_interval)),
            oldest_due: AtomicU64::new(u64::MAX),
            logouts: Logouts::new(settings.max_polls_per_second),
            poll_slot_freed: Notify::new(),
            token_checks: TokenChecks::new(),
            messages: Mutex::new(MessageBudgets::new()),
            logins: Mutex::new(LoginRateLimiter::new(&settings.login_limits)),
            known_browsers,
            browser_epochs: BrowserEpochs::default(),
            push_budget: PushBudget::new(settings.push_budget),
            seen_warnings: SeenWarnings::default(),
            warned_of_addresses: AtomicBool::new(false),
            warned_of_lost_cookie: AtomicBool::new(false),
            gated_login: WarningLimiter::default(),
            unread_cookies: WarningLimiter::default(),
            warned_of_runtime: AtomicBool::new(false),
            limits_told: Default::default(),
            faults: Faults::default(),
            route_placement: RoutePlacement::default(),
            grants: Grants::default(),
            #[cfg(feature = "axum")]
            registrations: PendingRegistrations::new(),
            key_ring,
            required: Required::default(),
            stopped: AtomicBool::new(false),
            stop_watchers: Watchers::default(),
            settings,
            tasks: Tasks::new(runtime),
        }
    }

    fn logins(&self) -> MutexGuard<'_, LoginRateLimiter> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many polls may be in flight: as many as may be sent in the time that one may take, and
    /// as the client can carry.
    fn max_polls_in_flight(&self) -> usize {
        self.settings.max_polls_in_flight(self.client.max_calls())
    }

    fn poll_stats(&self) -> MutexGuard<'_, PollStats> {
        self.poll_stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn messages(&self) -> MutexGuard<'_, MessageBudgets> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all tasks, and here every session, so that no task waits for news that will not come.
    fn stop(&self) {
        self.refuse_logins();
        self.tasks.stop();
        self.end_here();
        self.upkeep.news.close();
    }

    /// Begins no login from now on, and tells those who wait for the engine to be stopped.
    fn refuse_logins(&self) {
        self.stopped.store(true, Ordering::Release);
        self.stop_watchers.wake();
    }

    /// Whether the engine is stopped or shuts down: no attempt or session goes on.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Waits until the engine is stopped.
    ///
    /// Cancel safe: nothing is consumed.
    pub(crate) async fn stops(self: &Arc<Self>) {
        Watch::new(self.clone()).until(|engine| engine.is_stopped().then_some(())).await;
    }

    fn end_here(&self) {
        for session in self.sessions.all() {
            session.end(EndReason::Shutdown);
        }
    }

    /// Asks the token store for the user's token, for no longer than 5 s.
    async fn find_token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        self.ask_store(|| {
            let (store, user) = (self.store.clone(), user.clone());
            async move { store.token(&user).await }
        })
        .await
    }

    /// Waits for what the token store is asked, for no longer than 5 s.
    async fn ask_store<T: Send + 'static, F>(&self, ask: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (runtime, limit) = (self.tasks.runtime(), TOKEN_TIMEOUT);
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
    fn full_for(
        &self,
        user: &UserId,
        token: &UserToken,
        instead: Option<&Arc<Session>>,
    ) -> Option<Limit> {
        let stays = |session: &Arc<Session>| !instead.is_some_and(|old| Arc::ptr_eq(old, session));
        let is_live =
            |session: &&Arc<Session>| session.verdict() != Verdict::Ended && stays(session);
        let sessions = self.sessions.of_user_and_token(user, Some(token));
        if sessions.iter().filter(is_live).count() >= self.settings.max_sessions_per_user {
            return Some(Limit::SessionsPerUser);
        }
        (self.sessions.len() >= self.settings.max_sessions).then_some(Limit::Sessions)
    }

    /// A login is refused. Told once a second: refused clients begin again, and would have other
    /// events missed.
    fn limit_hit(&self, limit: Limit) {
        let limiter = &self.limits_told[limit as usize];
        if let Some(suppressed) = limiter.admit(self.now().mono, Duration::from_secs(1)) {
            tracing::warn!(%limit, suppressed, "a login was refused: a limit is reached");
            self.tell(EventKind::LimitReached(limit));
        }
    }

    /// A login begins, and the application does not say from which address. Warned of once.
    pub(crate) fn without_address(&self) {
        if !self.warned_of_addresses.swap(true, Ordering::Relaxed) {
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
        if !self.warned_of_lost_cookie.swap(true, Ordering::Relaxed) {
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
        if let Some(suppressed) = self.gated_login.admit(self.now().mono, interval) {
            let reason = mistake;
            tracing::error!(page, reason, suppressed, "the layer turns its own login page away");
        }
    }

    /// Logs once that the engine has lost its runtime, and what to do.
    fn without_runtime(&self) {
        if !self.warned_of_runtime.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "the tokio runtime that this engine was built on is shut down: no login starts and \
                 no session is polled; call build() on a runtime that lives as long as the server"
            );
        }
    }

    /// A request has more cookies than are read. Warned of once an hour, as any client can send it.
    pub(crate) fn warn_unread_cookies(&self, reason: &str) {
        let interval = Duration::from_secs(60 * 60);
        if let Some(suppressed) = self.unread_cookies.admit(self.now().mono, interval) {
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
        self.tell(event);
    }

    /// Tells those who listen to events what happened to the engine.
    fn tell(&self, kind: EventKind) {
        self.upkeep.news.tell(|| Event::new(kind, self.now()));
    }

    /// How many watches there are of sessions whose credential a client holds.
    #[cfg(test)]
    pub(crate) fn watches(&self) -> u64 {
        self.sessions.all().iter().map(|session| session.held_open()).sum()
    }

    pub(crate) fn now(&self) -> Stamp {
        self.upkeep.clock.now()
    }

    /// Waits until a session that was not used for a while is known afresh: for one poll that all
    /// requests share, and one look into the token store, at most 3.5 s. While the service is out
    /// it does not wait.
    ///
    /// Cancel safe: the poll goes on.
    pub(crate) async fn wait_until_fresh(self: &Arc<Self>, watch: &mut SessionWatch) {
        let is_fresh = |session: &Arc<Session>| {
            let awake = session.phase() == Phase::Running && !session.is_neglected();
            (awake || session.verdict() == Verdict::Ended).then_some(())
        };
        if is_fresh(watch.get()).is_some() || self.breaker.is_failing(self.now().mono) {
            return;
        }
        // The poll may be back already, and only the token store have failed.
        self.check_token(watch.get());
        // Too late is not an error here: the verdict is then what it is without news.
        tokio::time::timeout(WAKE_TIMEOUT, watch.until(is_fresh)).await.ok();
    }

    /// Ends a session here, and sees to it that it ends at the service.
    pub(crate) fn end_session(self: &Arc<Self>, session: &Arc<Session>, reason: EndReason) {
        if session.end(reason) {
            let priority = match reason {
                EndReason::LoggedOut => LogoutPriority::Prompt,
                _ => LogoutPriority::Background,
            };
            self.end_remotely(session, priority);
        }
    }

    /// Ends a session whose credential no request has carried, as no client seems to have it.
    pub(crate) fn end_unpresented(self: &Arc<Self>, session: &Arc<Session>) {
        if session.end_unpresented() {
            self.end_remotely(session, LogoutPriority::Prompt);
        }
    }

    /// What a session of this engine is called by its user and by administrators.
    pub(crate) fn session_id(&self, session: &Session) -> SessionId {
        self.key_ring.session_id(session.record.token())
    }

    pub(crate) async fn log_out(self: &Arc<Self>, session: &Arc<Session>) -> LoggedOut {
        if !session.end(EndReason::LoggedOut) {
            return LoggedOut::Everywhere;
        }
        let first_try = self.end_remotely(session, LogoutPriority::Prompt);
        match runtime::within(self.tasks.runtime(), LOGOUT_TIMEOUT, first_try).await {
            Some(Ok(true)) => LoggedOut::Everywhere,
            Some(Ok(false) | Err(_)) | None => LoggedOut::HereOnly,
        }
    }
}
