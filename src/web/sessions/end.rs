//! `POST sessions/end`.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::{SessionsQueryResult, SessionsRequest};
use crate::engine::{Activeconnect, EndSessionError, SessionId};
use crate::pages::SessionNotice;
use crate::web::json::problem_response;
use crate::web::login::{is_json, parse_body};

const ALREADY_ENDED_MESSAGE: &str = "That session has already ended.";

/// The body of `POST sessions/end`.
#[derive(Deserialize)]
struct EndSessionForm {
    id: String,
}

/// Ends the session with the `id` of the form or JSON body.
pub(in crate::web) async fn end(
    State(ac): State<Activeconnect>,
    query: SessionsQueryResult,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let authorized = match SessionsRequest::authorize(ac, query, &parts).await {
        Ok(authorized) => authorized,
        Err(denied) => return *denied,
    };
    let wants_json = is_json(&parts.headers);
    let request = Request::from_parts(parts, body);
    let form = tokio::select! {
        biased;
        form = parse_body::<EndSessionForm>(request, wants_json) => form.ok(),
        // A client that never finishes its body does not delay the shutdown.
        () = authorized.engine().shutdown.wait() => None,
    };
    // A malformed id is treated as an unknown one.
    let id = form.and_then(|form| form.id.parse::<SessionId>().ok());
    let ended = match id {
        Some(id) => authorized.ac.end_session(&authorized.user(), &id).await,
        None => Err(EndSessionError::Unknown),
    };
    match ended {
        Ok(logged_out) => authorized.respond(logged_out, SessionNotice::Ended),
        Err(EndSessionError::Unknown) if authorized.is_browser => {
            authorized.redirect_to_list(SessionNotice::AlreadyEnded)
        }
        Err(EndSessionError::Unknown) => {
            problem_response(StatusCode::NOT_FOUND, ALREADY_ENDED_MESSAGE)
        }
        Err(EndSessionError::Store(error)) => authorized.unavailable(&error),
    }
}
