//! The control interface. It is unsigned, so it rejects other machines and other sites' pages.

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

/// Rejects pages of other sites in this machine's browser: requests through another host name (DNS
/// rebinding), and unsafe requests of another origin.
async fn local_only(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let rejection = match host(headers) {
        Some(host) if is_loopback(host) => (!request.method().is_safe()
            && !is_same_origin(headers, host))
        .then_some("of another origin"),
        _ => Some("through a Host that is not loopback; use http://127.0.0.1:PORT"),
    };
    match rejection {
        Some(reason) => {
            ErrorResponse::new(StatusCode::FORBIDDEN, format!("control request {reason}"))
                .into_response()
        }
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

/// Whether `Origin` and `Sec-Fetch-Site`, if present, are those of a same-origin request. Scripts
/// outside browsers send neither header; browsers send one with every unsafe request.
fn is_same_origin(headers: &HeaderMap, host: &str) -> bool {
    let all = |name: &str, is_allowed: &dyn Fn(&[u8]) -> bool| {
        headers.get_all(name).iter().all(|value| is_allowed(value.as_bytes()))
    };
    let own = format!("http://{host}");
    all(ORIGIN.as_str(), &|origin| origin.eq_ignore_ascii_case(own.as_bytes()))
        && all("sec-fetch-site", &|site| site == b"same-origin" || site == b"none")
}

async fn state(Extract(server): Extract<Arc<AppState>>) -> Json<StateReport> {
    Json(server.state().report(server.now()))
}

async fn add_fault(Extract(server): Extract<Arc<AppState>>, request: Request) -> AckResult {
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

async fn set_clock(Extract(server): Extract<Arc<AppState>>, request: Request) -> AckResult {
    let ClockUpdate { offset_s } = body(request).await?;
    server.set_clock_offset(offset_s);
    Ok(Json(Ack { status: true }))
}

type AckResult = Result<Json<Ack>, ErrorResponse>;

/// The JSON body of a request; 400 with the reason if it is invalid.
async fn body<T: DeserializeOwned>(request: Request) -> Result<T, ErrorResponse> {
    let request = CapturedRequest::read(request).await?;
    from_json(&request.body)
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
    let labeled = user_id.and_then(|user_id| server.state().set_label(&user_id, label));
    Ok(labeled.map(|()| Json(Ack { status: true })).into_response())
}

async fn act_on_user(
    Extract(server): Extract<Arc<AppState>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ErrorResponse> {
    let action = action(&uri)?;
    let user_id = segment(&uri, 2).ok_or(ControlError::UnknownUser);
    let updated =
        user_id.and_then(|user_id| server.state().act_on_user(&user_id, action, server.now()));
    Ok(done(&headers, updated.map(|status| StatusUpdate { status })))
}

async fn act_on_session(
    Extract(server): Extract<Arc<AppState>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ErrorResponse> {
    let action = action(&uri)?;
    let token = segment(&uri, 2).ok_or(ControlError::UnknownSession);
    let updated =
        token.and_then(|token| server.state().act_on_session(&token, action, server.now()));
    Ok(done(&headers, updated.map(|status| StatusUpdate { status })))
}

fn action(uri: &Uri) -> Result<Action, ErrorResponse> {
    let name = segment(uri, 3).unwrap_or_default();
    name.parse()
        .map_err(|unknown: super::UnknownAction| ErrorResponse::not_found(&unknown.to_string()))
}

/// The response to an action: a redirect to the phone page for a browser, JSON for a script.
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
