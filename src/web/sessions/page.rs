//! `GET sessions`.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::{SessionsQueryResult, SessionsRequest};
use crate::clock::Millis;
use crate::engine::{Activeconnect, SessionId, SessionInfo};
use crate::pages::{SessionFacts, SessionsAddresses, rfc3339};
use crate::web::pages::render;

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

pub(in crate::web) async fn page(
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

impl SessionsRequest {
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
