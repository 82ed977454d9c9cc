//! `POST login`: who is to be rung, and the answer that does not depend on whether they exist.

use std::time::Duration;

use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::extract::{FromRequest as _, Request};
use axum::http::header::{
    CONTENT_TYPE, ORIGIN, RETRY_AFTER, SET_COOKIE, USER_AGENT, WWW_AUTHENTICATE,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::{Form, Json};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client_ip::client_ip;
use super::pages::{language_of, show};
use super::routes::{json, status_json};
use super::{cookies, next};
use crate::engine::{
    Activeconnect, AttemptTarget, ClientDetails, Config, Initiator, StartAttempt, StartError,
    trim_username,
};
use crate::identity::{AttemptCredential, UserId};
use crate::layer::{RequestCredentials, SitePaths, attempt_from_bearer, known_browser_cookie};
use crate::pages::{self, LanguageChoice};

/// The longest name that can be typed, in bytes, without white space around it.
const NAME_LIMIT: usize = 256;

/// What is posted. Beside another login the name is not looked at.
#[derive(Deserialize)]
struct Login {
    username: Option<String>,
    next: Option<String>,
    #[serde(default)]
    credential: Handover,
}

/// How the session's credential is to be handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Handover {
    #[default]
    Cookie,
    /// In the body of an answer, to a client that is no browser.
    Bearer,
}

/// Why a start was refused, before anything was looked up.
pub(super) enum Refusal {
    Unreadable(StatusCode, String),
    Name(InvalidName),
    NoUser,
    /// A browser asks for what is for other clients.
    Browser,
    /// Too early; the same answer whatever the reason.
    Later(Duration),
    NotNow,
}

/// What is wrong with a typed name.
#[derive(Clone, Copy)]
pub(super) enum InvalidName {
    Empty,
    TooLong,
    HasControls,
}

pub(super) async fn start(ac: &Activeconnect, user: Option<UserId>, request: Request) -> Response {
    let wants_json = is_json(request.headers());
    let engine = ac.engine();
    let (parts, body) = request.into_parts();
    let login = tokio::select! {
        biased;
        login = read::<Login>(Request::from_parts(parts.clone(), body), wants_json) => login,
        // A client that sends its body slowly, or never, holds no shutdown up.
        () = engine.wait_shutdown() => Err(Refusal::NotNow),
    };
    let wanted = login.as_ref().ok().and_then(|login| login.next.as_deref());
    let paths = SitePaths::from_parts(&parts, &engine.config);
    let next = next::checked(wanted, &paths);
    let begun = login.and_then(|login| begin(ac, user, &parts, login));
    let language = language_of(&parts, &engine.config);
    answer(begun, wants_json, &paths, &next, &engine.config, language)
}

/// What the client that begins an attempt is told: wait, with this secret, or why not. A page goes on to
/// `next` from there.
pub(super) fn answer(
    begun: Result<(Handover, AttemptCredential), Refusal>,
    wants_json: bool,
    paths: &SitePaths,
    next: &str,
    settings: &Config,
    language: LanguageChoice,
) -> Response {
    match begun {
        Ok((Handover::Bearer, attempt)) => {
            let pending = json(&[("status", "pending"), ("attempt", &attempt.expose())]);
            (StatusCode::ACCEPTED, pending).into_response()
        }
        Ok((Handover::Cookie, attempt)) => {
            let mut response = if wants_json {
                (StatusCode::ACCEPTED, status_json("pending")).into_response()
            } else {
                let waiting = paths.with_next("waiting", next);
                let waiting = settings.pages.with_language(waiting, language);
                Redirect::to(&waiting).into_response()
            };
            let cookie = cookies::set_attempt(&settings.cookie_names, &attempt);
            response.headers_mut().append(SET_COOKIE, cookie);
            response
        }
        Err(refusal) => refusal.answer(wants_json, |status, refusal| {
            let login = paths.with_next("login", next);
            let view = settings.pages.view(paths, language);
            show(status, view.refused(status.as_u16(), refusal, Some(login)))
        }),
    }
}

/// Whether a browser's page sent this: scripts can't leave these headers away.
pub(super) fn is_from_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site")
}

/// What is to be recorded of the client, if the application wants that.
pub(super) fn client_details(parts: &Parts, settings: &Config) -> ClientDetails {
    if !settings.records_client_details {
        return ClientDetails::default();
    }
    let user_agent = parts.headers.get(USER_AGENT).map(HeaderValue::as_bytes);
    ClientDetails::new(user_agent, client_ip(parts, &settings.trusted_proxies))
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let essence = content_type(headers);
    essence == "application/json" || essence.ends_with("+json")
}

pub(super) fn is_form(headers: &HeaderMap) -> bool {
    content_type(headers) == "application/x-www-form-urlencoded"
}

