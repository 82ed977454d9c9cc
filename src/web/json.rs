//! JSON responses: objects of strings, and problem details (RFC 9457).

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use problem_details::ProblemDetails;

/// `{"status":"…"}`.
pub(super) fn status_json(status: &'static str) -> Response {
    json(&[("status", status)])
}

/// A JSON object with these fields.
pub(super) fn json(fields: &[(&str, &str)]) -> Response {
    Json(fields.iter().copied().collect::<BTreeMap<_, _>>()).into_response()
}

/// Problem details (RFC 9457).
pub(super) fn problem_response(status: StatusCode, detail: &str) -> Response {
    let details = ProblemDetails::from_status_code(status).with_detail(detail);
    let body = serde_json::to_vec(&details).unwrap_or_default();
    let json = HeaderValue::from_static("application/problem+json");
    (status, [(CONTENT_TYPE, json)], Body::from(body)).into_response()
}
