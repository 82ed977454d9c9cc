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
    /// Another user wants to log in: a browser with a session gets the login page, too.
    switch: Option<String>,
}

/// What the query asks for, as far as that may be followed.
pub(super) fn next_from_query(
    query: Result<Query<LoginPageQuery>, QueryRejection>,
    paths: &SitePaths,
) -> String {
    let wanted = query.ok().and_then(|Query(query)| query.next);
    redirect::sanitize_next(wanted.as_deref(), paths)
}

pub(super) async fn login_page(
    State(ac): State<Activeconnect>,
    query: Result<Query<LoginPageQuery>, QueryRejection>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let visitor = RequestContext::refreshed(ac, &parts).await;
    let paths = visitor.paths();
    let switches = query.as_ref().is_ok_and(|Query(query)| query.switch.is_some());
    let next = next_from_query(query, &paths);
    if visitor.is_logged_in() && !switches {
        return Redirect::to(&next).into_response();
    }
    let user = visitor.user.as_ref().map(UserId::as_str);
    let view = visitor.view(&paths, visitor.language(&parts));
    render(StatusCode::OK, view.login(user, &next, visitor.unread_cookies()))
}
