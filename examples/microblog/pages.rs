//! The blog's pages, and the headers of all pages.

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
    /// The error of the input.
    pub(crate) message: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "blog_timeline.html")]
pub(crate) struct TimelinePage<'a> {
    pub(crate) user: &'a UserId,
    /// The user for whom `guard.js` shows the page.
    pub(crate) owner: OwnerId,
    pub(crate) posts: &'a [Post],
    pub(crate) draft: &'a str,
    pub(crate) max_chars: usize,
    /// The error of the draft.
    pub(crate) message: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "blog_error.html")]
struct ErrorPage<'a> {
    title: &'a str,
    message: &'a str,
}

const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; \
                      base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The headers of all pages. The gate adds `Cache-Control`.
const SECURITY_HEADERS: [(HeaderName, &str); 3] = [
    (CONTENT_SECURITY_POLICY, CSP),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// Renders a page.
pub(crate) fn render(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, SECURITY_HEADERS, Html(html)).into_response(),
        Err(error) => {
            eprintln!("microblog: cannot render a page: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// An error page, for errors that a form cannot show.
pub(crate) fn error(status: StatusCode, message: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    render(status, &ErrorPage { title, message })
}
