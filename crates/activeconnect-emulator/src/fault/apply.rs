//! The effect of a fault on the response.

use std::future::{pending, ready};
use std::io;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::Value;

use super::{Fault, FaultKind};
use crate::error_response::ErrorResponse;
use crate::request::CapturedRequest;

/// A status that the service does not have.
const UNKNOWN_STATUS: &str = "levitating";

impl Fault {
    /// The response of a fault that keeps the call from the service.
    pub(crate) fn early_response(&self, request: &CapturedRequest) -> Option<Response> {
        let problem = |status| ErrorResponse::new(status, "an injected fault").into_response();
        match self.kind {
            FaultKind::Http { status, retry_after_s } => {
                let mut response = problem(status);
                if let Some(seconds) = retry_after_s {
                    response.headers_mut().insert(RETRY_AFTER, seconds.into());
                }
                Some(response)
            }
            FaultKind::Redirect => {
                let location = request.foreign_url(request.path_and_query());
                Some(([(LOCATION, location)], problem(StatusCode::FOUND)).into_response())
            }
            _ => None,
        }
    }

    /// Delays and changes the response.
    pub(crate) async fn apply(self, response: Response, request: &CapturedRequest) -> Response {
        tokio::time::sleep(self.delay).await;
        match self.kind {
            FaultKind::Http { .. } | FaultKind::Redirect | FaultKind::Delay => response,
            // When the client disconnects, hyper drops this future.
            FaultKind::Hang => pending().await,
            FaultKind::Reset => reset(),
            FaultKind::Truncate => truncate(response).await,
            FaultKind::Garbage => {
                ([(CONTENT_TYPE, "application/json")], "<!doctype html><title>no JSON</title>")
                    .into_response()
            }
            FaultKind::Oversize => endless(response),
            FaultKind::UnknownStatus => {
                rewrite(response, "session_status", |_| UNKNOWN_STATUS.to_owned()).await
            }
            FaultKind::ForeignUrls => {
                let foreign = |url: &str| {
                    request.foreign_url(url.strip_prefix(&request.own_url("")).unwrap_or("/"))
                };
                let response = rewrite(response, "status_url", foreign).await;
                rewrite(response, "logout_url", foreign).await
            }
        }
    }
}

fn connection_lost() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// A response whose body fails before its first byte. hyper then closes the connection without the
/// head, which it sends together with the first bytes of the body.
fn reset() -> Response {
    Body::from_stream(stream::once(ready(Err::<Bytes, _>(connection_lost())))).into_response()
}

async fn truncate(response: Response) -> Response {
    let (mut parts, body) = collect(response).await;
    parts.headers.insert(CONTENT_LENGTH, body.len().into());
    let half = body.slice(..body.len() / 2);
    let end = async {
        // hyper flushes its buffer when the body is pending, and discards it on an error.
        tokio::task::yield_now().await;
        Err(connection_lost())
    };
    let body = stream::once(ready(Ok(half))).chain(stream::once(end));
    Response::from_parts(parts, Body::from_stream(body))
}

fn endless(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let spaces = stream::repeat(Bytes::from_static(&[b' '; 16 * 1024])).map(Ok);
    Response::from_parts(parts, Body::from_stream(body.into_data_stream().chain(spaces)))
}

/// Changes a string of a JSON response, in both forms of the response.
async fn rewrite(response: Response, name: &str, new: impl Fn(&str) -> String) -> Response {
    let (parts, body) = collect(response).await;
    let Ok(mut json) = serde_json::from_slice::<Value>(&body) else {
        return Response::from_parts(parts, body.into());
    };
    for pointer in [format!("/{name}"), format!("/authentication_status/{name}")] {
        if let Some(Value::String(text)) = json.pointer_mut(&pointer) {
            *text = new(text);
        }
    }
    (parts.status, Json(json)).into_response()
}

/// The parts and the whole body. The bodies of the service are complete, so reading cannot fail.
async fn collect(response: Response) -> (axum::http::response::Parts, Bytes) {
    let (parts, body) = response.into_parts();
    (parts, to_bytes(body, usize::MAX).await.unwrap_or_default())
}
