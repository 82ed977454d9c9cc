//! The blog's pages and the headers that all of them bear.

use askama::Template;
use axum::http::StatusCode;
use axum::http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{Html, IntoResponse, Response};
use tower_activeconnect::UserId;
use tower_activeconnect::session::OwnerId;

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
#[template(path = "blog_timeline.html")]
pub(crate) struct TimelinePage<'a> {
    pub(crate) user: &'a UserId,
    /// For whom `guard.js` shows the page.
    pub(crate) owner: OwnerId,
    pub(crate) posts: &'a [Post],
    pub(crate) draft: &'a str,
    pub(crate) limit: usize,
    /// What is wrong with the draft.
    pub(crate) message: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "blog_refused.html")]
struct ErrorPage<'a> {
    title: &'a str,
    message: &'a str,
}

const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; \
                      base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// Everything here is one user's business: not told to the next site. That no cache keeps it, not
/// even the browser's, is for the gate to say.
const SECURITY_HEADERS: [(HeaderName, &str); 3] = [
    (CONTENT_SECURITY_POLICY, CSP),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

pub(crate) fn show(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, SECURITY_HEADERS, Html(html)).into_response(),
        Err(error) => {
            eprintln!("microblog: a page could not be rendered: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// For what cannot be put right in a form.
pub(crate) fn refused(status: StatusCode, message: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Refused");
    show(status, &ErrorPage { title, message })
}
