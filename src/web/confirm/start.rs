//! `POST confirm`.

use axum::extract::{Request, State};
use axum::response::Response;

use super::{ConfirmQueryResult, ConfirmRequest};
use crate::engine::{Activeconnect, AttemptTarget, Initiator, StartAttempt};
use crate::layer::{RequestCredentials, attempt_from_bearer, has_bearer_session};
use crate::web::login::{
    CredentialDelivery, LoginRejection, client_details, is_browser_request, login_response,
};

/// Starts the attempt for a form or a script. The request has no body.
pub(in crate::web) async fn start(
    State(ac): State<Activeconnect>,
    query: ConfirmQueryResult,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
    let (settings, keys) = (&ac.engine().config, &ac.engine().key_ring);
    let previous_attempt =
        RequestCredentials::from_request(method, uri, headers, settings, keys).attempt();
    let previous_attempt = previous_attempt.or_else(|| attempt_from_bearer(headers, keys));
    // A client that sends its credential in a header gets the next one in the body.
    let bearer = has_bearer_session(headers, keys) && !is_browser_request(headers);
    let confirmation = ConfirmRequest::from_parts(ac, query, &parts).await;
    let (session, methods) = match confirmation.check() {
        Ok(found) => found,
        Err(error) => return confirmation.reject(error, &parts),
    };
    let ConfirmRequest { context, paths, next, .. } = confirmation;
    let target = AttemptTarget::StepUp(session, methods, context.user.clone());
    let delivery = if bearer { CredentialDelivery::Bearer } else { CredentialDelivery::Cookie };
    let engine = context.engine();
    let client = client_details(&parts, &engine.config);
    let start = StartAttempt {
        target,
        initiator: Initiator::Session,
        previous_attempt: previous_attempt.as_ref(),
        deliver_in_body: bearer,
        client,
    };
    let started = engine.begin_attempt(start).map(|started| (delivery, started.credential));
    let (wants_json, language) = (!context.is_browser(), context.language(&parts));
    login_response(
        started.map_err(LoginRejection::from),
        wants_json,
        &paths,
        &next,
        &engine.config,
        language,
    )
}
