//! `POST logout`.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Redirect, Response};

use super::context::RequestContext;
use super::cookies;
use super::json::status_json;
use crate::engine::{Activeconnect, LogoutOutcome};

pub(super) async fn logout(State(ac): State<Activeconnect>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let context = RequestContext::new(ac, &parts);
    // The response that delivers a session may not have reached the browser yet.
    let claimed = context.attempt().and_then(|attempt| context.engine().cancel_attempt(attempt));
    let mut logged_out = None;
    for session in claimed.iter().chain(&context.credential_session) {
        let outcome = context.engine().log_out(session).await;
        if logged_out != Some(LogoutOutcome::LocalOnly) {
            logged_out = Some(outcome);
        }
    }
    let mut response = if context.is_browser() {
        let paths = context.paths();
        let language = context.language(&parts);
        let login = context.page_address(&paths, "login", &paths.home(), language);
        Redirect::to(&login).into_response()
    } else {
        match logged_out {
            Some(LogoutOutcome::Confirmed) => status_json("closed"),
            // Ended here; the engine retries the logout at the service.
            Some(LogoutOutcome::LocalOnly) => {
                (StatusCode::ACCEPTED, status_json("closed")).into_response()
            }
            None => status_json("none"),
        }
    };
    let names = &context.engine().config.cookie_names;
    response.headers_mut().append(SET_COOKIE, cookies::remove_session(names));
    response.headers_mut().append(SET_COOKIE, cookies::remove_attempt(names));
    response
}
