//! The answers that are pages, and the files that the pages load.

use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};

use crate::engine::{Activeconnect, Settings};
use crate::layer::protect;
use crate::pages::{LanguageChoice, PAGE_POLICY, PageResult};

/// A file whose name has the hash of its content never changes.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// An image may have styles; should a browser open it as a page, no script of it runs.
const ASSET_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// The language of the person who sent a request.
pub(super) fn language_of(parts: &Parts, settings: &Settings) -> LanguageChoice {
    let accepted = parts.headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    settings.pages.choose_language(parts.uri.query(), accepted)
}

pub(super) fn show(status: StatusCode, page: PageResult) -> Response {
    match page {
        Ok(html) => {
            let policy = [(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY))];
            let mut response = (status, policy, Html(html)).into_response();
            protect(response.headers_mut());
            response
        }
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// `GET assets/{file}`: what the pages load. It is the same for everybody, so that caches may keep
/// it.
pub(super) async fn asset(State(ac): State<Activeconnect>, Path(file): Path<String>) -> Response {
    let Some((asset, is_current)) = ac.engine().settings.pages.asset(&file) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (CONTENT_TYPE, asset.media_type),
        (CACHE_CONTROL, if is_current { IMMUTABLE } else { "no-cache" }),
        (CONTENT_SECURITY_POLICY, ASSET_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    ];
    (headers, asset.content.clone()).into_response()
}
