use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::header::{CONTENT_TYPE, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, from_fn, map_response};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use problem_details::ProblemDetails;
use serde::Deserialize;
use tower_http::csrf::{CsrfLayer, ProtectionError};

use super::pages::{LockedPage, LoginPage, RefusedPage, WaitingPage, show};
use super::progress::{Subject, follow, word};
use super::{cookies, next, start};
use crate::engine::{
    Activeconnect, Attempt, EndReason, Engine, LoggedOut, Progress, Session, Taken,
};
use crate::identity::UserId;
use crate::layer::{Asker, RequestCredentials, Tongue, is_foreign, next_query, protect};
use crate::verdict::Verdict;

/// A login needs no more than this.
const BODY_LIMIT: usize = 16 * 1024;
/// For those who wait without a cookie that says for what.
const NO_COOKIE: &str = "Either it is over, or your browser did not bring back the cookie of the \
                         login. Log in again; if you come here once more, allow cookies for this \
                         site, and see that its address begins with https.";

impl Activeconnect {
    /// The routes through which browsers log in and out, to be nested outside the gate where
    /// [`auth_path`](crate::Builder::auth_path) says, `/auth` by default.
    ///
    /// | route | |
    /// | --- | --- |
    /// | `GET login` | a plain page |
    /// | `POST login` | begins an attempt: a form (`username`, `next`) is answered 303 to `waiting`, JSON (`{"username","next"?}`) 202 `{"status":"pending"}` |
    /// | `GET waiting` | a plain page that waits for the phone, takes the result, sees that its cookie came back and goes on to `next` |
    /// | `GET locked` | a plain page that waits for the phone to come back |
    /// | `GET status` | `{"status":"…"}`: of the attempt, which it takes once approved, else of the session; `none` without either, `unavailable` when it is not known |
    /// | `GET events` | the same as server-sent events, one for each change |
    /// | `POST logout` | ends the session here and at the service |
    ///
    /// What pages of other origins send with unsafe methods, or ask of `status` and `events`, is
    /// refused (403).
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let told = Router::new()
            .route("/status", get(status))
            .route("/events", get(events))
            .layer(from_fn(refuse_foreign));
        Router::new()
            .route("/login", get(login_page).post(login))
            .route("/waiting", get(waiting))
            .route("/locked", get(locked))
            .merge(told)
            .route("/logout", post(logout))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .layer(CsrfLayer::new().with_rejection_response(cross_origin))
            .layer(map_response(protected))
            .with_state(self.clone())
    }
}

/// The answer to a form or script of another origin.
fn cross_origin(_: ProtectionError) -> Response {
    problem(StatusCode::FORBIDDEN, "Requests that change something must come from this site.")
}

/// Who is logged in here is not for pages of other origins to know, nor to keep us busy with.
async fn refuse_foreign(request: Request, next: middleware::Next) -> Response {
    if is_foreign(request.uri(), request.headers(), &[]) {
        return problem(StatusCode::FORBIDDEN, "This can be asked by pages of this site only.");
    }
    next.run(request).await
}

async fn protected(mut response: Response) -> Response {
    protect(response.headers_mut());
    response
}

#[derive(Deserialize)]
struct Next {
    next: Option<String>,
}

/// What the query asks for, as far as that may be followed.
fn wanted(query: Result<Query<Next>, QueryRejection>, auth_path: &str) -> String {
    let wanted = query.ok().and_then(|Query(query)| query.next);
    next::checked(wanted.as_deref(), auth_path)
}

fn to_next(query: Result<Query<Next>, QueryRejection>, auth_path: &str) -> Response {
    Redirect::to(&wanted(query, auth_path)).into_response()
}

/// What a browser bears, looked up.
struct Visitor {
    ac: Activeconnect,
    /// Beside another login, the user whom it names.
    user: Option<UserId>,
    attempt: Option<Arc<Attempt>>,
    /// The session that the credential names, whoever's it is. To end it, having it is enough.
    named: Option<Arc<Session>>,
    /// The same, if it is the user's.
    session: Option<Arc<Session>>,
    asker: Asker,
}

