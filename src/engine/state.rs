//! The engine: what its parts share, and how they are put together.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::client::Client;
use crate::clock::{Clock, Millis, Timestamp};
use crate::engine::config::Config;
use crate::engine::logouts::Logouts;
use crate::engine::operator_warnings::OperatorWarnings;
use crate::engine::route_placement::RoutePlacement;
use crate::engine::shutdown::Shutdown;
use crate::engine::tasks::Tasks;
use crate::enrollment::enrollment_state::EnrollmentState;
use crate::events::event::{EndReason, Event, EventKind, EventSender};
use crate::login::login_state::LoginState;
use crate::login::method_sets::RequiredMethodSets;
use crate::polling::polling_state::PollingState;
use crate::polling::schedule::Schedule;
use crate::session::key_ring::KeyRing;
use crate::session::live::{Session, SessionContext};
use crate::session::registry::SessionRegistry;
use crate::session::session_id::SessionId;
use crate::session::walkaway_ends::WalkawayEnds;
use crate::store::DynTokenStore;
use crate::verdict::VerdictLimits;

/// The longest that a shutdown waits for the service.
pub(super) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// What the handles share with the engine's own tasks.
pub(crate) struct Engine {
    pub(crate) client: Client,
    pub(crate) store: DynTokenStore,
    pub(crate) config: Config,
    pub(crate) key_ring: Arc<KeyRing>,
    pub(crate) shared: Arc<SessionContext>,
    pub(crate) sessions: SessionRegistry,
    pub(crate) polling: PollingState,
    pub(crate) login: LoginState,
    pub(crate) enrollment: EnrollmentState,
    pub(super) logouts: Logouts,
    pub(crate) warnings: OperatorWarnings,
    /// The method sets that the engine's layers require.
    pub(crate) required_method_sets: RequiredMethodSets,
    pub(crate) route_placement: RoutePlacement,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(super) tasks: Tasks,
}

impl Engine {
    pub(super) fn new(
        client: Client,
        store: DynTokenStore,
        config: Config,
        runtime: Handle,
    ) -> Self {
        let key_ring = Arc::new(KeyRing::from_application_secret(client.application_secret()));
        let context = SessionContext {
            clock: config.clock.clone().unwrap_or_else(Clock::system),
            limits: VerdictLimits {
                max_staleness: config.max_staleness.into(),
                lifetime: config.session_lifetime().into(),
            },
            idle_timeout: config.idle_timeout.map_or(Millis::MAX, Millis::from),
            retry_after: config.retry_after(),
            schedule: Schedule::default(),
            events: EventSender::new(),
            key_ring: key_ring.clone(),
            walkaway_ends: WalkawayEnds::default(),
        };
        let max_in_flight = config.max_polls_in_flight(client.max_calls());
        let secret = client.application_secret();
        Self {
            key_ring,
            shared: Arc::new(context),
            sessions: SessionRegistry::new(),
            polling: PollingState::new(config.poll_interval, max_in_flight),
            login: LoginState::new(&config.login_limits, config.push_budget, secret),
            enrollment: EnrollmentState::new(),
            logouts: Logouts::new(config.max_polls_per_second),
            warnings: OperatorWarnings::default(),
            required_method_sets: RequiredMethodSets::default(),
            route_placement: RoutePlacement::default(),
            shutdown: Arc::default(),
            tasks: Tasks::new(runtime),
            client,
            store,
            config,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The id of a session of this engine, for its user and for administrators.
    pub(crate) fn session_id(&self, session: &Session) -> SessionId {
        self.key_ring.session_id(session.record.token())
    }

    /// Sends an event of the engine itself.
    pub(super) fn send_event(&self, kind: EventKind) {
        self.shared.events.send(|| Event::new(kind, self.now()));
    }

    /// How many polls may be in flight: as many as may be sent while one is, and as the client can
    /// carry.
    pub(super) fn max_polls_in_flight(&self) -> usize {
        self.config.max_polls_in_flight(self.client.max_calls())
    }

    /// Ends all tasks, and every session in this process, so that no task waits for an event that
    /// cannot come.
    pub(super) fn stop(&self) {
        self.shutdown.start();
        self.tasks.stop();
        self.end_all_locally();
        self.shared.events.close();
    }

    /// Ends every session in this process.
    pub(super) fn end_all_locally(&self) {
        for session in self.sessions.all() {
            session.end(EndReason::Shutdown);
        }
    }

    /// How many watches hold sessions open.
    #[cfg(test)]
    pub(crate) fn open_watches(&self) -> u64 {
        self.sessions.all().iter().map(|session| session.held_open()).sum()
    }
}
