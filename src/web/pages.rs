//! The plain pages. They work without JavaScript: what waits, reloads. Their only script is one that
//! loads a page anew when a browser shows it as it was left.

use std::sync::LazyLock;

use askama::Template;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::identity::UserId;
use crate::layer::{POLICY, protect};
use crate::protocol::{Method, Methods};

/// A browser may restore a page as it was left, `no-store` or not, though the session is over by
/// now. Loaded by its address and not reloaded, as a page that answered a form would send it again.
pub(super) const LOAD_WHEN_RESTORED: &str = "addEventListener('pageshow', event => \
     event.persisted && location.replace(location.href.split('#')[0]));";

/// The pages' content security policy: the usual one, and that script alone.
static PAGE_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(LOAD_WHEN_RESTORED));
    HeaderValue::try_from(format!("{POLICY}; script-src 'sha256-{hash}'"))
        .unwrap_or(HeaderValue::from_static(POLICY))
});

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
    /// The page itself, for browsers that do not load it again by themselves.
    pub(super) here: &'a str,
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
    /// The page itself, for browsers that do not load it again by themselves.
    pub(super) here: &'a str,
    pub(super) auth_path: &'a str,
    /// The phone walked away; otherwise nothing is known at the moment.
    pub(super) suspended: bool,
}

#[derive(Template)]
#[template(path = "refused.html")]
pub(super) struct RefusedPage<'a> {
    /// Where to log in.
    pub(super) login: &'a str,
    pub(super) title: &'a str,
    pub(super) detail: &'a str,
}

pub(super) fn show(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => {
            let mut response = (status, Html(html)).into_response();
            response.headers_mut().insert(CONTENT_SECURITY_POLICY, PAGE_POLICY.clone());
            protect(response.headers_mut());
            response
        }
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
