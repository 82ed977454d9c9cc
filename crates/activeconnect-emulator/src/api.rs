//! The routes of the remote service.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::{Query, Request, State as Extract};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tower_activeconnect::Secret;
use tower_activeconnect::protocol::messages::{
    AddUsersResponse, AuthenticateResponse, AuthenticationStatus, HasDeviceResponse,
    OutcomeResponse, RegistrationLinkResponse, RegistrationSms, StatusFields, StatusResponse,
    Users, from_json,
};
use tower_activeconnect::protocol::{AuthMethods, SessionStatus};

use super::endpoint::Endpoint;
use super::error_response::ErrorResponse;
use super::fault::Fault;
use super::request::CapturedRequest;
use super::server::{AppState, Settings};
use super::session::SessionParams;
use super::signature::verify;
use super::state::{CallRejection, Message, State, UnknownUser};
use super::{Action, random};

const LOGIN_ROUTES: [(Endpoint, MethodFilter, &str); 9] = [
    (Endpoint::AddUsers, MethodFilter::POST, "/management/add_users/{app}"),
    (Endpoint::DeleteUsers, MethodFilter::POST, "/management/delete_users/{app}"),
    (
        Endpoint::DeviceRegistrationLink,
        MethodFilter::GET,
        "/management/device_registration_link/{app}/{user}",
    ),
    (
        Endpoint::HasRegisteredMobileDevice,
        MethodFilter::GET,
        "/management/has_registered_mobile_device/{app}/{user}",
    ),
    (
        Endpoint::LostUserMobileDevice,
        MethodFilter::GET,
        "/management/lost_user_mobile_device/{app}/{user}",
    ),
    (
        Endpoint::SendRegistrationSms,
        MethodFilter::POST,
        "/management/send_registration_sms/{app}/{user}",
    ),
    (
        Endpoint::AuthenticateUser,
        MethodFilter::POST,
        "/authentication/authenticate_user/{app}/{user}",
    ),
    (Endpoint::Status, MethodFilter::GET, "/authentication/session_status/{session}"),
    (Endpoint::Logout, MethodFilter::POST, "/authentication/logout/{session}"),
];

pub(super) fn routes() -> Router<Arc<AppState>> {
    LOGIN_ROUTES.into_iter().fold(Router::new(), |router, (call, method, path)| {
        let handler = move |Extract(server): Extract<Arc<AppState>>, request: Request| async move {
            let received = CapturedRequest::read(request).await?;
            let (answer, fault) = handle_call(&server, call, &received)?;
            Ok::<_, ErrorResponse>(match fault {
                Some(fault) => fault.apply(answer, &received).await,
                None => answer,
            })
        };
        router.route(path, on(method, handler))
    })
}

/// One call from beginning to end. An application or session that does not exist is told first:
/// without it there is no secret to hold the signature against. Everything else, the user
/// included, is told only to those who signed; only their calls are struck by a fault.
fn handle_call(
    server: &AppState,
    call: Endpoint,
    received: &CapturedRequest,
) -> Result<(Response, Option<Fault>), ErrorResponse> {
    let mut state = server.state();
    let client_id = received.segment(2).unwrap_or_default();
    let secret = if matches!(call, Endpoint::Status | Endpoint::Logout) {
        let session =
            state.session(&client_id).ok_or(ErrorResponse::not_found("unknown session"))?;
        session.secret.clone()
    } else if client_id == server.settings.application_id {
        server.settings.application_secret.clone()
    } else {
        return Err(ErrorResponse::not_found("unknown application"));
    };

    let accepted = server.settings.dialects;
    let verified = verify(&received.headers, accepted, &client_id, &secret, &received.url());
    state.authorize_call(
        call,
        &client_id,
        verified,
        server.now_s(),
        server.settings.clock_tolerance_s,
    )?;

    let user_ids = users(&mut state, call, &client_id, received);
    let fault = state.faults.take_matching(call, &user_ids);
    let answer = match fault.as_ref().and_then(|fault| fault.early_response(received)) {
        Some(instead) => instead,
        None => {
            let now = server.now();
            let arrives_at = fault.as_ref().map_or(Some(now), |fault| fault.arrives_at(now));
            let moment = CallTiming { now, arrives_at };
            dispatch(&mut state, &server.settings, call, &client_id, received, moment)
                .into_response()
        }
    };
    Ok((answer, fault))
}

