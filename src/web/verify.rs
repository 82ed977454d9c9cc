//! `verify`: authorizes a proxy's requests to a service that is not behind the layer (nginx
//! `auth_request`, Caddy `forward_auth`, Traefik `forwardAuth`).
//!
//! Such proxies turn an unexpected status into an error of their own, so the response is 200, 401,
//! 403 or 503 whatever the request accepts; 500 if the user's id does not fit into a header.

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

/// All characters but the unreserved ones of RFC 3986.
const USER_HEADER_ESCAPES: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The longest value of the user header, in bytes: nginx buffers the whole head of a response in
/// 4 KiB.
const MAX_USER_HEADER_LEN: usize = 2 * 1024;

pub(super) async fn verify(State(ac): State<Activeconnect>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let settings = &ac.engine().config;
    if is_forwarded_upgrade(&parts)
        && is_cross_origin(&parts.uri, &parts.headers, &settings.origins)
    {
        // The proxy may have removed `Upgrade`, without which the gate accepts the cookie.
        let detail = "Only pages of this site can open this socket.";
        return problem_response(StatusCode::FORBIDDEN, detail);
    }
    let gate = Authorizer::new(ac.clone());
    let mut client = ClientContext::for_program(&parts.method);
    match gate.authorize_and_wait(&parts, &mut client).await {
        Decision::Deny(denial) => gate.deny(denial, &client).map(Body::from),
        Decision::Allow(guard) => match &settings.verify_user_header {
            None => StatusCode::OK.into_response(),
            Some(name) => with_user(name, guard.session().user()),
        },
        Decision::Deferred(_) => unreachable!("authorize_and_wait does not defer"),
    }
}

/// Whether the client's request to the proxy opens a socket. Proxies remove `Upgrade`, a hop-by-hop
/// header, and send GET; the other headers of the handshake remain.
fn is_forwarded_upgrade(parts: &Parts) -> bool {
    let headers = &parts.headers;
    parts.method == Method::CONNECT
        || headers.contains_key(UPGRADE)
        || headers.contains_key("sec-websocket-key")
        || headers.contains_key("sec-websocket-version")
        || headers.get("sec-fetch-mode").is_some_and(|mode| mode == "websocket")
        || headers.get("x-forwarded-method").is_some_and(|method| method == "CONNECT")
}

/// A 200 with the user's id in a header. An empty id is an error: a proxy treats an empty value as
/// absent, and would keep a header of the same name that the client has sent.
fn with_user(name: &str, user: &str) -> Response {
    let encoded = utf8_percent_encode(user, USER_HEADER_ESCAPES).to_string();
    let is_usable = (1..=MAX_USER_HEADER_LEN).contains(&encoded.len());
    if let (Ok(name), Ok(value), true) =
        (HeaderName::try_from(name), HeaderValue::try_from(encoded), is_usable)
    {
        return ([(name, value)], StatusCode::OK).into_response();
    }
    tracing::error!("user id is empty or too long for the verify user header");
    problem_response(StatusCode::INTERNAL_SERVER_ERROR, "The user's id does not fit into a header.")
}
