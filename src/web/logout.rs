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
    let visitor = RequestContext::new(ac, &parts);
    // The answer that carries a session may still be on its way to this browser.
    let claimed = visitor.attempt().and_then(|attempt| visitor.engine().cancel_attempt(attempt));
    let mut logged_out = None;
    for session in claimed.iter().chain(&visitor.credential_session) {
        let here = visitor.engine().log_out(session).await;
        if logged_out != Some(LogoutOutcome::LocalOnly) {
            logged_out = Some(here);
        }
    }
    let mut response = if visitor.is_browser() {
        let paths = visitor.paths();
        let language = visitor.language(&parts);
        let login = visitor.page_address(&paths, "login", &paths.home(), language);
        Redirect::to(&login).into_response()
    } else {
        match logged_out {
            Some(LogoutOutcome::Confirmed) => status_json("closed"),
            // Over here; the service has not said yes, and is asked again.
            Some(LogoutOutcome::LocalOnly) => {
                (StatusCode::ACCEPTED, status_json("closed")).into_response()
            }
            None => status_json("none"),
        }
    };
    let names = &visitor.engine().config.cookie_names;
    response.headers_mut().append(SET_COOKIE, cookies::remove_session(names));
    response.headers_mut().append(SET_COOKIE, cookies::remove_attempt(names));
    response
}
