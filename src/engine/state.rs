//! The engine's state, and what all of its parts ask of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::client::{Client, ClientError};
use crate::clock::{Clock, Timestamp, millis};
use crate::engine::config::Config;
use crate::engine::logouts::{LogoutPriority, Logouts};
use crate::engine::route_placement::RoutePlacement;
use crate::engine::tasks::Tasks;
use crate::enrollment::grants::Grants;
#[cfg(feature = "axum")]
use crate::enrollment::pending_registrations::PendingRegistrations;
use crate::enrollment::sms_rate_limiter::SmsRateLimiter;
use crate::events::event::EndReason;
use crate::events::event::Event;
use crate::events::event::EventKind;
use crate::events::event::EventSender;
use crate::events::event::Limit;
use crate::events::fault::Faults;
use crate::events::warning_limiter::WarningLimiter;
use crate::identity::{UserId, UserToken};
use crate::login::attempts::Attempts;
use crate::login::browser_epochs::BrowserEpochs;
use crate::login::browser_proofs::BrowserProofs;
use crate::login::device::Devices;
use crate::login::login_limits::LoginRateLimiter;
use crate::login::method_sets::RequiredMethodSets;
use crate::login::push_budget::PushBudget;
use crate::login::unknown_browsers::SeenWarnings;
use crate::polling::circuit_breaker::{CircuitBreaker, Transition};
use crate::polling::concurrency_limiter::ConcurrencyLimiter;
use crate::polling::poll_stats::PollStats;
use crate::polling::schedule::Schedule;
use crate::polling::token_checks::TokenChecks;
use crate::polling::upstream_health::UpstreamHealth;
use crate::runtime::{self, NoResult};
use crate::session::idle_state::Phase;
use crate::session::key_ring::KeyRing;
use crate::session::live::Session;
use crate::session::live::SessionWatcher;
use crate::session::live::{SessionContext, SessionOwner};
use crate::session::notify::Watcher;
use crate::session::notify::{Notifies, WakerList};
use crate::session::registry::SessionRegistry;
use crate::session::session_id::SessionId;
use crate::store::{DynTokenStore, StoreError};
use crate::verdict::{Verdict, VerdictLimits};

/// How long a logout that was asked for waits for the service's answer.
pub(super) const LOGOUT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the token store may take to name the token of a user whose sessions are asked for.
pub(super) const TOKEN_LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a shutdown waits for the service.
pub(super) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the first request after a pause waits for the shared poll.
pub(super) const WAKE_TIMEOUT: Duration = Duration::from_millis(3_500);

/// What the handles share with the engine's own tasks.
pub(crate) struct Engine {
    pub(crate) client: Client,
    pub(crate) store: DynTokenStore,
    pub(crate) config: Config,
    pub(crate) shared: Arc<SessionContext>,
    pub(crate) sessions: SessionRegistry,
    pub(crate) attempts: Attempts,
    pub(super) devices: Devices,
    pub(crate) upstream_health: UpstreamHealth,
    pub(super) breaker: CircuitBreaker,
    pub(super) poll_limiter: Arc<ConcurrencyLimiter>,
    pub(super) poll_stats: Mutex<PollStats>,
    /// When the poll became due that waits first in line; `u64::MAX` if none waits.
    pub(super) oldest_queued_poll_ms: AtomicU64,
    pub(super) logouts: Logouts,
    /// A poll has ended: it may be another's turn.
    pub(super) poll_slot_freed: Notify,
    pub(super) token_checks: TokenChecks,
    pub(super) sms_limiter: Mutex<SmsRateLimiter>,
    pub(super) login_limiter: Mutex<LoginRateLimiter>,
    pub(crate) browser_proofs: BrowserProofs,
    pub(super) browser_epochs: BrowserEpochs,
    pub(super) push_budget: PushBudget,
    pub(super) seen_warnings: SeenWarnings,
    pub(super) warned_missing_client_ip: AtomicBool,
    pub(super) warned_lost_cookie: AtomicBool,
    /// Errors about login pages that the gate itself turns away.
    pub(super) gated_login_warnings: WarningLimiter,
    pub(super) unread_cookie_warnings: WarningLimiter,
    pub(super) warned_missing_runtime: AtomicBool,
    pub(super) limit_warnings: [WarningLimiter; Limit::ALL],
    pub(super) faults: Faults,
    pub(crate) route_placement: RoutePlacement,
    pub(super) grants: Grants,
    /// Pages that wait for a phone to register.
    #[cfg(feature = "axum")]
    pub(crate) registrations: PendingRegistrations,
    pub(crate) key_ring: Arc<KeyRing>,
    /// What its layers require.
    pub(crate) required_method_sets: RequiredMethodSets,
    /// No login begins any more.
    pub(super) shutting_down: AtomicBool,
    /// Those who wait for the engine to be stopped.
    pub(super) stop_watchers: WakerList,
    pub(super) tasks: Tasks,
}

