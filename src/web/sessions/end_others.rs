//! `POST sessions/end-others`, without a body.

use axum::extract::{Request, State};
use axum::response::Response;

use super::{SessionsQueryResult, SessionsRequest};
use crate::engine::Activeconnect;
use crate::pages::SessionNotice;

pub(in crate::web) async fn end_others(
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
