//! Responses that are pages, and the assets that the pages load.

use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};

use crate::engine::{Activeconnect, Config};
use crate::layer::set_security_headers;
use crate::pages::{LanguageChoice, PAGE_POLICY, PageResult};

/// For a file whose name contains the hash of its content.
const IMMUTABLE_CACHE_CONTROL: &str = "public, max-age=31536000, immutable";
/// An image may have styles. No script of it runs if a browser opens it as a page.
const ASSET_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// The language of the response to a request.
pub(super) fn language_of(parts: &Parts, settings: &Config) -> LanguageChoice {
    let accepted = parts.headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    settings.pages.choose_language(parts.uri.query(), accepted)
}

/// The response with this page; 500 if the page cannot be rendered.
pub(super) fn render(status: StatusCode, page: PageResult) -> Response {
    match page {
        Ok(html) => {
            let policy = [(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY))];
            let mut response = (status, policy, Html(html)).into_response();
            set_security_headers(response.headers_mut());
            response
        }
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// `GET assets/{file}`: a file that the pages load. It does not depend on the user, so that caches
/// may store it.
pub(super) async fn asset(
    State(ac): State<Activeconnect>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some((asset, is_current)) = ac.engine().config.pages.asset(&file) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let etag = asset.etag();
    let is_cached = matches_etag(&headers, &etag);
    let cache_control = if is_current { IMMUTABLE_CACHE_CONTROL } else { "no-cache" };
    let caching = [(ETAG, etag), (CACHE_CONTROL, cache_control.to_owned())];
    if is_cached {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let headers = [
        (CONTENT_TYPE, asset.media_type),
        (CONTENT_SECURITY_POLICY, ASSET_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    ];
    (caching, headers, asset.content.clone()).into_response()
}

/// Whether `If-None-Match` has this tag (RFC 9110, section 13.1.2).
fn matches_etag(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(IF_NONE_MATCH).into_iter();
    known
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|known| known.trim().trim_start_matches("W/"))
        .any(|known| known == "*" || known == tag)
}
