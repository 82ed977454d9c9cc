//! What the client gets to see of a call that was struck.

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

/// None of the eight, now or ever.
const UNKNOWN_STATUS: &str = "levitating";

impl Fault {
    /// The answer of a fault that keeps the call from the service.
    pub(crate) fn early_response(&self, received: &CapturedRequest) -> Option<Response> {
        let problem =
            |status| ErrorResponse::new(status, "the emulator was told to fail").into_response();
        match self.kind {
            FaultKind::Http { status, retry_after_s } => {
                let mut answer = problem(status);
                if let Some(seconds) = retry_after_s {
                    answer.headers_mut().insert(RETRY_AFTER, seconds.into());
                }
                Some(answer)
            }
            FaultKind::Redirect => {
                let location = received.foreign_url(received.path_and_query());
                Some(([(LOCATION, location)], problem(StatusCode::FOUND)).into_response())
            }
            _ => None,
        }
    }

    /// Turns the answer into what arrives of it, and when.
    pub(crate) async fn apply(self, answer: Response, received: &CapturedRequest) -> Response {
        tokio::time::sleep(self.delay).await;
        match self.kind {
            FaultKind::Http { .. } | FaultKind::Redirect | FaultKind::Delay => answer,
            // Until the client goes: its request is dropped then.
            FaultKind::Hang => pending().await,
            FaultKind::Reset => reset(),
            FaultKind::Truncate => truncate(answer).await,
            FaultKind::Garbage => {
                ([(CONTENT_TYPE, "application/json")], "<!doctype html><title>no JSON</title>")
                    .into_response()
            }
            FaultKind::Oversize => endless(answer),
            FaultKind::UnknownStatus => {
                rewrite(answer, "session_status", |_| UNKNOWN_STATUS.to_owned()).await
            }
            FaultKind::ForeignUrls => {
                let foreign = |url: &str| {
                    received.foreign_url(url.strip_prefix(&received.own_url("")).unwrap_or("/"))
                };
                let answer = rewrite(answer, "status_url", foreign).await;
                rewrite(answer, "logout_url", foreign).await
            }
        }
    }
}

fn connection_lost() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// A body that fails before its first byte ends the connection before the head was sent: hyper
/// sends the head along with what the body has at once.
fn reset() -> Response {
    Body::from_stream(stream::once(ready(Err::<Bytes, _>(connection_lost())))).into_response()
}

async fn truncate(answer: Response) -> Response {
    let (mut parts, body) = collect(answer).await;
    parts.headers.insert(CONTENT_LENGTH, body.len().into());
    let half = body.slice(..body.len() / 2);
    let end = async {
        // What was buffered is sent whenever the body has to be waited for; an error throws it away.
        tokio::task::yield_now().await;
        Err(connection_lost())
    };
    let body = stream::once(ready(Ok(half))).chain(stream::once(end));
    Response::from_parts(parts, Body::from_stream(body))
}

fn endless(answer: Response) -> Response {
    let (parts, body) = answer.into_parts();
    let spaces = stream::repeat(Bytes::from_static(&[b' '; 16 * 1024])).map(Ok);
    Response::from_parts(parts, Body::from_stream(body.into_data_stream().chain(spaces)))
}

/// Changes a text of a JSON answer, in whichever of the two shapes it stands.
async fn rewrite(answer: Response, name: &str, new: impl Fn(&str) -> String) -> Response {
    let (parts, body) = collect(answer).await;
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

/// The answers of the service are made of one piece: reading them cannot fail.
async fn collect(answer: Response) -> (axum::http::response::Parts, Bytes) {
    let (parts, body) = answer.into_parts();
    (parts, to_bytes(body, usize::MAX).await.unwrap_or_default())
}
