use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use crate::engine::ActiveSession;
use crate::verdict::Denial;

/// Why a handler got no [`ActiveSession`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ActiveSessionRejection {
    /// The route is not under a layer: a mistake of the application, never "anonymous".
    NoLayer,
    /// The layer is optional and did not allow.
    Denied(Denial),
}

impl std::fmt::Display for ActiveSessionRejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoLayer => f.write_str(
                "this route takes an ActiveSession but no ActiveconnectLayer wraps it; add \
                 .layer(ac.layer()) after the route",
            ),
            Self::Denied(denial) => denial.fmt(f),
        }
    }
}

impl std::error::Error for ActiveSessionRejection {}

impl IntoResponse for ActiveSessionRejection {
    fn into_response(self) -> Response {
        match self {
            Self::NoLayer => {
                tracing::error!("{self}");
                (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
            }
            Self::Denied(denial) => crate::layer::problem(denial).map(Into::into),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for ActiveSession {
    type Rejection = ActiveSessionRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        find(parts)?.map_err(ActiveSessionRejection::Denied)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for ActiveSession {
    type Rejection = ActiveSessionRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        find(parts).map(Result::ok)
    }
}

fn find(parts: &Parts) -> Result<Result<ActiveSession, Denial>, ActiveSessionRejection> {
    match (ActiveSession::from_extensions(&parts.extensions), parts.extensions.get::<Denial>()) {
        (Some(session), _) => Ok(Ok(session)),
        (None, Some(denial)) => Ok(Err(*denial)),
        (None, None) => Err(ActiveSessionRejection::NoLayer),
    }
}
