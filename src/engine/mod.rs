//! The engine: puts sessions, polling, logins and enrollment together behind one handle.

mod active_session;
mod attempt_task;
mod await_fresh;
#[cfg(feature = "axum")]
mod await_registration;
#[cfg(feature = "__bench")]
mod bench;
mod build_error;
mod builder;
mod call_token_store;
mod check;
mod check_token;
mod config;
mod config_check;
mod cookie_names;
mod device_lock;
mod end_all_sessions;
mod end_session;
mod enrollment;
mod forget_browsers;
mod handle;
mod issue_grant;
mod login;
mod logouts;
mod operator_warnings;
pub(crate) mod poller;
mod registration;
mod remote_logout;
mod report_faults;
mod route_placement;
mod session_limits;
mod shutdown;
mod site_origins;
mod spend_push;
mod state;
mod tasks;
#[cfg(test)]
mod test_session;
mod trusted_proxies;
mod warn_unknown_browsers;

#[cfg(feature = "axum")]
pub(crate) use crate::enrollment::pending_registrations::{
    REGISTRATION_PAGE_TTL, RegistrationProgress,
};
pub(crate) use crate::events::event::EndReason;
pub(crate) use crate::login::attempt::Attempt;
pub(crate) use crate::login::attempts::NamedAttempt;
pub(crate) use crate::login::browser_proofs::PROOF_TTL;
#[cfg(test)]
pub(crate) use crate::login::browser_proofs::{BrowserId, BrowserProof};
pub(crate) use crate::login::claimed_session::{BrowserToRemember, ClaimedSession};
pub(crate) use crate::login::initiator::Initiator;
pub(crate) use crate::login::start_attempt::{AttemptTarget, StartAttempt};
#[cfg(test)]
pub(crate) use crate::login::username::UsernameNormalizer;
pub(crate) use crate::login::username::trim_username;
pub(crate) use crate::session::client_details::ClientDetails;
pub(crate) use crate::session::guard::StreamGuard;
pub(crate) use crate::session::idle_state::Phase;
pub(crate) use crate::session::key_ring::{CredentialKind, KeyRing};
pub(crate) use crate::session::live::{Arrival, Session, SessionWatcher};
pub(crate) use crate::session::notify::Watcher;
pub(crate) use crate::session::policy::Walkaway;
pub(crate) use crate::session::policy::{Action, Policy};
pub(crate) use crate::session::request_number::RequestNumber;
pub(crate) use crate::session::session_id::SessionId;
pub(crate) use crate::session::session_info::SessionInfo;
pub(crate) use crate::session::snapshot::Snapshot;
pub(crate) use crate::session::upgrade_stats::{Upgrade, UpgradeStats};
pub(crate) use active_session::GuardState;
pub use active_session::{ActiveSession, SessionGuard};
pub use build_error::BuildError;
pub use builder::ActiveconnectBuilder;
pub use check::{ClockFinding, RoutesFinding, ServiceFinding, SetupReport, TokenStoreFinding};
pub(crate) use config::Config;
pub(crate) use config_check::is_plain_path;
#[cfg(feature = "axum")]
pub(crate) use cookie_names::REGISTRATION_SUFFIX;
pub(crate) use cookie_names::{ATTEMPT_SUFFIX, CookieNames, KNOWN_BROWSER_SUFFIX};
pub use end_all_sessions::EndAllSessions;
pub use end_session::EndSessionError;
pub use handle::Activeconnect;
pub(crate) use login::StartError;
pub use registration::{
    Authorization, MakeRegistrationLink, RegistrationLink, SendRegistrationSms,
};
pub use remote_logout::LogoutOutcome;
pub(crate) use route_placement::SeenRoutes;
pub(crate) use site_origins::SiteOrigins;
pub(crate) use state::Engine;
pub use trusted_proxies::ForwardedHeader;
pub(crate) use trusted_proxies::TrustedProxies;
