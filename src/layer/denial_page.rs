//! The page of a rejected request, from the templates.

use bytes::Bytes;
use http::header::CONTENT_SECURITY_POLICY;
use http::{HeaderValue, Response, StatusCode};

use super::credential::UNREAD_COOKIES;
use super::html_response::html_response;
use super::response_format::ClientContext;
use super::site_paths::SitePaths;
use crate::engine::Config;
use crate::pages::{PAGE_POLICY, PageError, PageResult, View};
use crate::verdict::Denial;

pub(super) fn denial_page(
    denial: Denial,
    status: StatusCode,
    remedy: Option<String>,
    client: &ClientContext,
    paths: &SitePaths,
    settings: &Config,
) -> Response<Bytes> {
    let unread = client.has_unread_cookies && denial == Denial::NoSession;
    let error = PageError::Denied { denial, unread: unread.then_some(UNREAD_COOKIES) };
    let page = view(client, paths, settings).error(status.as_u16(), error, remedy);
    page_response(status, page)
}

pub(super) fn mistake_page(
    mistake: &str,
    client: &ClientContext,
    paths: &SitePaths,
    settings: &Config,
) -> Response<Bytes> {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    let page = view(client, paths, settings).misconfigured(status.as_u16(), mistake);
    page_response(status, page)
}

/// The pages in the language of the client.
fn view<'a>(client: &ClientContext, paths: &'a SitePaths, settings: &'a Config) -> View<'a> {
    let accept_language = client.accept_language.as_ref();
    let language = accept_language.and_then(|value| value.to_str().ok());
    settings.pages.view(paths, settings.pages.choose_language(None, language))
}

fn page_response(status: StatusCode, page: PageResult) -> Response<Bytes> {
    let page = page.unwrap_or_else(|error| {
        tracing::error!(%error, "a page could not be rendered");
        String::new()
    });
    let mut response = html_response(status, page);
    let policy = HeaderValue::from_static(PAGE_POLICY);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response
}
