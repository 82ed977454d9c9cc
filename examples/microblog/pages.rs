//! The blog's pages and the headers that all of them bear.

use askama::Template;
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{Html, IntoResponse, Response};
use tower_activeconnect::{Secret, UserId};

use crate::database::Post;

#[derive(Template)]
#[template(path = "blog_register.html")]
pub(crate) struct RegisterPage<'a> {
    pub(crate) username: &'a str,
    pub(crate) email: &'a str,
    /// What is wrong with what was typed.
    pub(crate) message: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "blog_registered.html")]
pub(crate) struct RegisteredPage<'a> {
    pub(crate) user: &'a UserId,
    pub(crate) link: &'a str,
    /// SVG, if the link fits into a QR code.
    pub(crate) qr_code: Option<Secret>,
    /// The user has just registered, and is not logged in yet.
    pub(crate) is_new: bool,
}

impl RegisteredPage<'_> {
    /// Whether the link may be one to click on: what the service sends is not taken for a script.
    fn is_web_link(&self) -> bool {
        self.link.starts_with("https://") || self.link.starts_with("http://")
    }
}

#[derive(Template)]
#[template(path = "blog_timeline.html")]
pub(crate) struct TimelinePage<'a> {
    pub(crate) user: &'a UserId,
    pub(crate) posts: &'a [Post],
    pub(crate) draft: &'a str,
    pub(crate) limit: usize,
    /// What is wrong with the draft.
    pub(crate) message: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "blog_refused.html")]
struct RefusedPage<'a> {
    title: &'a str,
    message: &'a str,
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; \
                      base-uri 'none'";

/// Everything here is one user's business: not told to the next site. That no cache keeps it, not
/// even the browser's, is for the gate to say, and for [`show_unkept`] outside of it.
const HEADERS: [(HeaderName, &str); 3] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

pub(crate) fn show(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, HEADERS, Html(html)).into_response(),
        Err(error) => {
            eprintln!("microblog: a page could not be rendered: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A page that no cache keeps.
pub(crate) fn show_unkept(status: StatusCode, page: &impl Template) -> Response {
    ([(CACHE_CONTROL, "no-store")], show(status, page)).into_response()
}

/// For what cannot be put right in a form.
pub(crate) fn refused(status: StatusCode, message: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Refused");
    show(status, &RefusedPage { title, message })
}
