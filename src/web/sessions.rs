//! `sessions`: the routes on which users see and end their sessions.
//!
//! The gate authorizes these requests as a layer without requirements does: a suspended session
//! cannot manage sessions, and denials are the same as everywhere behind the gate.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::{Deserialize, Serialize};

use super::context::{is_browser, is_prefetch};
use super::json::{problem_response, status_json};
use super::login::{is_form, is_json, parse_body};
use super::pages::{language_of, render};
use super::redirect;
use crate::clock::millis;
use crate::engine::{
    Activeconnect, EndSessionError, Engine, LogoutOutcome, Session, SessionId, SessionInfo,
};
use crate::identity::UserId;
use crate::layer::{Authorizer, ClientContext, Decision, SitePaths};
use crate::pages::{
    LanguageChoice, PageError, SessionFacts, SessionNotice, SessionsAddresses, rfc3339,
};
use crate::store::StoreError;

const ALREADY_ENDED_MESSAGE: &str = "That session has already ended.";

#[derive(Default, Deserialize)]
pub(super) struct SessionsQuery {
    /// The application's page that links here.
    next: Option<String>,
    /// The result of the form that was sent.
    done: Option<String>,
}

type SessionsQueryResult = Result<Query<SessionsQuery>, QueryRejection>;

/// The body of `POST sessions/end`.
#[derive(Deserialize)]
struct EndSessionForm {
    id: String,
}

/// The JSON response of `GET sessions`.
#[derive(Serialize)]
struct SessionList<'a> {
    user: &'a str,
    sessions: Vec<SessionEntry<'a>>,
}

#[derive(Serialize)]
struct SessionEntry<'a> {
    id: String,
    current: bool,
    status: String,
    started_at: String,
    last_used_at: String,
    methods: Vec<&'static str>,
    held_open: u64,
    browser: Option<&'a str>,
    address: Option<IpAddr>,
    unknown_browser: bool,
}

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

/// `GET sessions`.
pub(super) async fn page(
    State(ac): State<Activeconnect>,
    query: SessionsQueryResult,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    match SessionsRequest::authorize(ac, query, &parts).await {
        Ok(authorized) => authorized.list().await,
        Err(denied) => *denied,
    }
}

/// `POST sessions/end`: a form or JSON with the `id`.
pub(super) async fn end(
    State(ac): State<Activeconnect>,
    query: SessionsQueryResult,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let authorized = match SessionsRequest::authorize(ac, query, &parts).await {
        Ok(authorized) => authorized,
        Err(denied) => return *denied,
    };
    let wants_json = is_json(&parts.headers);
    let request = Request::from_parts(parts, body);
    let form = tokio::select! {
        biased;
        form = parse_body::<EndSessionForm>(request, wants_json) => form.ok(),
        // A client that never finishes its body does not delay the shutdown.
        () = authorized.engine().wait_shutdown() => None,
    };
    // A malformed id is treated as an unknown one.
    let id = form.and_then(|form| form.id.parse::<SessionId>().ok());
    let ended = match id {
        Some(id) => authorized.ac.end_session(&authorized.user(), &id).await,
        None => Err(EndSessionError::Unknown),
    };
    match ended {
        Ok(logged_out) => authorized.respond(logged_out, SessionNotice::Ended),
        Err(EndSessionError::Unknown) if authorized.is_browser => {
            authorized.redirect_to_list(SessionNotice::AlreadyEnded)
        }
        Err(EndSessionError::Unknown) => {
            problem_response(StatusCode::NOT_FOUND, ALREADY_ENDED_MESSAGE)
        }
        Err(EndSessionError::Store(error)) => authorized.unavailable(&error),
    }
}

/// `POST sessions/end-others`, without a body.
pub(super) async fn end_others(
    State(ac): State<Activeconnect>,
    query: SessionsQueryResult,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let authorized = match SessionsRequest::authorize(ac, query, &parts).await {
        Ok(authorized) => authorized,
        Err(denied) => return *denied,
    };
    let user = authorized.user();
    match authorized.ac.end_all_sessions(&user).except_session(authorized.session.clone()).await {
        Ok(logged_out) => authorized.respond(logged_out, SessionNotice::OthersEnded),
        Err(error) => authorized.unavailable(&error),
    }
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
            Decision::Allow(passage) => passage.session().clone(),
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

    async fn list(&self) -> Response {
        let listed_at = self.engine().now();
        let mut sessions = match self.ac.sessions(&self.user()).await {
            Ok(sessions) => sessions,
            Err(error) => return self.unavailable(&error),
        };
        if self.is_shown {
            self.engine().mark_warnings_seen(&self.session, listed_at);
        }
        let current = self.engine().session_id(&self.session);
        // The current session first, then the most recently used.
        sessions.sort_by_key(SessionInfo::last_used_at);
        sessions.reverse();
        sessions.sort_by_key(|session| session.id() != current);
        if !self.is_browser {
            let listed =
                sessions.iter().map(|session| SessionEntry::new(session, current)).collect();
            let listing = SessionList { user: self.session.user(), sessions: listed };
            return Json(listing).into_response();
        }
        let address = |route: &str| self.paths.route_with_next(route, &self.next);
        let addresses = SessionsAddresses {
            end: address("sessions/end"),
            end_others: address("sessions/end-others"),
            back: self.next.clone(),
        };
        let facts = sessions.iter().map(|session| facts(session, current)).collect();
        let view = self.engine().config.pages.view(&self.paths, self.language);
        render(StatusCode::OK, view.sessions(self.session.user(), facts, addresses, self.notice))
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
            return problem_response(
                status,
                "The sessions are unavailable; try again later.",
            );
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
        [Self::Ended, Self::OthersEnded, Self::AlreadyEnded].into_iter().find(|notice| notice.query_value() == value)
    }
}

impl<'a> SessionEntry<'a> {
    fn new(session: &'a SessionInfo, current: SessionId) -> Self {
        Self {
            id: session.id().to_string(),
            current: session.id() == current,
            status: session.status().to_string(),
            started_at: rfc3339(unix_ms(session.started_at())),
            last_used_at: rfc3339(unix_ms(session.last_used_at())),
            methods: session.methods().iter().map(crate::AuthMethod::as_str).collect(),
            held_open: session.held_open(),
            browser: session.browser(),
            address: session.address(),
            unknown_browser: session.is_of_unknown_browser(),
        }
    }
}

fn facts(session: &SessionInfo, current: SessionId) -> SessionFacts<'_> {
    SessionFacts {
        id: session.id().to_string(),
        is_current: session.id() == current,
        browser: session.browser(),
        browser_and_system: session.browser_and_system(),
        started_unix_ms: unix_ms(session.started_at()),
        last_used_unix_ms: unix_ms(session.last_used_at()),
        address: session.address(),
        methods: session.methods(),
        is_held_open: session.held_open() > 0,
        is_of_unknown_browser: session.is_of_unknown_browser(),
    }
}

fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, millis)
}