impl Visitor {
    fn of(ac: Activeconnect, parts: &Parts) -> Self {
        let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
        let borne = RequestCredentials::read(method, uri, headers, &ac.engine().settings);
        let user = ac.resolve(parts);
        let engine = ac.engine();
        let attempt = borne.attempt.and_then(|named| engine.attempts.find(&named));
        let attempt = attempt.filter(|attempt| attempt.is_for(user.as_ref()));
        let named = borne.session.and_then(|named| engine.sessions.find(&named.key()));
        let resolved = user.as_ref().map(UserId::as_str);
        let is_theirs =
            |session: &Arc<Session>| !ac.has_resolver() || resolved == Some(session.user());
        let session = named.clone().filter(is_theirs);
        let asker = Asker::of(method, uri, headers, &parts.extensions);
        Self { user, attempt, named, session, asker, ac }
    }

    /// The same, with the session's status known afresh if it was not used for a while.
    async fn informed(ac: Activeconnect, parts: &Parts) -> Self {
        let visitor = Self::of(ac, parts);
        if let Some(session) = &visitor.session {
            let mut watch = session.watch();
            visitor.engine().woken(&mut watch).await;
        }
        visitor
    }

    fn engine(&self) -> &Arc<Engine> {
        self.ac.engine()
    }

    /// What to tell about: the attempt while it runs, else the session, else how the attempt
    /// ended.
    fn subject(&self) -> Subject {
        let now = self.engine().now();
        let session = self.session.clone().filter(|session| session.verdict() != Verdict::Ended);
        match (&self.attempt, session, &self.session) {
            (Some(attempt), _, _) if attempt.is_pending(now) => Subject::Attempt(attempt.clone()),
            (_, Some(session), _) => Subject::Session(session),
            (Some(attempt), None, _) => Subject::Attempt(attempt.clone()),
            (None, None, Some(session)) => Subject::Session(session.clone()),
            (None, None, None) => Subject::Nothing,
        }
    }

    /// Takes the attempt's result if it is approved; the session that was there before is logged
    /// out.
    fn take(&self) -> Option<Taken> {
        let taken = self.engine().take(self.attempt.as_ref()?, self.user.as_ref())?;
        if let Some(before) = &self.named {
            self.engine().end_session(before, EndReason::LoggedOut);
        }
        Some(taken)
    }

    fn is_browser(&self) -> bool {
        matches!(self.asker.tongue, Tongue::Page(_) | Tongue::Form)
    }
}

async fn login_page(
    State(ac): State<Activeconnect>,
    query: Result<Query<Next>, QueryRejection>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let auth_path = &ac.engine().settings.auth_path;
    let next = wanted(query, auth_path);
    let user = ac.resolve(&parts);
    show(StatusCode::OK, &LoginPage { auth_path, user: user.as_ref(), next: &next })
}

async fn login(State(ac): State<Activeconnect>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let user = ac.resolve(&parts);
    start::start(&ac, user, Request::from_parts(parts, body)).await
}

async fn waiting(
    State(ac): State<Activeconnect>,
    query: Result<Query<Next>, QueryRejection>,
    request: Request,
) -> Response {
    let visitor = Visitor::informed(ac, &request.into_parts().0).await;
    let auth_path = &visitor.engine().settings.auth_path;
    if let Some(taken) = visitor.take() {
        // By way of this page once more, which sees whether the cookie came back.
        let here = format!("{auth_path}/waiting{}", next_query(&taken.next));
        return with_session(Redirect::to(&here).into_response(), &taken);
    }
    match visitor.subject() {
        Subject::Attempt(attempt) => {
            let over = attempt.progress(visitor.engine().now()) == Progress::Timeout;
            show(StatusCode::OK, &WaitingPage { auth_path, over })
        }
        // Taken, here or in another tab.
        Subject::Session(session) if session.verdict() != Verdict::Ended => {
            to_next(query, auth_path)
        }
        Subject::Session(_) => Redirect::to(&format!("{auth_path}/login")).into_response(),
        // Sent on from here, a browser without cookies would go round and round.
        Subject::Nothing => {
            let (title, detail) = ("No login waits here", NO_COOKIE);
            show(StatusCode::BAD_REQUEST, &RefusedPage { auth_path, title, detail })
        }
    }
}

