//! `POST login`: who is to be rung, and the answer that does not depend on whether they exist.

use std::time::Duration;

use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::extract::{FromRequest as _, Request};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::{Form, Json};
use serde::Deserialize;

use super::cookies;
use super::next;
use super::pages::{RefusedPage, show};
use super::routes::status_json;
use crate::engine::{Activeconnect, BeginError, Who};
use crate::identity::UserId;
use crate::layer::RequestCredentials;

/// The longest name that can be typed, in bytes.
const NAME_LIMIT: usize = 256;

/// What is posted. Beside another login the name is not looked at.
#[derive(Deserialize)]
struct Login {
    username: Option<String>,
    next: Option<String>,
}

/// Why a start was refused, before anything was looked up.
enum Refusal {
    Unreadable(StatusCode, String),
    Name(&'static str),
    NoUser,
    Busy(Duration),
    Full(Duration),
    NotNow,
}

pub(super) async fn start(ac: &Activeconnect, user: Option<UserId>, request: Request) -> Response {
    let wants_json = is_json(request.headers());
    let auth_path = &ac.engine().settings.auth_path;
    match begin(ac, user, request, wants_json).await {
        Ok(cookie) => {
            let mut response = if wants_json {
                (StatusCode::ACCEPTED, status_json("pending")).into_response()
            } else {
                Redirect::to(&format!("{auth_path}/waiting")).into_response()
            };
            response.headers_mut().append(SET_COOKIE, cookie);
            response
        }
        Err(refusal) => refusal.answer(wants_json, auth_path),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "application/json" || essence.ends_with("+json")
    })
}

async fn begin(
    ac: &Activeconnect,
    user: Option<UserId>,
    request: Request,
    wants_json: bool,
) -> Result<HeaderValue, Refusal> {
    let settings = &ac.engine().settings;
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    let mine = RequestCredentials::read(method, uri, headers, settings).attempt;
    let login = read(request, wants_json).await?;
    let engine = ac.engine();
    let who = if ac.has_resolver() {
        Who::Known(user.ok_or(Refusal::NoUser)?)
    } else {
        Who::Typed(typed_name(login.username)?)
    };
    let next = next::checked(login.next.as_deref(), &engine.settings.auth_path);
    match engine.begin_attempt(who, next, mine.as_ref()) {
        Ok((credential, _)) => Ok(cookies::set_attempt(&credential)),
        Err(BeginError::Busy { retry_after }) => Err(Refusal::Busy(retry_after)),
        Err(BeginError::Full { retry_after }) => Err(Refusal::Full(retry_after)),
        Err(BeginError::NoRandomness | BeginError::Stopped) => Err(Refusal::NotNow),
    }
}

async fn read(request: Request, json: bool) -> Result<Login, Refusal> {
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
    let name = name.unwrap_or_default();
    if name.is_empty() {
        Err(Refusal::Name("The user name is empty; type one."))
    } else if name.len() > NAME_LIMIT {
        Err(Refusal::Name("The user name is too long; 256 bytes is the most."))
    } else if name.chars().any(char::is_control) {
        Err(Refusal::Name("The user name has control characters; leave them out."))
    } else {
        Ok(name)
    }
}

impl Refusal {
    fn answer(self, wants_json: bool, auth_path: &str) -> Response {
        let (status, detail) = match &self {
            Self::Unreadable(status, detail) => (*status, detail.as_str()),
            Self::Name(detail) => (StatusCode::UNPROCESSABLE_ENTITY, *detail),
            Self::NoUser => (StatusCode::UNAUTHORIZED, "No user is logged in to the application."),
            Self::Busy(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "A login with this name is waiting; try again later.",
            ),
            Self::Full(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many people are logging in at the moment; try again later.",
            ),
            Self::NotNow => (StatusCode::SERVICE_UNAVAILABLE, "Try again later."),
        };
        let mut response = if wants_json {
            super::routes::problem(status, detail)
        } else {
            let title = status.canonical_reason().unwrap_or("Refused");
            show(status, &RefusedPage { auth_path, title, detail })
        };
        let headers = response.headers_mut();
        match &self {
            Self::Busy(after) | Self::Full(after) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
            }
            Self::NoUser => {
                // RFC 9110 wants a challenge with every 401; the login it names is not ours.
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Activeconnect"));
            }
            _ => {}
        }
        response
    }
}
