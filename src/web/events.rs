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
    let last = parts.headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default());
    if last.is_some_and(is_final) {
        return stop_reconnecting();
    }
    let context = RequestContext::refreshed(ac, &parts).await;
    let source = context.status_source();
    if last.is_some() && matches!(source, StatusSource::Nothing) {
        return stop_reconnecting();
    }
    let changes = status_stream(context.engine().clone(), source);
    let events = Sse::new(changes).keep_alive(KeepAlive::default());
    // Without this header, proxies such as nginx buffer the response.
    ([("x-accel-buffering", "no")], events).into_response()
}

/// The response to an `EventSource` that has the final status: it reconnects every few seconds after
/// a 200, and stops after a 204.
fn stop_reconnecting() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
