//! `GET status`.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::context::RequestContext;
use super::json::{json, problem_response, status_json};
use super::status_events::{StatusSource, status_str};
use crate::engine::{Activeconnect, Engine, Session};

pub(super) async fn status(State(ac): State<Activeconnect>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let visitor = RequestContext::refreshed(ac, &parts).await;
    if visitor.is_browser_with_bearer_attempt() {
        return problem_response(
            StatusCode::FORBIDDEN,
            "This secret is for clients that are no browsers.",
        );
    }
    if let Some(claimed) = visitor.claim() {
        if claimed.deliver_in_body {
            let status = status_str(&claimed.session);
            return json(&[("status", status), ("credential", &claimed.credential.expose())]);
        }
        return visitor.set_session_cookies(
            &parts,
            session_status(visitor.engine(), &claimed.session),
            &claimed,
        );
    }
    match visitor.status_source() {
        // A session of which the client holds no credential is none of its own.
        StatusSource::Attempt(attempt) if attempt.is_over(visitor.engine().now()) => {
            status_json("timeout")
        }
        StatusSource::Attempt(_) => status_json("pending"),
        StatusSource::Session(session) => session_status(visitor.engine(), &session),
        StatusSource::Nothing => status_json("none"),
    }
}

/// What the status of a session is, which user's, and whether that user is warned: for the one who
/// bears its credential.
fn session_status(engine: &Engine, session: &Session) -> Response {
    let owner = session.owner_id().to_string();
    let mut fields = vec![("status", status_str(session)), ("owner", &*owner)];
    if engine.warns_of_unknown_browser(session) {
        fields.push(("warning", "unknown-browser"));
    }
    json(&fields)
}
