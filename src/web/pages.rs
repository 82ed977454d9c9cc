//! The plain pages. They work without JavaScript: what waits, reloads.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use crate::identity::UserId;
use crate::layer::protect;
use crate::protocol::{Method, Methods};

#[derive(Template)]
#[template(path = "login.html")]
pub(super) struct LoginPage<'a> {
    pub(super) auth_path: &'a str,
    /// The user whom another login names; nothing is typed then.
    pub(super) user: Option<&'a UserId>,
    pub(super) next: &'a str,
    /// Why the login may fail.
    pub(super) warning: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "confirm.html")]
pub(super) struct ConfirmPage<'a> {
    pub(super) user: &'a str,
    pub(super) methods: Methods,
}

#[derive(Template)]
#[template(path = "waiting.html")]
pub(super) struct WaitingPage<'a> {
    /// Where to start again.
    pub(super) again: &'a str,
    /// What the phone should agree with: which site asked, and when. `None` when it is over.
    pub(super) asked: Option<Asked<'a>>,
}

pub(super) struct Asked<'a> {
    /// The host, as the browser names it.
    pub(super) site: &'a str,
    pub(super) at: String,
}

#[derive(Template)]
#[template(path = "locked.html")]
pub(super) struct LockedPage<'a> {
    pub(super) auth_path: &'a str,
    /// The phone walked away; otherwise nothing is known at the moment.
    pub(super) suspended: bool,
}

#[derive(Template)]
#[template(path = "refused.html")]
pub(super) struct RefusedPage<'a> {
    pub(super) auth_path: &'a str,
    pub(super) title: &'a str,
    pub(super) detail: &'a str,
}

pub(super) fn show(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => {
            let mut response = (status, Html(html)).into_response();
            protect(response.headers_mut());
            response
        }
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