/// The user that the call is about.
fn users(
    state: &mut State,
    call: Endpoint,
    client_id: &str,
    received: &CapturedRequest,
) -> Vec<String> {
    match call {
        Endpoint::AddUsers | Endpoint::DeleteUsers => {
            body(received).map_or_else(|_| Vec::new(), |Users { users }| users)
        }
        Endpoint::Status | Endpoint::Logout => {
            state.session(client_id).map(|session| session.user_id.clone()).into_iter().collect()
        }
        _ => user(received).into_iter().collect(),
    }
}

/// When a call came, and when its answer arrives, if it does. In Unix milliseconds.
#[derive(Clone, Copy)]
struct CallTiming {
    now: u64,
    arrives_at: Option<u64>,
}

/// Does what the call asks for.
fn dispatch(
    state: &mut State,
    settings: &Settings,
    call: Endpoint,
    client_id: &str,
    received: &CapturedRequest,
    moment: CallTiming,
) -> Result<Response, ErrorResponse> {
    let now = moment.now;
    match call {
        Endpoint::AddUsers => add_users(state, received),
        Endpoint::DeleteUsers => delete_users(state, received, now),
        Endpoint::Status => status(state, client_id, settings.flat_status, moment),
        Endpoint::Logout => logout(state, client_id, now),
        Endpoint::DeviceRegistrationLink => {
            let LinkQuery { display_name } = query(received)?;
            registration_link(state, received, display_name)
        }
        Endpoint::LostUserMobileDevice => {
            state.remove_devices(&user(received)?)?;
            registration_link(state, received, None)
        }
        Endpoint::HasRegisteredMobileDevice => {
            let registered = state.has_device(&user(received)?)?;
            let reply = HasDeviceResponse {
                status: true,
                reason: None,
                device_registered: Some(registered),
            };
            Ok(Json(reply).into_response())
        }
        Endpoint::SendRegistrationSms => send_registration_sms(state, received),
        Endpoint::AuthenticateUser => {
            authenticate_user(state, received, settings.pending_timeout_ms, now)
        }
    }
}

fn user(received: &CapturedRequest) -> Result<String, UnknownUser> {
    received.segment(3).ok_or(UnknownUser)
}

fn body<T: DeserializeOwned>(received: &CapturedRequest) -> Result<T, ErrorResponse> {
    from_json(&received.body)
        .map_err(|error| ErrorResponse::unsuccessful(format!("the body cannot be read: {error}")))
}

fn query<T: DeserializeOwned>(received: &CapturedRequest) -> Result<T, ErrorResponse> {
    let Query(query) = Query::try_from_uri(&received.uri).map_err(|error| {
        ErrorResponse::unsuccessful(format!("the query cannot be read: {error}"))
    })?;
    Ok(query)
}

fn done() -> Response {
    Json(OutcomeResponse { status: true, reason: None }).into_response()
}

fn add_users(state: &mut State, received: &CapturedRequest) -> Result<Response, ErrorResponse> {
    let Users { users } = body(received)?;
    let users = state.add_users(users).map_err(ErrorResponse::unsuccessful)?;
    let reply = AddUsersResponse { status: true, reason: None, users: Some(users) };
    Ok((StatusCode::CREATED, Json(reply)).into_response())
}

fn delete_users(
    state: &mut State,
    received: &CapturedRequest,
    now: u64,
) -> Result<Response, ErrorResponse> {
    let Users { users } = body(received)?;
    if state.delete_users(&users, now) {
        Ok(done())
    } else {
        Err(ErrorResponse::unsuccessful("none of these users exists"))
    }
}

#[derive(Deserialize)]
struct LinkQuery {
    display_name: Option<String>,
}

fn new_link(
    state: &mut State,
    received: &CapturedRequest,
    display_name: Option<String>,
) -> Result<String, ErrorResponse> {
    let token = random::text(random::UPPERCASE_ALPHABET, 32)?;
    let register_url = received.own_url(&format!("/register/{token}"));
    state.add_link(&user(received)?, token, display_name)?;
    Ok(register_url)
}

fn registration_link(
    state: &mut State,
    received: &CapturedRequest,
    display_name: Option<String>,
) -> Result<Response, ErrorResponse> {
    let register_url = Some(new_link(state, received, display_name)?);
    Ok(Json(RegistrationLinkResponse { status: true, reason: None, register_url }).into_response())
}

