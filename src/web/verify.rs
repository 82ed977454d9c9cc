//! `verify`: says a proxy whether it may pass a request on to a service that is not behind the
//! layer (nginx `auth_request`, Caddy `forward_auth`, Traefik `forwardAuth`).
//!
//! Such proxies hand on what they do not know as an error of their own, so the answer is 200, 401,
//! 403 or 503 whatever else the request asks for; 500 when the user's name cannot be put into a
//! header.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{HeaderName, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::json::problem_response;
use crate::engine::Activeconnect;
use crate::layer::{Authorizer, ClientContext, Decision, is_cross_origin};

/// All but what RFC 3986 calls unreserved.
const USER_HEADER_ESCAPES: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The longest value of the user header, in bytes: nginx keeps the whole head of an answer in a
/// buffer of 4 KiB.
const MAX_USER_HEADER_LEN: usize = 2 * 1024;

pub(super) async fn verify(State(ac): State<Activeconnect>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let settings = &ac.engine().config;
    if is_forwarded_upgrade(&parts)
        && is_cross_origin(&parts.uri, &parts.headers, &settings.origins)
    {
        // The proxy may have removed `Upgrade`, by which the gate would leave the cookie out.
        let detail = "This socket can be opened by pages of this site only.";
        return problem_response(StatusCode::FORBIDDEN, detail);
    }
    let gate = Authorizer::new(ac.clone());
    let mut client = ClientContext::for_program(&parts.method);
    match gate.authorize_and_wait(&parts, &mut client).await {
        Decision::Deny(denial) => gate.deny(denial, &client).map(Body::from),
        Decision::Allow(passage) => match &settings.verify_user_header {
            None => StatusCode::OK.into_response(),
            Some(name) => with_user(name, passage.session().user()),
        },
        Decision::Deferred(_) => unreachable!("decide_now has asked"),
    }
}

/// Whether the client asks the proxy for a socket. Proxies remove `Upgrade`, which is for the next
/// hop only, and ask by GET; what belongs to the handshake besides is left.
fn is_forwarded_upgrade(parts: &Parts) -> bool {
    let headers = &parts.headers;
    parts.method == Method::CONNECT
        || headers.contains_key(UPGRADE)
        || headers.contains_key("sec-websocket-key")
        || headers.contains_key("sec-websocket-version")
        || headers.get("sec-fetch-mode").is_some_and(|mode| mode == "websocket")
        || headers.get("x-forwarded-method").is_some_and(|method| method == "CONNECT")
}

/// Allows, and names the user. A proxy takes an empty value for none, and would then leave in
/// place what the client has sent under the same name.
fn with_user(name: &str, user: &str) -> Response {
    let encoded = utf8_percent_encode(user, USER_HEADER_ESCAPES).to_string();
    let is_usable = (1..=MAX_USER_HEADER_LEN).contains(&encoded.len());
    if let (Ok(name), Ok(value), true) =
        (HeaderName::try_from(name), HeaderValue::try_from(encoded), is_usable)
    {
        return ([(name, value)], StatusCode::OK).into_response();
    }
    tracing::error!("a user's id is empty, or too long for the user header of verify");
    problem_response(StatusCode::INTERNAL_SERVER_ERROR, "The user's id does not fit into a header.")
}
