//! Errors of the control interface.

use std::fmt;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tower_activeconnect::protocol::SessionStatus;

use super::Action;
use super::error_response::ErrorResponse;

/// An error of the control interface.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlError {
    /// The user does not exist.
    UnknownUser,
    /// The user has no session.
    NoSession,
    /// The session does not exist.
    UnknownSession,
    /// The label is not 1 to 64 characters, has a control character, or is only white space.
    InvalidLabel,
    /// The session's status does not allow the action.
    NotAllowed {
        /// The status of the session, which does not change.
        status: SessionStatus,
        /// The requested action.
        action: Action,
    },
}

crate::error_debug::debug_as_message!(ControlError);

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownUser => f.write_str("unknown user"),
            Self::NoSession => f.write_str("the user has no session"),
            Self::UnknownSession => f.write_str("unknown session"),
            Self::InvalidLabel => f.write_str(
                "a label must have 1 to 64 characters, no control characters, and not only white \
                 space",
            ),
            Self::NotAllowed { status, action } => {
                write!(f, "a session that is {status} does not allow {action}")
            }
        }
    }
}

impl std::error::Error for ControlError {}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct NotAllowed {
            status: SessionStatus,
            reason: String,
        }
        let reason = self.to_string();
        match self {
            Self::NotAllowed { status, .. } => {
                (StatusCode::CONFLICT, Json(NotAllowed { status, reason })).into_response()
            }
            Self::InvalidLabel => {
                ErrorResponse::new(StatusCode::BAD_REQUEST, reason).into_response()
            }
            Self::UnknownUser | Self::NoSession | Self::UnknownSession => {
                ErrorResponse::not_found(&reason).into_response()
            }
        }
    }
}
