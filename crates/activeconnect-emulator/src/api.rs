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

const SERVICE_ROUTES: [(Endpoint, MethodFilter, &str); 9] = [
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
    SERVICE_ROUTES.into_iter().fold(Router::new(), |router, (call, method, path)| {
        let handler = move |Extract(server): Extract<Arc<AppState>>, request: Request| async move {
            let request = CapturedRequest::read(request).await?;
            let (response, fault) = handle_call(&server, call, &request)?;
            Ok::<_, ErrorResponse>(match fault {
                Some(fault) => fault.apply(response, &request).await,
                None => response,
            })
        };
        router.route(path, on(method, handler))
    })
}

/// Handles one call. The emulator reports an unknown application or session first, because it then
/// has no secret to verify the signature with. It reports everything else, an unknown user included,
/// only to callers with a valid signature. Faults apply only to their calls.
fn handle_call(
    server: &AppState,
    call: Endpoint,
    request: &CapturedRequest,
) -> Result<(Response, Option<Fault>), ErrorResponse> {
    let mut state = server.state();
    let client_id = request.segment(2).unwrap_or_default();
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
    let verified = verify(&request.headers, accepted, &client_id, &secret, &request.url());
    state.authorize_call(
        call,
        &client_id,
        verified,
        server.now_s(),
        server.settings.clock_tolerance_s,
    )?;

    let user_ids = users(&mut state, call, &client_id, request);
    let fault = state.faults.take_matching(call, &user_ids);
    let response = match fault.as_ref().and_then(|fault| fault.early_response(request)) {
        Some(early) => early,
        None => {
            let now = server.now();
            let arrives_at = fault.as_ref().map_or(Some(now), |fault| fault.arrives_at(now));
            let timing = CallTiming { now, arrives_at };
            dispatch(&mut state, &server.settings, call, &client_id, request, timing)
                .into_response()
        }
    };
    Ok((response, fault))
}

/// The users that the call concerns.
fn users(
    state: &mut State,
    call: Endpoint,
    client_id: &str,
    request: &CapturedRequest,
) -> Vec<String> {
    match call {
        Endpoint::AddUsers | Endpoint::DeleteUsers => {
            body(request).map_or_else(|_| Vec::new(), |Users { users, .. }| users)
        }
        Endpoint::Status | Endpoint::Logout => {
            state.session(client_id).map(|session| session.user_id.clone()).into_iter().collect()
        }
        _ => user(request).into_iter().collect(),
    }
}

/// The time of a call, and the time at which its response arrives, if it does. In Unix milliseconds.
#[derive(Clone, Copy)]
struct CallTiming {
    now: u64,
    arrives_at: Option<u64>,
}

/// Carries out the call.
fn dispatch(
    state: &mut State,
    settings: &Settings,
    call: Endpoint,
    client_id: &str,
    request: &CapturedRequest,
    timing: CallTiming,
) -> Result<Response, ErrorResponse> {
    let now = timing.now;
    match call {
        Endpoint::AddUsers => add_users(state, request),
        Endpoint::DeleteUsers => delete_users(state, request, now),
        Endpoint::Status => status(state, client_id, settings.flat_status, timing),
        Endpoint::Logout => logout(state, client_id, now),
        Endpoint::DeviceRegistrationLink => {
            let LinkQuery { display_name } = query(request)?;
            registration_link(state, request, display_name)
        }
        Endpoint::LostUserMobileDevice => {
            state.remove_devices(&user(request)?)?;
            registration_link(state, request, None)
        }
        Endpoint::HasRegisteredMobileDevice => {
            let registered = state.has_device(&user(request)?)?;
            Ok(Json(HasDeviceResponse::success(registered)).into_response())
        }
        Endpoint::SendRegistrationSms => send_registration_sms(state, request),
        Endpoint::AuthenticateUser => {
            authenticate_user(state, request, settings.pending_timeout_ms, now)
        }
    }
}

fn user(request: &CapturedRequest) -> Result<String, UnknownUser> {
    request.segment(3).ok_or(UnknownUser)
}

fn body<T: DeserializeOwned>(request: &CapturedRequest) -> Result<T, ErrorResponse> {
    from_json(&request.body)
        .map_err(|error| ErrorResponse::unsuccessful(format!("the body cannot be read: {error}")))
}

fn query<T: DeserializeOwned>(request: &CapturedRequest) -> Result<T, ErrorResponse> {
    let Query(query) = Query::try_from_uri(&request.uri).map_err(|error| {
        ErrorResponse::unsuccessful(format!("the query cannot be read: {error}"))
    })?;
    Ok(query)
}

fn done() -> Response {
    Json(OutcomeResponse::success()).into_response()
}

