//! `sessions`: the routes on which users see and end their sessions.
//!
//! The gate authorizes these requests as a layer without requirements does: a suspended session
//! cannot manage sessions, and denials are the same as everywhere behind the gate.

mod end;
mod end_others;
mod page;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

pub(super) use self::end::end;
pub(super) use self::end_others::end_others;
pub(super) use self::page::page;
use super::context::{is_browser, is_prefetch};
use super::json::{problem_response, status_json};
use super::login::is_form;
use super::pages::{language_of, render};
use super::redirect;
use crate::engine::{Activeconnect, Engine, LogoutOutcome, Session};
use crate::identity::UserId;
use crate::layer::{Authorizer, ClientContext, Decision, SitePaths};
use crate::pages::{LanguageChoice, PageError, SessionNotice};
use crate::store::StoreError;

#[derive(Default, Deserialize)]
pub(super) struct SessionsQuery {
    /// The application's page that links here.
    next: Option<String>,
    /// The result of the form that was sent.
    done: Option<String>,
}

type SessionsQueryResult = Result<Query<SessionsQuery>, QueryRejection>;

/// A request that the gate allows.
struct SessionsRequest {
    ac: Activeconnect,
    session: Arc<Session>,
    paths: SitePaths,
    language: LanguageChoice,
    /// The path of the application's page that links here.
    next: String,
    notice: Option<SessionNotice>,
    /// A browser shows the response to a user.
    is_browser: bool,
    /// The response has a body, and the request is no prefetch.
    is_shown: bool,
}

impl SessionsRequest {
    async fn authorize(
        ac: Activeconnect,
        query: SessionsQueryResult,
        parts: &Parts,
    ) -> Result<Self, Box<Response>> {
        let SessionsQuery { next, done } = query.map(|Query(query)| query).unwrap_or_default();
        let settings = &ac.engine().config;
        let gate = Authorizer::new(ac.clone());
        let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
        let mut client =
            ClientContext::from_request(method, uri, headers, &parts.extensions, settings);
        let session = match gate.authorize_and_wait(parts, &mut client).await {
            // Keep only the session: a guard of this request would count as held open in the list.
            Decision::Allow(guard) => guard.session().clone(),
            Decision::Deny(denial) => {
                return Err(Box::new(gate.deny(denial, &client).map(Body::from)));
            }
            Decision::Deferred(_) => unreachable!("authorize_and_wait does not defer"),
        };
        let paths = SitePaths::from_parts(parts, settings);
        Ok(Self {
            session,
            next: redirect::sanitize_next(next.as_deref(), &paths),
            paths,
            language: language_of(parts, settings),
            notice: done.and_then(|value| SessionNotice::from_query_value(&value)),
            is_browser: is_browser(is_form(headers), &client.format),
            is_shown: !client.is_head && !is_prefetch(headers),
            ac,
        })
    }

    fn engine(&self) -> &Arc<Engine> {
        self.ac.engine()
    }

    /// If a resolver is set, the gate has checked that it names the same user.
    fn user(&self) -> UserId {
        self.session.user().into()
    }

    fn respond(&self, logged_out: LogoutOutcome, notice: SessionNotice) -> Response {
        if self.is_browser {
            return self.redirect_to_list(notice);
        }
        match logged_out {
            LogoutOutcome::Confirmed => status_json("closed"),
            // Ended here; the engine retries the logout at the service.
            LogoutOutcome::LocalOnly => {
                (StatusCode::ACCEPTED, status_json("closed")).into_response()
            }
        }
    }

    /// A redirect to the page, which shows the result of the form.
    fn redirect_to_list(&self, notice: SessionNotice) -> Response {
        let page = self.paths.route_with_next("sessions", &self.next);
        let separator = if page.contains('?') { '&' } else { '?' };
        let page = format!("{page}{separator}done={}", notice.query_value());
        let page = self.engine().config.pages.with_language(page, self.language);
        Redirect::to(&page).into_response()
    }

    fn unavailable(&self, error: &StoreError) -> Response {
        self.engine().report_store_fault(error);
        let status = StatusCode::SERVICE_UNAVAILABLE;
        if !self.is_browser {
            return problem_response(status, "The sessions are unavailable; try again later.");
        }
        let view = self.engine().config.pages.view(&self.paths, self.language);
        render(status, view.error(status.as_u16(), PageError::SessionsUnavailable, None))
    }
}

impl SessionNotice {
    /// The value of `done` in the query.
    const fn query_value(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::OthersEnded => "others-ended",
            Self::AlreadyEnded => "over",
        }
    }

    /// The notice of this value; `None` for any other text, which is never shown.
    fn from_query_value(value: &str) -> Option<Self> {
        [Self::Ended, Self::OthersEnded, Self::AlreadyEnded]
            .into_iter()
            .find(|notice| notice.query_value() == value)
    }
}
