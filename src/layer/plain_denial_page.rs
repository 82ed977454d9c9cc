//! The page of a rejected request in builds without the templates (feature `axum`).

use bytes::Bytes;
use http::{Response, StatusCode};

use super::credential::unread_cookies_detail;
use super::html_response::html_response;
use super::response_format::ClientContext;
use super::site_paths::SitePaths;
use crate::engine::Config;
use crate::verdict::Denial;

pub(super) fn denial_page(
    denial: Denial,
    status: StatusCode,
    remedy: Option<String>,
    client: &ClientContext,
    _: &SitePaths,
    _: &Config,
) -> Response<Bytes> {
    let text = if denial == Denial::StepUp { "Confirm with your phone" } else { "Log in" };
    let remedy = remedy.map(|address| format!("<p><a href=\"{address}\">{text}</a></p>"));
    let remedy = remedy.unwrap_or_default();
    let unread = client.has_unread_cookies && denial == Denial::NoSession;
    let unread = unread.then(unread_cookies_detail).map(|detail| format!("<p>{detail}</p>"));
    let unread = unread.unwrap_or_default();
    // Nothing in this text comes from the request.
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{status}</title>\
         <h1>{status}</h1><p>This page cannot be shown: {denial}.</p>{unread}{remedy}</html>"
    );
    html_response(status, page)
}

pub(super) fn mistake_page(
    mistake: &str,
    _: &ClientContext,
    _: &SitePaths,
    _: &Config,
) -> Response<Bytes> {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    // The only part that comes from the request is a path that the application has named.
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{status}</title>\
         <h1>{status}</h1><p>{mistake}</p></html>"
    );
    html_response(status, page)
}