fn add_users(state: &mut State, request: &CapturedRequest) -> Result<Response, ErrorResponse> {
    let Users { users, .. } = body(request)?;
    let users = state.add_users(users).map_err(ErrorResponse::unsuccessful)?;
    Ok((StatusCode::CREATED, Json(AddUsersResponse::success(users))).into_response())
}

fn delete_users(
    state: &mut State,
    request: &CapturedRequest,
    now: u64,
) -> Result<Response, ErrorResponse> {
    let Users { users, .. } = body(request)?;
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
    request: &CapturedRequest,
    display_name: Option<String>,
) -> Result<String, ErrorResponse> {
    let token = random::text(random::UPPERCASE_ALPHABET, 32)?;
    let register_url = request.own_url(&format!("/register/{token}"));
    state.add_link(&user(request)?, token, display_name)?;
    Ok(register_url)
}

fn registration_link(
    state: &mut State,
    request: &CapturedRequest,
    display_name: Option<String>,
) -> Result<Response, ErrorResponse> {
    let link = new_link(state, request, display_name)?;
    Ok(Json(RegistrationLinkResponse::success(link)).into_response())
}

fn send_registration_sms(
    state: &mut State,
    request: &CapturedRequest,
) -> Result<Response, ErrorResponse> {
    let user_id = user(request)?;
    state.has_device(&user_id)?;
    let sms: RegistrationSms = body(request)?;
    if !is_phone_number(&sms.phone_number) {
        return Err(ErrorResponse::unsuccessful("the phone number must be + and 6 to 15 digits"));
    }
    let register_url = new_link(state, request, sms.display_name)?;
    let (phone_number, text) = (sms.phone_number, sms.message.unwrap_or_default());
    state.send(Message { user_id, phone_number, text, register_url });
    Ok(done())
}

fn is_phone_number(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (6..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The parameters of `authenticate_user`. serde rejects duplicates.
#[derive(Deserialize)]
struct AuthenticateQuery {
    #[serde(default)]
    methods: String,
    duration_seconds: Option<NonZeroU32>,
}

fn authenticate_user(
    state: &mut State,
    request: &CapturedRequest,
    pending_ms: u64,
    now: u64,
) -> Result<Response, ErrorResponse> {
    let user_id = user(request)?;
    if !state.has_device(&user_id)? {
        return Ok(auth_failure("NO_MOBILE_DEVICE"));
    }
    let query: AuthenticateQuery = match Query::try_from_uri(&request.uri) {
        Ok(Query(query)) => query,
        Err(error) => return Ok(auth_failure(format!("the query cannot be read: {error}"))),
    };
    let methods: AuthMethods = match query.methods.parse() {
        Ok(methods) => methods,
        Err(error) => return Ok(auth_failure(format!("{error}"))),
    };
    let duration_ms =
        query.duration_seconds.map_or(3600, |seconds| u64::from(seconds.get())) * 1000;

    let token = random::text(random::UPPERCASE_ALPHABET, 32)?;
    let secret = random::text(random::UPPERCASE_ALPHABET, 32)?;
    let params = SessionParams { methods, duration_ms, pending_ms };
    state.authenticate(&user_id, &params, token.clone(), Secret::new(secret.as_str()), now)?;
    let url = |call| request.own_url(&format!("/authentication/{call}/{token}"));
    let mut status = AuthenticationStatus::default();
    status.authenticated = true;
    status.session_status = Some(SessionStatus::Pending.as_str().to_owned());
    status.status_url = Some(url("session_status"));
    status.logout_url = Some(url("logout"));
    status.session_token = Some(token);
    status.session_secret = Some(secret);
    Ok((StatusCode::ACCEPTED, Json(AuthenticateResponse::from(status))).into_response())
}

fn auth_failure(reason: impl Into<String>) -> Response {
    let mut status = AuthenticationStatus::default();
    status.reason = Some(reason.into());
    Json(AuthenticateResponse::from(status)).into_response()
}

fn status(
    state: &mut State,
    token: &str,
    flat: bool,
    CallTiming { now, arrives_at }: CallTiming,
) -> Result<Response, ErrorResponse> {
    let session = state.session(token).ok_or(ErrorResponse::not_found("unknown session"))?;
    let status = session.report_status(now, arrives_at);
    let fields = StatusFields::new(status);
    let response = if flat { StatusResponse::flat(fields) } else { StatusResponse::nested(fields) };
    Ok(Json(response).into_response())
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
    fn from(rejection: CallRejection) -> Self {
        let reason = match rejection {
            CallRejection::Signature(reason) => format!("bad signature: {reason}"),
            CallRejection::Timestamp => {
                "bad timestamp: too far from the service's clock".to_owned()
            }
            CallRejection::Nonce => "replayed nonce".to_owned(),
        };
        Self::new(StatusCode::UNAUTHORIZED, reason)
    }
}
