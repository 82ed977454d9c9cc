//! `POST login`: starts an attempt. The response does not depend on whether the user exists.

use std::time::Duration;

use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::extract::{FromRequest as _, Request, State};
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
use super::json::{json, status_json};
use super::pages::{language_of, render};
use super::{cookies, redirect};
use crate::engine::{
    Activeconnect, AttemptTarget, ClientDetails, Config, Initiator, StartAttempt, StartError,
    trim_username,
};
use crate::identity::{AttemptCredential, UserId};
use crate::layer::{RequestCredentials, SitePaths, attempt_from_bearer, known_browser_cookie};
use crate::pages::{self, LanguageChoice};

/// The longest user name, in bytes, without surrounding white space.
const MAX_USERNAME_BYTES: usize = 256;

/// The body of the request. If a resolver is set, the gate ignores the name.
#[derive(Deserialize)]
struct LoginRequest {
    username: Option<String>,
    next: Option<String>,
    #[serde(default)]
    credential: CredentialDelivery,
}

/// How the gate delivers the session's credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CredentialDelivery {
    #[default]
    Cookie,
    /// In the body of a response, to a client that is not a browser.
    Bearer,
}

/// Why the gate rejects a login.
pub(super) enum LoginRejection {
    InvalidBody(StatusCode, String),
    InvalidUsername(InvalidUsername),
    NoResolvedUser,
    /// A browser requests a bearer credential.
    BearerFromBrowser,
    /// The response is the same for every limit.
    RateLimited(Duration),
    Unavailable,
}

/// Why a user name is invalid.
#[derive(Clone, Copy)]
pub(super) enum InvalidUsername {
    Empty,
    TooLong,
    HasControls,
}

pub(super) async fn login(State(ac): State<Activeconnect>, request: Request) -> Response {
    let wants_json = is_json(request.headers());
    let engine = ac.engine();
    let (parts, body) = request.into_parts();
    let user = ac.resolve(&parts);
    let login = tokio::select! {
        biased;
        login = parse_body::<LoginRequest>(Request::from_parts(parts.clone(), body), wants_json) => login,
        // A client that never finishes its body does not delay the shutdown.
        () = engine.shutdown.wait() => Err(LoginRejection::Unavailable),
    };
    let requested_next = login.as_ref().ok().and_then(|login| login.next.as_deref());
    let paths = SitePaths::from_parts(&parts, &engine.config);
    let next = redirect::sanitize_next(requested_next, &paths);
    let started = login.and_then(|login| start_attempt(&ac, user, &parts, login));
    let language = language_of(&parts, &engine.config);
    login_response(started, wants_json, &paths, &next, &engine.config, language)
}