async fn locked(
    State(ac): State<Activeconnect>,
    query: Result<Query<Next>, QueryRejection>,
    request: Request,
) -> Response {
    let visitor = Visitor::informed(ac, &request.into_parts().0).await;
    let auth_path = &visitor.engine().settings.auth_path;
    match visitor.session.as_ref().map(|session| session.verdict()) {
        Some(verdict @ (Verdict::Suspended | Verdict::Unavailable)) => {
            let suspended = verdict == Verdict::Suspended;
            show(StatusCode::OK, &LockedPage { auth_path, suspended })
        }
        // Let in again, or to the login page: the gate there knows.
        _ => to_next(query, auth_path),
    }
}

async fn status(State(ac): State<Activeconnect>, request: Request) -> Response {
    let visitor = Visitor::informed(ac, &request.into_parts().0).await;
    if let Some(taken) = visitor.take() {
        return with_session(status_json(word(&taken.session)), &taken);
    }
    status_json(match visitor.subject() {
        Subject::Attempt(attempt) => match attempt.progress(visitor.engine().now()) {
            Progress::Timeout => "timeout",
            Progress::Pending | Progress::Approved => "pending",
        },
        Subject::Session(session) => word(&session),
        Subject::Nothing => "none",
    })
}

async fn events(State(ac): State<Activeconnect>, request: Request) -> Response {
    let visitor = Visitor::informed(ac, &request.into_parts().0).await;
    let changes = follow(visitor.engine().clone(), visitor.subject());
    Sse::new(changes).keep_alive(KeepAlive::default()).into_response()
}

async fn logout(State(ac): State<Activeconnect>, request: Request) -> Response {
    let visitor = Visitor::of(ac, &request.into_parts().0);
    // The answer that brings a session may still be on its way to this browser.
    let taken =
        visitor.attempt.as_ref().and_then(|attempt| visitor.engine().cancel_attempt(attempt));
    let mut logged_out = None;
    for session in taken.iter().chain(&visitor.named) {
        let here = visitor.engine().log_out(session).await;
        if logged_out != Some(LoggedOut::HereOnly) {
            logged_out = Some(here);
        }
    }
    let mut response = if visitor.is_browser() {
        let login = format!("{}/login", visitor.engine().settings.auth_path);
        Redirect::to(&login).into_response()
    } else {
        match logged_out {
            Some(LoggedOut::Everywhere) => status_json("closed"),
            // Over here; the service has not said yes, and is asked again.
            Some(LoggedOut::HereOnly) => {
                (StatusCode::ACCEPTED, status_json("closed")).into_response()
            }
            None => status_json("none"),
        }
    };
    response.headers_mut().append(SET_COOKIE, cookies::remove_session());
    response.headers_mut().append(SET_COOKIE, cookies::remove_attempt());
    response
}

fn with_session(mut response: Response, taken: &Taken) -> Response {
    let headers = response.headers_mut();
    headers.append(SET_COOKIE, cookies::set_session(&taken.credential));
    headers.append(SET_COOKIE, cookies::remove_attempt());
    response
}

/// `{"status":"…"}`, of words that need no escaping.
pub(super) fn status_json(word: &'static str) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], format!("{{\"status\":\"{word}\"}}")).into_response()
}

/// RFC 9457.
pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    let details = ProblemDetails::from_status_code(status).with_detail(detail);
    let body = serde_json::to_vec(&details).unwrap_or_default();
    let json = HeaderValue::from_static("application/problem+json");
    (status, [(CONTENT_TYPE, json)], Body::from(body)).into_response()
}