fn send_registration_sms(
    state: &mut State,
    received: &CapturedRequest,
) -> Result<Response, ErrorResponse> {
    let user_id = user(received)?;
    state.has_device(&user_id)?;
    let sms: RegistrationSms = body(received)?;
    if !is_phone_number(&sms.phone_number) {
        return Err(ErrorResponse::unsuccessful("the phone number must be + and 6 to 15 digits"));
    }
    let register_url = new_link(state, received, sms.display_name)?;
    let (phone_number, text) = (sms.phone_number, sms.message.unwrap_or_default());
    state.send(Message { user_id, phone_number, text, register_url });
    Ok(done())
}

fn is_phone_number(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (6..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The parameters of `authenticate_user`; serde refuses one that stands twice.
#[derive(Deserialize)]
struct AuthenticateQuery {
    #[serde(default)]
    methods: String,
    duration_seconds: Option<NonZeroU32>,
}

fn authenticate_user(
    state: &mut State,
    received: &CapturedRequest,
    pending_ms: u64,
    now: u64,
) -> Result<Response, ErrorResponse> {
    let user_id = user(received)?;
    if !state.has_device(&user_id)? {
        return Ok(auth_failure("NO_MOBILE_DEVICE"));
    }
    let asked: AuthenticateQuery = match Query::try_from_uri(&received.uri) {
        Ok(Query(asked)) => asked,
        Err(error) => return Ok(auth_failure(format!("the query cannot be read: {error}"))),
    };
    let methods: AuthMethods = match asked.methods.parse() {
        Ok(methods) => methods,
        Err(error) => return Ok(auth_failure(format!("{error}"))),
    };
    let duration_ms =
        asked.duration_seconds.map_or(3600, |seconds| u64::from(seconds.get())) * 1000;

    let token = random::text(random::UPPERCASE_ALPHABET, 32)?;
    let secret = random::text(random::UPPERCASE_ALPHABET, 32)?;
    let asked = SessionParams { methods, duration_ms, pending_ms };
    state.authenticate(&user_id, &asked, token.clone(), Secret::new(secret.as_str()), now)?;
    let url = |call| received.own_url(&format!("/authentication/{call}/{token}"));
    let authentication_status = AuthenticationStatus {
        authenticated: true,
        session_status: Some(SessionStatus::Pending.as_str().to_owned()),
        reason: None,
        status_url: Some(url("session_status")),
        logout_url: Some(url("logout")),
        session_token: Some(token),
        session_secret: Some(secret),
    };
    Ok((StatusCode::ACCEPTED, Json(AuthenticateResponse { authentication_status })).into_response())
}

fn auth_failure(reason: impl Into<String>) -> Response {
    let authentication_status =
        AuthenticationStatus { reason: Some(reason.into()), ..AuthenticationStatus::default() };
    Json(AuthenticateResponse { authentication_status }).into_response()
}

fn status(
    state: &mut State,
    token: &str,
    flat: bool,
    CallTiming { now, arrives_at }: CallTiming,
) -> Result<Response, ErrorResponse> {
    let session = state.session(token).ok_or(ErrorResponse::not_found("unknown session"))?;
    let status = session.report_status(now, arrives_at);
    let shape = StatusFields {
        // Readers take `false` beside `active` for a contradiction.
        authenticated: Some(status == SessionStatus::Active),
        session_status: Some(status.as_str().to_owned()),
    };
    let answer = if flat {
        StatusResponse {
            authenticated: shape.authenticated,
            session_status: shape.session_status,
            authentication_status: None,
        }
    } else {
        StatusResponse { authentication_status: Some(shape), ..StatusResponse::default() }
    };
    Ok(Json(answer).into_response())
}

fn logout(state: &mut State, token: &str, now: u64) -> Result<Response, ErrorResponse> {
    state
        .act_on_session(token, Action::Close, now)
        .map(|_| done())
        .map_err(|error| ErrorResponse::unsuccessful(error.to_string()))
}

impl From<UnknownUser> for ErrorResponse {
    fn from(UnknownUser: UnknownUser) -> Self {
        Self::not_found("unknown user")
    }
}

impl From<CallRejection> for ErrorResponse {
    fn from(refusal: CallRejection) -> Self {
        let reason = match refusal {
            CallRejection::Signature(reason) => format!("bad signature: {reason}"),
            CallRejection::Timestamp => {
                "bad timestamp: too far from the service's clock".to_owned()
            }
            CallRejection::Nonce => "replayed nonce".to_owned(),
        };
        Self::new(StatusCode::UNAUTHORIZED, reason)
    }
}