/// Without its parameters.
fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn begin(
    ac: &Activeconnect,
    user: Option<UserId>,
    parts: &Parts,
    login: Login,
) -> Result<(Handover, AttemptCredential), Refusal> {
    let engine = ac.engine();
    let names = &engine.config.cookie_names;
    let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
    let mine =
        RequestCredentials::from_request(method, uri, headers, &engine.config, &engine.key_ring)
            .attempt();
    let mine = mine.or_else(|| attempt_from_bearer(headers, &engine.key_ring));
    let bearer = login.credential == Handover::Bearer;
    if bearer && is_from_a_page(&parts.headers) {
        return Err(Refusal::Browser);
    }
    let who = if ac.has_resolver() {
        AttemptTarget::User(user.ok_or(Refusal::NoUser)?)
    } else {
        let typed = typed_name(login.username)?;
        AttemptTarget::Username(engine.config.username_normalizer.username(&typed))
    };
    let known = known_browser_cookie(&parts.headers, names)
        .and_then(|proofs| engine.browser_proofs.verify(proofs, &who.key(), engine.now().wall));
    let initiator = match known {
        Some(proof) => Initiator::KnownBrowser(proof),
        None => Initiator::Anonymous(client_ip(parts, &engine.config.trusted_proxies)),
    };
    if matches!(initiator, Initiator::Anonymous(None)) {
        engine.warn_missing_client_ip();
    }
    let client = client_details(parts, &engine.config);
    let start =
        StartAttempt { target: who, initiator, previous_attempt: mine.as_ref(), bearer, client };
    let begun = engine.begin_attempt(start)?;
    Ok((login.credential, begun.credential))
}

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Self {
        match error {
            StartError::AlreadyPending { retry_after }
            | StartError::RateLimited { retry_after }
            | StartError::LimitReached { retry_after } => Self::Later(retry_after),
            StartError::Rng | StartError::ShuttingDown | StartError::NoRuntime => Self::NotNow,
        }
    }
}

/// What a form or a script has sent.
pub(super) async fn read<T: DeserializeOwned>(request: Request, json: bool) -> Result<T, Refusal> {
    if json {
        let Json(login) =
            Json::from_request(request, &()).await.map_err(|error: JsonRejection| {
                Refusal::Unreadable(error.status(), error.body_text())
            })?;
        Ok(login)
    } else {
        let Form(login) =
            Form::from_request(request, &()).await.map_err(|error: FormRejection| {
                Refusal::Unreadable(error.status(), error.body_text())
            })?;
        Ok(login)
    }
}

fn typed_name(name: Option<String>) -> Result<String, Refusal> {
    let name = trim_username(&name.unwrap_or_default());
    if name.is_empty() {
        Err(Refusal::Name(InvalidName::Empty))
    } else if name.len() > NAME_LIMIT {
        Err(Refusal::Name(InvalidName::TooLong))
    } else if name.chars().any(char::is_control) {
        Err(Refusal::Name(InvalidName::HasControls))
    } else {
        Ok(name)
    }
}

impl Refusal {
    /// Problem details, or the page that `show` makes of it.
    fn answer(
        self,
        wants_json: bool,
        show: impl FnOnce(StatusCode, pages::Refusal) -> Response,
    ) -> Response {
        let later = match self {
            // Whole seconds, and no earlier than it is true.
            Self::Later(after) => after.as_secs() + u64::from(after.subsec_nanos() > 0),
            _ => 0,
        };
        let too_early = format!("There were too many logins; try again in {later} seconds.");
        let (status, detail) = match &self {
            Self::Unreadable(status, detail) => (*status, detail.as_str()),
            Self::Name(invalid) => (StatusCode::UNPROCESSABLE_ENTITY, invalid.detail()),
            Self::NoUser => (StatusCode::UNAUTHORIZED, "No user is logged in to the application."),
            Self::Browser => (
                StatusCode::FORBIDDEN,
                "Bearer credentials are for clients that are no browsers; leave credential away.",
            ),
            Self::Later(_) => (StatusCode::TOO_MANY_REQUESTS, too_early.as_str()),
            Self::NotNow => (StatusCode::SERVICE_UNAVAILABLE, "Try again later."),
        };
        let mut response = if wants_json {
            super::routes::problem(status, detail)
        } else {
            show(status, self.shown(later))
        };
        let headers = response.headers_mut();
        match &self {
            Self::Later(_) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(later));
            }
            Self::NoUser => {
                // RFC 9110 wants a challenge with every 401; the login it names is not ours.
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Activeconnect"));
            }
            _ => {}
        }
        response
    }

    /// The same for a page, which tells it in its language.
    fn shown(&self, later: u64) -> pages::Refusal {
        match self {
            Self::Unreadable(..) => pages::Refusal::Unreadable,
            Self::Name(InvalidName::Empty) => pages::Refusal::NameEmpty,
            Self::Name(InvalidName::TooLong) => {
                pages::Refusal::NameTooLong { max_bytes: NAME_LIMIT }
            }
            Self::Name(InvalidName::HasControls) => pages::Refusal::NameHasControls,
            Self::NoUser => pages::Refusal::NoUser,
            Self::Browser => pages::Refusal::BearerFromBrowser,
            Self::Later(_) => pages::Refusal::TooMany { seconds: later },
            Self::NotNow => pages::Refusal::NotNow,
        }
    }
}

impl InvalidName {
    fn detail(self) -> &'static str {
        match self {
            Self::Empty => "The user name is empty; type one.",
            Self::TooLong => "The user name is too long; 256 bytes is the most.",
            Self::HasControls => "The user name has control characters; leave them out.",
        }
    }
}
