//! Middleware that rejects requests from other origins.

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::response::Response;

use super::json::problem_response;
use crate::engine::Activeconnect;
use crate::layer::is_cross_origin;

/// Rejects forms and scripts of other origins, which could log a browser in or out.
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

/// Rejects subresources of other origins' pages. A page may link here; an image or a frame would
/// reveal to it whether a user is logged in, because the pages redirect depending on that.
pub(super) async fn reject_cross_origin_subresources(
    State(ac): State<Activeconnect>,
    request: Request,
    next: middleware::Next,
) -> Response {
    let destination = request.headers().get("sec-fetch-dest");
    let is_subresource = destination.is_some_and(|destination| destination != "document");
    if is_subresource && is_cross_origin_request(&ac, &request) {
        return problem_response(
            StatusCode::FORBIDDEN,
            "Pages of other sites can only link to this page.",
        );
    }
    next.run(request).await
}

/// Rejects all requests of other origins: their pages must not read the status, nor cause load.
pub(super) async fn reject_cross_origin(
    State(ac): State<Activeconnect>,
    request: Request,
    next: middleware::Next,
) -> Response {
    if is_cross_origin_request(&ac, &request) {
        return problem_response(
            StatusCode::FORBIDDEN,
            "Only pages of this site can request this.",
        );
    }
    next.run(request).await
}

fn is_cross_origin_request(ac: &Activeconnect, request: &Request) -> bool {
    is_cross_origin(request.uri(), request.headers(), &ac.engine().config.origins)
}