/// Where a logout took effect. It always does here, at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogoutOutcome {
    /// Here and at the service.
    Confirmed,
    /// Here; the service has not confirmed yet. It is asked five times more, in a quarter of an
    /// hour as a rule, while [`Health::logouts_pending`](crate::events::Health::logouts_pending) counts it; the session ends there by its own expiry
    /// at the latest.
    LocalOnly,
}

impl Notifies for Arc<Engine> {
    fn watchers(&self) -> &WakerList {
        &self.stop_watchers
    }
}

impl SessionOwner for Engine {
    fn end_session(self: Arc<Self>, session: &Arc<Session>, reason: EndReason) {
        Engine::end_session(&self, session, reason);
    }
}

impl Engine {
    pub(super) fn new(
        client: Client,
        store: DynTokenStore,
        config: Config,
        runtime: Handle,
    ) -> Self {
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
            owner: OnceLock::new(),
        };
        let browser_proofs = BrowserProofs::new(client.application_secret());
        let max_polls_in_flight = config.max_polls_in_flight(client.max_calls());
        Self {
            client,
            store,
            shared: Arc::new(upkeep),
            sessions: SessionRegistry::new(),
            attempts: Attempts::new(),
            devices: Devices::default(),
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

    pub(super) fn logins(&self) -> MutexGuard<'_, LoginRateLimiter> {
        self.login_limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many polls may be in flight: as many as may be sent in the time that one may take, and
    /// as the client can carry.
    pub(super) fn max_polls_in_flight(&self) -> usize {
        self.config.max_polls_in_flight(self.client.max_calls())
    }

    pub(super) fn poll_stats(&self) -> MutexGuard<'_, PollStats> {
        self.poll_stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn messages(&self) -> MutexGuard<'_, SmsRateLimiter> {
        self.sms_limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all tasks, and here every session, so that no task waits for news that will not come.
    pub(super) fn stop(&self) {
        self.refuse_logins();
        self.tasks.stop();
        self.end_all_locally();
        self.shared.events.close();
    }

    /// Begins no login from now on, and tells those who wait for the engine to be stopped.
    pub(super) fn refuse_logins(&self) {
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

    pub(super) fn end_all_locally(&self) {
        for session in self.sessions.all() {
            session.end(EndReason::Shutdown);
        }
    }

    /// Asks the token store for the user's token, for no longer than 5 s.
    pub(super) async fn find_token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        self.call_store(|| {
            let (store, user) = (self.store.clone(), user.clone());
            async move { store.token(&user).await }
        })
        .await
    }

    /// Waits for what the token store is asked, for no longer than 5 s.
    pub(super) async fn call_store<T: Send + 'static, F>(
        &self,
        ask: impl Fn() -> F,
    ) -> Result<T, StoreError>
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
        answer.unwrap_or_else(|| Err(StoreError::timed_out()))
    }

    /// The limit that keeps this user from one more session.
    /// `instead` is the one that would end for it.
    pub(super) fn session_limit_for(
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
    pub(super) fn report_limit(&self, limit: Limit) {
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
                 that of the type that ActiveconnectBuilder::trust_unix_peer was given"
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
                 machine's; serve https, or for development set ActiveconnectBuilder::insecure_cookie_name"
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
    pub(super) fn warn_missing_runtime(&self) {
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
    pub(super) fn report_breaker_transition(
        &self,
        transition: Option<Transition>,
        error: Option<&ClientError>,
    ) {
        let error = error.map(tracing::field::debug);
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
    pub(super) fn send_event(&self, kind: EventKind) {
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
