//! The Tower layer: it learns which session a request names, lets it through or answers in the
//! format that the client expects, and watches over what it let through.

mod body;
#[cfg(test)]
mod bounds_tests;
mod cache_control;
#[cfg(test)]
mod claim_tests;
mod credential;
mod cross_origin;
mod denial;
mod farewell;
#[cfg(test)]
mod faults_tests;
mod framing;
mod future;
mod gate;
mod gated_login;
mod grpc;
mod headers;
#[cfg(test)]
mod hold_tests;
#[cfg(test)]
mod idle_timeout_tests;
#[cfg(test)]
mod lifetime_tests;
#[cfg(test)]
mod login_tests;
#[cfg(test)]
mod logout_tests;
mod lookup;
#[cfg(test)]
mod model_tests;
mod original_uri;
#[cfg(test)]
mod outage_tests;
#[cfg(test)]
mod passage_tests;
mod peer;
mod response_format;
mod service;
mod site_paths;
#[cfg(test)]
mod stage;
mod step_up;
#[cfg(test)]
mod step_up_tests;
mod upload;
mod whole;
#[cfg(test)]
#[cfg(feature = "axum")]
mod whole_tests;

pub use body::{BoxError, GateBody, SessionEnded};
pub use cache_control::CacheControl;
#[cfg(feature = "axum")]
pub(crate) use credential::{
    Credentials as RequestCredentials, UNREAD_COOKIES, bearer_attempt, has_bearer_session,
    known_browser, registration_page, unread_cookies_detail,
};
#[cfg(feature = "axum")]
pub(crate) use cross_origin::is_cross_origin;
#[cfg(feature = "axum")]
pub(crate) use denial::NEXT_LIMIT;
pub use future::GateFuture;
#[cfg(feature = "axum")]
pub(crate) use gate::{Decision, Gate};
#[cfg(feature = "axum")]
pub(crate) use headers::protect;
#[cfg(feature = "axum")]
pub(crate) use peer::Peer;
#[cfg(feature = "axum")]
pub(crate) use response_format::{ClientContext, ResponseFormat};
pub use service::{ActiveconnectLayer, ActiveconnectService};
#[cfg(feature = "axum")]
pub(crate) use site_paths::SitePaths;
#[cfg(feature = "axum")]
pub(crate) use step_up::confirm_path;
pub use upload::{UploadBody, UploadGuard, UploadGuardLayer};
