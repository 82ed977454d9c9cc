//! Requests of other origins that the routes refuse.

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self};
use axum::response::Response;

use super::json::problem_response;
use crate::engine::Activeconnect;
use crate::layer::is_cross_origin;

/// Keeps forms and scripts of other origins from logging a browser in or out.
pub(super) async fn reject_cross_origin_writes(
    State(ac): State<Activeconnect>,
    request: Request,
    next: middleware::Next,
) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !is_read && is_cross_origin_request(&ac, &request) {
        let detail = "Requests that change something must come from this site.";
        return problem_response(StatusCode::FORBIDDEN, detail);
    }
    next.run(request).await
}

/// A page of another origin may lead here, but an image or frame of it would tell it who is logged in:
/// the pages here lead on to others by that.
pub(super) async fn reject_cross_origin_parts(
    State(ac): State<Activeconnect>,
    request: Request,
    next: middleware::Next,
) -> Response {
    let is_part = request.headers().get("sec-fetch-dest").is_some_and(|part| part != "document");
    if is_part && is_cross_origin_request(&ac, &request) {
        return problem_response(
            StatusCode::FORBIDDEN,
            "Pages of other sites can lead here, no more.",
        );
    }
    next.run(request).await
}

/// Who is logged in here is not for pages of other origins to know, nor to keep us busy with.
pub(super) async fn reject_cross_origin(
    State(ac): State<Activeconnect>,
    request: Request,
    next: middleware::Next,
) -> Response {
    if is_cross_origin_request(&ac, &request) {
        return problem_response(
            StatusCode::FORBIDDEN,
            "This can be asked by pages of this site only.",
        );
    }
    next.run(request).await
}

fn is_cross_origin_request(ac: &Activeconnect, request: &Request) -> bool {
    is_cross_origin(request.uri(), request.headers(), &ac.engine().config.origins)
}
