//! The control interface: unsigned, so only for this machine and never for another site's page.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State as Extract};
use axum::http::header::{ACCEPT, ORIGIN};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::protocol::messages::from_json;

use super::control_error::ControlError;
use super::error_response::ErrorResponse;
use super::report::StateReport;
use super::request::{CapturedRequest, host, segment};
use super::server::AppState;
use super::{Action, pages};

pub(super) fn routes() -> Router<Arc<AppState>> {
    Router::new()
        .route("/emulator", get(pages::phone))
        .route("/emulator/changes", get(pages::changes))
        .route("/emulator/state", get(state))
        .route("/emulator/faults", post(add_fault).delete(clear_faults))
        .route("/emulator/clock", post(set_clock))
        .route("/emulator/users/{user_id}/register_device", post(register_device))
        .route("/emulator/users/{user_id}/label", post(set_label))
        .route("/emulator/users/{user_id}/{action}", post(act_on_user))
        .route("/emulator/sessions/{session_token}/{action}", post(act_on_session))
        .route_layer(from_fn(local_only))
}

/// Keeps out a page of another site in this machine's browser: one that reaches us through a name
/// of its own (DNS rebinding), and one that posts a form or a script's request to us.
async fn local_only(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let refused = match host(headers) {
        Some(host) if is_loopback(host) => (!request.method().is_safe()
            && !is_same_origin(headers, host))
        .then_some("of another origin"),
        _ => Some("through a Host that is not loopback; use http://127.0.0.1:PORT"),
    };
    match refused {
        Some(why) => ErrorResponse::new(StatusCode::FORBIDDEN, format!("control request {why}"))
            .into_response(),
        None => next.run(request).await,
    }
}

fn is_loopback(host: &str) -> bool {
    let without_port = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
    let name = without_port.map_or(host, |(name, _)| name);
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Scripts send neither header; browsers send at least one with everything that is not a plain
/// load.
fn is_same_origin(headers: &HeaderMap, host: &str) -> bool {
    let all = |name: &str, good: &dyn Fn(&[u8]) -> bool| {
        headers.get_all(name).iter().all(|value| good(value.as_bytes()))
    };
    let own = format!("http://{host}");
    all(ORIGIN.as_str(), &|origin| origin.eq_ignore_ascii_case(own.as_bytes()))
        && all("sec-fetch-site", &|site| site == b"same-origin" || site == b"none")
}

async fn state(Extract(server): Extract<Arc<AppState>>) -> Json<StateReport> {
    Json(server.state().report(server.now()))
}

async fn add_fault(Extract(server): Extract<Arc<AppState>>, request: Request) -> Answer {
    let fault = body(request).await?;
    server.state().faults.add(fault);
    Ok(Json(Ack { status: true }))
}

async fn clear_faults(Extract(server): Extract<Arc<AppState>>) -> Json<Ack> {
    server.state().faults.clear();
    Json(Ack { status: true })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockUpdate {
    offset_s: i64,
}

async fn set_clock(Extract(server): Extract<Arc<AppState>>, request: Request) -> Answer {
    let ClockUpdate { offset_s } = body(request).await?;
    server.set_clock_offset(offset_s);
    Ok(Json(Ack { status: true }))
}

type Answer = Result<Json<Ack>, ErrorResponse>;

/// What a script sent; the 400 says what is wrong with it.
async fn body<T: DeserializeOwned>(request: Request) -> Result<T, ErrorResponse> {
    let received = CapturedRequest::read(request).await?;
    from_json(&received.body)
        .map_err(|error| ErrorResponse::new(StatusCode::BAD_REQUEST, error.to_string()))
}

#[derive(Serialize)]
struct Ack {
    status: bool,
}

#[derive(Serialize)]
struct StatusUpdate {
    status: SessionStatus,
}

async fn register_device(
    Extract(server): Extract<Arc<AppState>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let user_id = segment(&uri, 2).ok_or(ControlError::UnknownUser);
    let registered = user_id.and_then(|user_id| server.state().register_device(&user_id));
    done(&headers, registered.map(|()| Ack { status: true }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelUpdate {
    label: String,
}

async fn set_label(
    Extract(server): Extract<Arc<AppState>>,
    request: Request,
) -> Result<Response, ErrorResponse> {
    let user_id = segment(request.uri(), 2).ok_or(ControlError::UnknownUser);
    let LabelUpdate { label } = body(request).await?;
    let labelled = user_id.and_then(|user_id| server.state().set_label(&user_id, label));
    Ok(labelled.map(|()| Json(Ack { status: true })).into_response())
}

async fn act_on_user(
    Extract(server): Extract<Arc<AppState>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ErrorResponse> {
    let action = action(&uri)?;
    let user_id = segment(&uri, 2).ok_or(ControlError::UnknownUser);
    let moved =
        user_id.and_then(|user_id| server.state().act_on_user(&user_id, action, server.now()));
    Ok(done(&headers, moved.map(|status| StatusUpdate { status })))
}

async fn act_on_session(
    Extract(server): Extract<Arc<AppState>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ErrorResponse> {
    let action = action(&uri)?;
    let token = segment(&uri, 2).ok_or(ControlError::UnknownSession);
    let moved = token.and_then(|token| server.state().act_on_session(&token, action, server.now()));
    Ok(done(&headers, moved.map(|status| StatusUpdate { status })))
}

fn action(uri: &Uri) -> Result<Action, ErrorResponse> {
    let name = segment(uri, 3).unwrap_or_default();
    name.parse()
        .map_err(|unknown: super::UnknownAction| ErrorResponse::not_found(&unknown.to_string()))
}

/// A browser goes back to the phone, which shows what came of it; a script gets it as JSON.
fn done<T: Serialize>(headers: &HeaderMap, outcome: Result<T, ControlError>) -> Response {
    let accepted = headers.get(ACCEPT).and_then(|accepted| accepted.to_str().ok());
    if accepted.is_some_and(|accepted| accepted.contains("text/html")) {
        return Redirect::to("/emulator").into_response();
    }
    outcome.map(Json).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_local() {
        for local in
            ["localhost", "LOCALHOST:80", "127.0.0.1", "127.1.2.3:8099", "[::1]", "[::1]:1"]
        {
            assert!(is_loopback(local), "{local}");
        }
        for foreign in [
            "",
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org:80",
            "10.0.0.1",
            "::1",
            "a@127.0.0.1",
        ] {
            assert!(!is_loopback(foreign), "{foreign}");
        }
    }
}
