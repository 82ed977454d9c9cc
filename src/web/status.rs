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
    let context = RequestContext::refreshed(ac, &parts).await;
    if context.is_browser_with_bearer_attempt() {
        return problem_response(StatusCode::FORBIDDEN, "Browsers cannot use this attempt secret.");
    }
    if let Some(claimed) = context.claim() {
        if claimed.deliver_in_body {
            let status = status_str(&claimed.session);
            return json(&[("status", status), ("credential", &claimed.credential.expose())]);
        }
        return context.set_session_cookies(
            &parts,
            session_status(context.engine(), &claimed.session),
            &claimed,
        );
    }
    match context.status_source() {
        // The session of an ended attempt is not reported to a client without its credential.
        StatusSource::Attempt(attempt) if attempt.is_over(context.engine().now()) => {
            status_json("timeout")
        }
        StatusSource::Attempt(_) => status_json("pending"),
        StatusSource::Session(session) => session_status(context.engine(), &session),
        StatusSource::Nothing => status_json("none"),
    }
}

/// The status, the owner and the warning of a session, for the client that has its credential.
fn session_status(engine: &Engine, session: &Session) -> Response {
    let owner = session.owner_id().to_string();
    let mut fields = vec![("status", status_str(session)), ("owner", &*owner)];
    if engine.warns_of_unknown_browser(session) {
        fields.push(("warning", "unknown-browser"));
    }
    json(&fields)
}
