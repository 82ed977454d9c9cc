//! The Tower layer's service, future and bodies.
//!
//! The gate finds the session that a request names, forwards the request or denies it in the format
//! that the client expects, and guards the response that it forwards.

mod attach_session;
mod authorize;
mod body;
mod buffered_body;
mod cache_control;
mod credential;
mod cross_origin;
#[cfg(feature = "axum")]
mod denial_page;
mod final_response;
mod framing;
mod future;
mod gated_login;
mod grpc;
mod handler_guard;
mod header_scan;
mod html_response;
mod original_uri;
mod peer;
#[cfg(not(feature = "axum"))]
mod plain_denial_page;
mod query;
mod respond;
mod response_format;
mod security_headers;
pub(crate) mod service;
mod site_paths;
mod step_up;
#[cfg(test)]
mod tests;
mod upload;

pub use crate::session::policy::Walkaway;
#[cfg(feature = "axum")]
pub(crate) use authorize::{Authorizer, Decision};
pub use body::{BoxError, GateBody, SessionRevoked};
pub use cache_control::CacheControl;
#[cfg(feature = "axum")]
pub(crate) use credential::{
    RequestCredentials, UNREAD_COOKIES, attempt_from_bearer, has_bearer_session,
    known_browser_cookie, registration_cookie, unread_cookies_detail,
};
#[cfg(feature = "axum")]
pub(crate) use cross_origin::is_cross_origin;
pub use future::ResponseFuture;
#[cfg(feature = "axum")]
pub(crate) use peer::Peer;
#[cfg(feature = "axum")]
pub(crate) use query::MAX_NEXT_LEN;
#[cfg(feature = "axum")]
pub(crate) use response_format::{ClientContext, ResponseFormat};
#[cfg(feature = "axum")]
pub(crate) use security_headers::set_security_headers;
pub use service::ActiveconnectService;
#[cfg(feature = "axum")]
pub(crate) use site_paths::SitePaths;
#[cfg(feature = "axum")]
pub(crate) use step_up::confirm_url;
pub use upload::{UploadBody, UploadGuard, UploadGuardLayer};
