use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use tower_activeconnect::protocol::messages::OutcomeResponse;

/// An unsuccessful response: a status code, and the reason as JSON.
#[derive(Debug)]
pub(super) struct ErrorResponse {
    status: StatusCode,
    reason: String,
}

impl ErrorResponse {
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }

    pub(super) fn not_found(reason: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, reason)
    }

    /// The response to a valid call that the service does not carry out: 200 with `status: false`.
    pub(super) fn unsuccessful(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::OK, reason)
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let body = OutcomeResponse::failure(self.reason);
        (self.status, Json(body)).into_response()
    }
}

impl From<getrandom::Error> for ErrorResponse {
    fn from(error: getrandom::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("no random numbers: {error}"))
    }
}
