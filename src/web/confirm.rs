//! `confirm`: the user of a session is asked on the phone once more, as a layer requires.
//!
//! Nothing is typed here. Whose phone rings, the session says; for which methods, the layers of the
//! engine: what the query names is one of their sets, or refused.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::context::RequestContext;
use super::json::problem_response;
use super::login::{
    CredentialDelivery, LoginRejection, client_details, is_browser_request, login_response,
};
use super::pages::render;
use super::redirect;
use crate::engine::{Activeconnect, AttemptTarget, Initiator, Session, StartAttempt};
use crate::layer::{RequestCredentials, SitePaths, attempt_from_bearer, has_bearer_session};
use crate::pages;
use crate::protocol::AuthMethods;
use crate::verdict::Verdict;

#[derive(Default, Deserialize)]
pub(super) struct ConfirmQuery {
    /// As `authenticate_user` writes them; without, those that the session was asked with.
    methods: Option<String>,
    next: Option<String>,
}

type ConfirmQueryResult = Result<Query<ConfirmQuery>, QueryRejection>;

/// `GET confirm`. The page's form posts to the page's own address.
pub(super) async fn page(
    State(ac): State<Activeconnect>,
    wish: ConfirmQueryResult,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let confirmation = ConfirmRequest::read(ac, wish, &parts).await;
    match confirmation.check() {
        Ok((session, methods)) => {
            let ConfirmRequest { visitor, paths, .. } = &confirmation;
            let view = visitor.view(paths, visitor.language(&parts));
            render(StatusCode::OK, view.confirm(session.user(), methods))
        }
        Err(why) => confirmation.refuse(why, &parts),
    }
}

/// `POST confirm`: a form or a script, without a body.
pub(super) async fn start(
    State(ac): State<Activeconnect>,
    wish: ConfirmQueryResult,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
    let (settings, keys) = (&ac.engine().config, &ac.engine().key_ring);
    let mine = RequestCredentials::from_request(method, uri, headers, settings, keys).attempt();
    let mine = mine.or_else(|| attempt_from_bearer(headers, keys));
    // Who bears a credential in a header gets the next one to bear.
    let bearer = has_bearer_session(headers, keys) && !is_browser_request(headers);
    let confirmation = ConfirmRequest::read(ac, wish, &parts).await;
    let (session, methods) = match confirmation.check() {
        Ok(found) => found,
        Err(why) => return confirmation.refuse(why, &parts),
    };
    let ConfirmRequest { visitor, paths, next, .. } = confirmation;
    let who = AttemptTarget::StepUp(session, methods, visitor.user.clone());
    // Who has a session of that user is no stranger to the name.
    let initiator = Initiator::Session;
    let handover = if bearer { CredentialDelivery::Bearer } else { CredentialDelivery::Cookie };
    let engine = visitor.engine();
    let client = client_details(&parts, &engine.config);
    let start = StartAttempt {
        target: who,
        initiator,
        previous_attempt: mine.as_ref(),
        deliver_in_body: bearer,
        client,
    };
    let begun = engine.begin_attempt(start).map(|begun| (handover, begun.credential));
    let (wants_json, language) = (!visitor.is_browser(), visitor.language(&parts));
    login_response(
        begun.map_err(LoginRejection::from),
        wants_json,
        &paths,
        &next,
        &engine.config,
        language,
    )
}

/// Why no phone rings.
#[derive(Clone, Copy)]
enum ConfirmError {
    NoSession,
    /// No layer requires these methods.
    NotRequired,
}

struct ConfirmRequest {
    visitor: RequestContext,
    methods: Option<String>,
    paths: SitePaths,
    next: String,
}

impl ConfirmRequest {
    async fn read(ac: Activeconnect, wish: ConfirmQueryResult, parts: &Parts) -> Self {
        let ConfirmQuery { methods, next } = wish.map(|Query(wanted)| wanted).unwrap_or_default();
        let paths = SitePaths::from_parts(parts, &ac.engine().config);
        let next = redirect::sanitize_next(next.as_deref(), &paths);
        let visitor = RequestContext::refreshed(ac, parts).await;
        Self { visitor, methods, paths, next }
    }

    /// Whose phone is to ring, and for what.
    fn check(&self) -> Result<(Arc<Session>, AuthMethods), ConfirmError> {
        // A phone that walked away is asked too: a layer may let its session in.
        let is_live = |session: &&Arc<Session>| {
            matches!(session.verdict(), Verdict::Allow | Verdict::Suspended)
        };
        let Some(session) = self.visitor.session.as_ref().filter(is_live) else {
            return Err(ConfirmError::NoSession);
        };
        let required = &self.visitor.engine().required_method_sets;
        let is_asked_for = |methods: &AuthMethods| {
            *methods == session.lifecycle.methods() || required.contains(*methods)
        };
        let methods = match &self.methods {
            None => Some(session.lifecycle.methods()),
            Some(named) => named.parse().ok().filter(is_asked_for),
        };
        methods.map(|methods| (session.clone(), methods)).ok_or(ConfirmError::NotRequired)
    }

    fn refuse(&self, why: ConfirmError, parts: &Parts) -> Response {
        match why {
            ConfirmError::NoSession => self.no_session(),
            ConfirmError::NotRequired => self.not_required(parts),
        }
    }

    fn no_session(&self) -> Response {
        if self.visitor.is_browser() {
            // Not back to the page: a layer that lets any session of a user in may have let another
            // one in there, and send its request here again.
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
        let (status, detail) = (StatusCode::BAD_REQUEST, "Nothing here requires these methods.");
        if !self.visitor.is_browser() {
            return problem_response(status, detail);
        }
        let login = self.paths.with_next("login", &self.next);
        let refusal = pages::PageError::MethodsNotRequired;
        let view = self.visitor.view(&self.paths, self.visitor.language(parts));
        render(status, view.error(status.as_u16(), refusal, Some(login)))
    }
}
