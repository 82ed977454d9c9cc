//! `GET login`.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::context::RequestContext;
use super::pages::render;
use super::redirect;
use crate::engine::Activeconnect;
use crate::identity::UserId;
use crate::layer::SitePaths;

#[derive(Deserialize)]
pub(super) struct LoginPageQuery {
    next: Option<String>,
    /// If present, the page is shown although the browser has a session, so that another user can
    /// log in.
    switch: Option<String>,
}

/// The sanitized `next` of the query.
pub(super) fn next_from_query(
    query: Result<Query<LoginPageQuery>, QueryRejection>,
    paths: &SitePaths,
) -> String {
    let requested = query.ok().and_then(|Query(query)| query.next);
    redirect::sanitize_next(requested.as_deref(), paths)
}

pub(super) async fn login_page(
    State(ac): State<Activeconnect>,
    query: Result<Query<LoginPageQuery>, QueryRejection>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let context = RequestContext::refreshed(ac, &parts).await;
    let paths = context.paths();
    let switches_user = query.as_ref().is_ok_and(|Query(query)| query.switch.is_some());
    let next = next_from_query(query, &paths);
    if context.is_logged_in() && !switches_user {
        return Redirect::to(&next).into_response();
    }
    let user = context.user.as_ref().map(UserId::as_str);
    let view = context.view(&paths, context.language(&parts));
    render(StatusCode::OK, view.login(user, &next, context.unread_cookies()))
}