/// The response to a client that starts an attempt: the attempt's secret, or the rejection. The
/// waiting page continues to `next`.
pub(super) fn login_response(
    started: Result<(CredentialDelivery, AttemptCredential), LoginRejection>,
    wants_json: bool,
    paths: &SitePaths,
    next: &str,
    settings: &Config,
    language: LanguageChoice,
) -> Response {
    match started {
        Ok((CredentialDelivery::Bearer, attempt)) => {
            let pending = json(&[("status", "pending"), ("attempt", &attempt.expose())]);
            (StatusCode::ACCEPTED, pending).into_response()
        }
        Ok((CredentialDelivery::Cookie, attempt)) => {
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
        Err(rejection) => rejection.into_response(wants_json, |status, error| {
            let login = paths.with_next("login", next);
            let view = settings.pages.view(paths, language);
            render(status, view.error(status.as_u16(), error, Some(login)))
        }),
    }
}

/// Whether a browser's page sent the request: scripts cannot omit these headers.
pub(super) fn is_browser_request(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site")
}

/// The client details to record; empty unless the application records them.
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

/// The media type without its parameters, in lower case.
fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn start_attempt(
    ac: &Activeconnect,
    user: Option<UserId>,
    parts: &Parts,
    login: LoginRequest,
) -> Result<(CredentialDelivery, AttemptCredential), LoginRejection> {
    let engine = ac.engine();
    let names = &engine.config.cookie_names;
    let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
    let previous_attempt =
        RequestCredentials::from_request(method, uri, headers, &engine.config, &engine.key_ring)
            .attempt();
    let previous_attempt =
        previous_attempt.or_else(|| attempt_from_bearer(headers, &engine.key_ring));
    let bearer = login.credential == CredentialDelivery::Bearer;
    if bearer && is_browser_request(&parts.headers) {
        return Err(LoginRejection::BearerFromBrowser);
    }
    let target = if ac.has_resolver() {
        AttemptTarget::User(user.ok_or(LoginRejection::NoResolvedUser)?)
    } else {
        let username = validate_username(login.username)?;
        AttemptTarget::Username(engine.config.username_normalizer.username(&username))
    };
    let known = known_browser_cookie(&parts.headers, names).and_then(|proofs| {
        engine.login.browser_proofs.verify(proofs, &target.key(), engine.now().wall)
    });
    let initiator = match known {
        Some(proof) => Initiator::KnownBrowser(proof),
        None => Initiator::Anonymous(client_ip(parts, &engine.config.trusted_proxies)),
    };
    if matches!(initiator, Initiator::Anonymous(None)) {
        engine.warnings.warn_missing_client_ip();
    }
    let client = client_details(parts, &engine.config);
    let start = StartAttempt {
        target,
        initiator,
        previous_attempt: previous_attempt.as_ref(),
        deliver_in_body: bearer,
        client,
    };
    let started = engine.begin_attempt(start)?;
    Ok((login.credential, started.credential))
}

impl From<StartError> for LoginRejection {
    fn from(error: StartError) -> Self {
        match error {
            StartError::AlreadyPending { retry_after }
            | StartError::RateLimited { retry_after }
            | StartError::LimitReached { retry_after } => Self::RateLimited(retry_after),
            StartError::Rng | StartError::ShuttingDown | StartError::NoRuntime => Self::Unavailable,
        }
    }
}

/// The body of a form, or of a script's request as JSON.
pub(super) async fn parse_body<T: DeserializeOwned>(
    request: Request,
    json: bool,
) -> Result<T, LoginRejection> {
    if json {
        let Json(body) =
            Json::from_request(request, &()).await.map_err(|error: JsonRejection| {
                LoginRejection::InvalidBody(error.status(), error.body_text())
            })?;
        Ok(body)
    } else {
        let Form(body) =
            Form::from_request(request, &()).await.map_err(|error: FormRejection| {
                LoginRejection::InvalidBody(error.status(), error.body_text())
            })?;
        Ok(body)
    }
}

fn validate_username(name: Option<String>) -> Result<String, LoginRejection> {
    let name = trim_username(&name.unwrap_or_default());
    if name.is_empty() {
        Err(LoginRejection::InvalidUsername(InvalidUsername::Empty))
    } else if name.len() > MAX_USERNAME_BYTES {
        Err(LoginRejection::InvalidUsername(InvalidUsername::TooLong))
    } else if name.chars().any(char::is_control) {
        Err(LoginRejection::InvalidUsername(InvalidUsername::HasControls))
    } else {
        Ok(name)
    }
}

impl LoginRejection {
    /// Problem details, or the page that `render_page` returns.
    fn into_response(
        self,
        wants_json: bool,
        render_page: impl FnOnce(StatusCode, pages::PageError) -> Response,
    ) -> Response {
        let retry_after_secs = match self {
            // Whole seconds, rounded up.
            Self::RateLimited(after) => after.as_secs() + u64::from(after.subsec_nanos() > 0),
            _ => 0,
        };
        let rate_limited =
            format!("There were too many logins; try again in {retry_after_secs} seconds.");
        let (status, detail) = match &self {
            Self::InvalidBody(status, detail) => (*status, detail.as_str()),
            Self::InvalidUsername(invalid) => (StatusCode::UNPROCESSABLE_ENTITY, invalid.detail()),
            Self::NoResolvedUser => {
                (StatusCode::UNAUTHORIZED, "No user is logged in to the application.")
            }
            Self::BearerFromBrowser => (
                StatusCode::FORBIDDEN,
                "Browsers cannot request bearer credentials; omit the field `credential`.",
            ),
            Self::RateLimited(_) => (StatusCode::TOO_MANY_REQUESTS, rate_limited.as_str()),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Try again retry_after_secs."),
        };
        let mut response = if wants_json {
            super::json::problem_response(status, detail)
        } else {
            render_page(status, self.page_error(retry_after_secs))
        };
        let headers = response.headers_mut();
        match &self {
            Self::RateLimited(_) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(retry_after_secs));
            }
            Self::NoResolvedUser => {
                // RFC 9110 requires a challenge with every 401. The login is the application's own.
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Activeconnect"));
            }
            _ => {}
        }
        response
    }

    /// The same rejection for a page, which translates it.
    fn page_error(&self, retry_after_secs: u64) -> pages::PageError {
        match self {
            Self::InvalidBody(..) => pages::PageError::InvalidBody,
            Self::InvalidUsername(InvalidUsername::Empty) => pages::PageError::UsernameEmpty,
            Self::InvalidUsername(InvalidUsername::TooLong) => {
                pages::PageError::UsernameTooLong { max_bytes: MAX_USERNAME_BYTES }
            }
            Self::InvalidUsername(InvalidUsername::HasControls) => {
                pages::PageError::UsernameHasControls
            }
            Self::NoResolvedUser => pages::PageError::NoResolvedUser,
            Self::BearerFromBrowser => pages::PageError::BearerFromBrowser,
            Self::RateLimited(_) => pages::PageError::RateLimited { seconds: retry_after_secs },
            Self::Unavailable => pages::PageError::LoginUnavailable,
        }
    }
}

impl InvalidUsername {
    fn detail(self) -> &'static str {
        match self {
            Self::Empty => "The user name is empty; enter one.",
            Self::TooLong => "The user name is longer than 256 bytes; enter a shorter one.",
            Self::HasControls => "The user name has control characters; remove them.",
        }
    }
}
