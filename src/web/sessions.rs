//! `sessions`: users see where they are logged in, and end what should not be.
//!
//! The gate lets a request in here as a layer without requirements does. So a session whose phone is
//! away manages nothing, and a request that is turned away is answered as anywhere behind the gate.

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
use crate::clock::Millis;
use crate::engine::{
    Activeconnect, EndSessionError, Engine, LogoutOutcome, Session, SessionId, SessionInfo,
};
use crate::identity::UserId;
use crate::layer::{Authorizer, ClientContext, Decision, SitePaths};
use crate::pages::{
    LanguageChoice, PageError, SessionFacts, SessionNotice, SessionsAddresses, rfc3339,
};
use crate::store::StoreError;

/// What scripts and people are told of a session that is not there.
const ALREADY_ENDED_MESSAGE: &str = "That session is over already.";

#[derive(Default, Deserialize)]
pub(super) struct SessionsQuery {
    /// The application's page that leads here.
    next: Option<String>,
    /// What came of the form that was sent.
    done: Option<String>,
}

type SessionsQueryResult = Result<Query<SessionsQuery>, QueryRejection>;

/// What a form or a script sends to end a session.
#[derive(Deserialize)]
struct EndSessionForm {
    id: String,
}

/// What scripts get.
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

/// A request that the gate let in.
struct SessionsRequest {
    ac: Activeconnect,
    session: Arc<Session>,
    paths: SitePaths,
    language: LanguageChoice,
    /// Where the application's page is from which the visitor came.
    next: String,
    notice: Option<SessionNotice>,
    /// A person looks at the answer.
    is_browser: bool,
    /// The answer has a body, and no browser asks for it ahead of time.
    is_shown: bool,
}

/// `GET sessions`.
pub(super) async fn page(
    State(ac): State<Activeconnect>,
    wish: SessionsQueryResult,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    match SessionsRequest::begin(ac, wish, &parts).await {
        Ok(visit) => visit.list().await,
        Err(denied) => *denied,
    }
}

/// `POST sessions/end`: a form or JSON with the `id`.
pub(super) async fn end(
    State(ac): State<Activeconnect>,
    wish: SessionsQueryResult,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let visit = match SessionsRequest::begin(ac, wish, &parts).await {
        Ok(visit) => visit,
        Err(denied) => return *denied,
    };
    let wants_json = is_json(&parts.headers);
    let request = Request::from_parts(parts, body);
    let named = tokio::select! {
        biased;
        named = parse_body::<EndSessionForm>(request, wants_json) => named.ok(),
        // A client that sends its body slowly, or never, holds no shutdown up.
        () = visit.engine().shutdown.wait() => None,
    };
    // What names no session is the id of none.
    let id = named.and_then(|named| named.id.parse::<SessionId>().ok());
    let ended = match id {
        Some(id) => visit.ac.end_session(&visit.user(), &id).await,
        None => Err(EndSessionError::Unknown),
    };
    match ended {
        Ok(logged_out) => visit.respond(logged_out, SessionNotice::Ended),
        Err(EndSessionError::Unknown) if visit.is_browser => {
            visit.redirect_to_list(SessionNotice::Over)
        }
        Err(EndSessionError::Unknown) => {
            problem_response(StatusCode::NOT_FOUND, ALREADY_ENDED_MESSAGE)
        }
        Err(EndSessionError::Store(error)) => visit.unavailable(&error),
    }
}

/// `POST sessions/end-others`, without a body.
pub(super) async fn end_others(
    State(ac): State<Activeconnect>,
    wish: SessionsQueryResult,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let visit = match SessionsRequest::begin(ac, wish, &parts).await {
        Ok(visit) => visit,
        Err(denied) => return *denied,
    };
    let user = visit.user();
    match visit.ac.end_all_sessions(&user).except_session(visit.session.clone()).await {
        Ok(logged_out) => visit.respond(logged_out, SessionNotice::OthersEnded),
        Err(error) => visit.unavailable(&error),
    }
}

impl SessionsRequest {
    async fn begin(
        ac: Activeconnect,
        wish: SessionsQueryResult,
        parts: &Parts,
    ) -> Result<Self, Box<Response>> {
        let SessionsQuery { next, done } = wish.map(|Query(wanted)| wanted).unwrap_or_default();
        let settings = &ac.engine().config;
        let gate = Authorizer::new(ac.clone());
        let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
        let mut client =
            ClientContext::from_request(method, uri, headers, &parts.extensions, settings);
        let session = match gate.authorize_and_wait(parts, &mut client).await {
            // The request itself, which is what holds the session open here, is not to be listed.
            Decision::Allow(passage) => passage.session().clone(),
            Decision::Deny(denial) => {
                return Err(Box::new(gate.deny(denial, &client).map(Body::from)));
            }
            Decision::Deferred(_) => unreachable!("decide_now has asked"),
        };
        let paths = SitePaths::from_parts(parts, settings);
        Ok(Self {
            session,
            next: redirect::sanitize_next(next.as_deref(), &paths),
            paths,
            language: language_of(parts, settings),
            notice: done.and_then(|word| SessionNotice::from_word(&word)),
            is_browser: is_browser(is_form(headers), &client.format),
            is_shown: !client.is_head && !is_prefetch(headers),
            ac,
        })
    }

    fn engine(&self) -> &Arc<Engine> {
        self.ac.engine()
    }

    /// Beside another login, the gate has checked that both logins name the same user.
    fn user(&self) -> UserId {
        self.session.user().into()
    }

    async fn list(&self) -> Response {
        let asked = self.engine().now();
        let mut sessions = match self.ac.sessions(&self.user()).await {
            Ok(sessions) => sessions,
            Err(error) => return self.unavailable(&error),
        };
        if self.is_shown {
            self.engine().mark_warnings_seen(&self.session, asked);
        }
        let current = self.engine().session_id(&self.session);
        // This one first, then those that were used last.
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
            // Over here; the service has not said yes, and is asked again.
            LogoutOutcome::LocalOnly => {
                (StatusCode::ACCEPTED, status_json("closed")).into_response()
            }
        }
    }

    /// To the page once more, which says what came of the form.
    fn redirect_to_list(&self, notice: SessionNotice) -> Response {
        let page = self.paths.route_with_next("sessions", &self.next);
        let separator = if page.contains('?') { '&' } else { '?' };
        let page = format!("{page}{separator}done={}", notice.word());
        let page = self.engine().config.pages.with_language(page, self.language);
        Redirect::to(&page).into_response()
    }

    fn unavailable(&self, error: &StoreError) -> Response {
        self.engine().report_store_fault(error);
        let status = StatusCode::SERVICE_UNAVAILABLE;
        if !self.is_browser {
            return problem_response(
                status,
                "The sessions cannot be found at the moment; try again.",
            );
        }
        let view = self.engine().config.pages.view(&self.paths, self.language);
        render(status, view.error(status.as_u16(), PageError::SessionsUnavailable, None))
    }
}

impl SessionNotice {
    /// The word for it in an address.
    const fn word(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::OthersEnded => "others-ended",
            Self::Over => "over",
        }
    }

    /// An address may have any text: it chooses one of these, and is shown nowhere.
    fn from_word(word: &str) -> Option<Self> {
        [Self::Ended, Self::OthersEnded, Self::Over].into_iter().find(|it| it.word() == word)
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
            methods: session.methods().iter().map(crate::protocol::AuthMethod::as_str).collect(),
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
    time.duration_since(UNIX_EPOCH).map_or(0, |since| Millis::from(since).as_millis())
}
