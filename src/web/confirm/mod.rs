//! `confirm`: the user of a session confirms again on the phone, as a layer requires.
//!
//! The user comes from the session, not from the request. The methods of the query must be the
//! session's own or a set that a layer requires.

mod page;
mod start;

use std::sync::Arc;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

pub(super) use self::page::page;
pub(super) use self::start::start;
use super::context::RequestContext;
use super::json::problem_response;
use super::pages::render;
use super::redirect;
use crate::engine::{Activeconnect, Session};
use crate::layer::SitePaths;
use crate::pages;
use crate::protocol::AuthMethods;
use crate::verdict::Verdict;

#[derive(Default, Deserialize)]
pub(super) struct ConfirmQuery {
    /// As `authenticate_user` writes them. The methods of the session if absent.
    methods: Option<String>,
    next: Option<String>,
}

type ConfirmQueryResult = Result<Query<ConfirmQuery>, QueryRejection>;

/// Why the gate starts no attempt.
#[derive(Clone, Copy)]
enum ConfirmError {
    NoSession,
    /// No layer requires these methods.
    NotRequired,
}

struct ConfirmRequest {
    context: RequestContext,
    methods: Option<String>,
    paths: SitePaths,
    next: String,
}

impl ConfirmRequest {
    async fn from_parts(ac: Activeconnect, query: ConfirmQueryResult, parts: &Parts) -> Self {
        let ConfirmQuery { methods, next } = query.map(|Query(query)| query).unwrap_or_default();
        let paths = SitePaths::from_parts(parts, &ac.engine().config);
        let next = redirect::sanitize_next(next.as_deref(), &paths);
        let context = RequestContext::refreshed(ac, parts).await;
        Self { context, methods, paths, next }
    }

    /// The session to confirm, and the methods to confirm it with.
    fn check(&self) -> Result<(Arc<Session>, AuthMethods), ConfirmError> {
        // A session in walkaway may be confirmed too: a layer may allow it.
        let is_live = |session: &&Arc<Session>| {
            matches!(session.verdict(), Verdict::Allow | Verdict::Suspended)
        };
        let Some(session) = self.context.session.as_ref().filter(is_live) else {
            return Err(ConfirmError::NoSession);
        };
        let required = &self.context.engine().required_method_sets;
        let is_permitted = |methods: &AuthMethods| {
            *methods == session.lifecycle.methods() || required.contains(*methods)
        };
        let methods = match &self.methods {
            None => Some(session.lifecycle.methods()),
            Some(named) => named.parse().ok().filter(is_permitted),
        };
        methods.map(|methods| (session.clone(), methods)).ok_or(ConfirmError::NotRequired)
    }

    fn reject(&self, error: ConfirmError, parts: &Parts) -> Response {
        match error {
            ConfirmError::NoSession => self.no_session(),
            ConfirmError::NotRequired => self.not_required(parts),
        }
    }

    fn no_session(&self) -> Response {
        if self.context.is_browser() {
            // Not to `next`: a layer that allows any session of the user may have allowed another
            // one there, and would redirect here again.
            return Redirect::to(&self.paths.with_next("login", &self.next)).into_response();
        }
        let mut response =
            problem_response(StatusCode::UNAUTHORIZED, "There is no session to confirm.");
        let challenge = format!("Activeconnect login=\"{}/login\"", self.paths.auth);
        if let Ok(challenge) = HeaderValue::try_from(challenge) {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }

    fn not_required(&self, parts: &Parts) -> Response {
        let (status, detail) =
            (StatusCode::BAD_REQUEST, "No part of this site requires these methods.");
        if !self.context.is_browser() {
            return problem_response(status, detail);
        }
        let login = self.paths.with_next("login", &self.next);
        let error = pages::PageError::MethodsNotRequired;
        let view = self.context.view(&self.paths, self.context.language(parts));
        render(status, view.error(status.as_u16(), error, Some(login)))
    }
}
