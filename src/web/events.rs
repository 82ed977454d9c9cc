//! `GET events`.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};

use super::context::RequestContext;
use super::status_events::{StatusSource, is_final, status_stream};
use crate::engine::Activeconnect;

pub(super) async fn events(State(ac): State<Activeconnect>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let last = parts.headers.get("last-event-id").map(|word| word.to_str().unwrap_or_default());
    if last.is_some_and(is_final) {
        return stop_reconnecting();
    }
    let visitor = RequestContext::refreshed(ac, &parts).await;
    let subject = visitor.status_source();
    if last.is_some() && matches!(subject, StatusSource::Nothing) {
        return stop_reconnecting();
    }
    let changes = status_stream(visitor.engine().clone(), subject);
    let events = Sse::new(changes).keep_alive(KeepAlive::default());
    // Proxies such as nginx hold a response back until a buffer is full, unless it says this.
    ([("x-accel-buffering", "no")], events).into_response()
}

/// To the event stream of a browser that has been told all: after any 200 it would connect again,
/// every few seconds.
fn stop_reconnecting() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
