use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use crate::engine::ActiveSession;
use crate::layer::{Authorizer, ClientContext};
use crate::verdict::Denial;

/// The rejection of a request whose handler takes an [`ActiveSession`] and gets none.
pub struct ActiveSessionRejection {
    denial: Option<Denial>,
    response: Box<Response>,
}

impl ActiveSessionRejection {
    /// Why the optional layer denied the request. `None` if no layer wraps the route, which is a
    /// mistake of the application and never means "anonymous".
    #[must_use]
    pub fn denial(&self) -> Option<Denial> {
        self.denial
    }
}

crate::error_debug::debug_as_message!(ActiveSessionRejection);

impl std::fmt::Display for ActiveSessionRejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.denial {
            None => f.write_str(MISSING_LAYER_MESSAGE),
            Some(denial) => denial.fmt(f),
        }
    }
}

impl std::error::Error for ActiveSessionRejection {}

impl IntoResponse for ActiveSessionRejection {
    fn into_response(self) -> Response {
        *self.response
    }
}

const MISSING_LAYER_MESSAGE: &str = "this route takes an ActiveSession but no ActiveconnectLayer wraps it; add \
                        .layer(ac.layer()) after the route";

#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Sync> FromRequestParts<S> for ActiveSession {
    type Rejection = ActiveSessionRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        match lookup(parts)? {
            Lookup::Session(session) => Ok(session),
            Lookup::Denied(denial, gate) => {
                let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
                let mut client = ClientContext::from_request(
                    method,
                    uri,
                    headers,
                    &parts.extensions,
                    gate.config(),
                );
                let credentials = gate.credentials(method, uri, headers);
                gate.flag_misread_credentials(
                    &credentials,
                    gate.resolve(parts).as_ref(),
                    &mut client,
                );
                let response = gate.deny(denial, &client).map(Body::from);
                Err(ActiveSessionRejection { denial: Some(denial), response: Box::new(response) })
            }
        }
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Sync> OptionalFromRequestParts<S> for ActiveSession {
    type Rejection = ActiveSessionRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        match lookup(parts)? {
            Lookup::Session(session) => Ok(Some(session)),
            Lookup::Denied(..) => Ok(None),
        }
    }
}

enum Lookup {
    Session(ActiveSession),
    Denied(Denial, Arc<Authorizer>),
}

fn lookup(parts: &Parts) -> Result<Lookup, ActiveSessionRejection> {
    let extensions = &parts.extensions;
    if let Some(session) = ActiveSession::from_extensions(extensions) {
        return Ok(Lookup::Session(session));
    }
    match (extensions.get::<Denial>(), extensions.get::<Arc<Authorizer>>()) {
        (Some(denial), Some(gate)) => Ok(Lookup::Denied(*denial, gate.clone())),
        _ => {
            tracing::error!("{MISSING_LAYER_MESSAGE}");
            let response =
                (StatusCode::INTERNAL_SERVER_ERROR, MISSING_LAYER_MESSAGE).into_response();
            Err(ActiveSessionRejection { denial: None, response: Box::new(response) })
        }
    }
}
