//! The engine: sessions and what is known of them, the poller, login attempts, enrollment.

mod active_session;
mod attempt_state;
#[cfg(test)]
mod attempt_state_tests;
mod attempt_task;
mod attempts;
#[cfg(feature = "axum")]
mod await_registration;
mod backoff;
#[cfg(feature = "__bench")]
mod bench;
mod browser_epochs;
mod browser_proofs;
mod builder;
mod check;
mod check_token;
mod circuit_breaker;
mod client_details;
mod concurrency_limiter;
mod config;
mod cookie_names;
mod device;
mod device_lock;
mod end_all_sessions;
mod end_session;
mod enrollment;
mod enrollment_error;
mod events;
mod faults;
mod forget_browsers;
mod grants;
mod guard;
mod handle;
mod hold_timer;
mod idle_state;
mod issue_grant;
mod key_ring;
mod login;
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
mod remote_logout;
mod report_faults;
mod request_number;
mod route_placement;
mod schedule;
mod session;
mod session_id;
mod session_info;
mod site_origins;
mod sms_rate_limiter;
mod snapshot;
mod spend_push;
mod state;
mod tasks;
mod token_checks;
mod trusted_proxies;
mod unknown_browsers;
mod upgrade_stats;
mod upstream_health;
mod username;
mod warn_unknown_browsers;
mod warning_limiter;
#[cfg(test)]
pub(crate) mod yield_injection;

pub(crate) use active_session::GuardState;
pub use active_session::{ActiveSession, SessionGuard};
pub use attempts::LoginError;
pub(crate) use attempts::{
    Attempt, AttemptTarget, BrowserToRemember, ClaimedSession, NamedAttempt, StartAttempt,
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
pub use enrollment_error::{EnrollNewError, EnrollmentError};
pub use events::{EndReason, Event, EventKind, Events, Health, Limit};
pub use faults::Fault;
pub use grants::EnrollmentGrant;
pub(crate) use guard::StreamGuard;
pub use handle::Activeconnect;
pub(crate) use idle_state::Phase;
pub(crate) use key_ring::{CredentialKind, KeyRing};
pub(crate) use login::StartError;
pub(crate) use login_limits::Initiator;
pub use login_limits::LoginLimits;
pub(crate) use notify::Watcher;
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
pub(crate) use state::Engine;
pub use state::LogoutOutcome;
use state::{LOGOUT_TIMEOUT, SHUTDOWN_TIMEOUT};
pub use trusted_proxies::ForwardedHeader;
pub(crate) use trusted_proxies::TrustedProxies;
pub(crate) use upgrade_stats::{Upgrade, UpgradeStats};
#[cfg(test)]
pub(crate) use username::UsernameNormalizer;
pub(crate) use username::trim_username;
