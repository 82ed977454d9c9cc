//! `GET locked`.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::context::RequestContext;
use super::login_page::{LoginPageQuery, next_from_query};
use super::pages::render;
use crate::engine::Activeconnect;
use crate::verdict::Verdict;

pub(super) async fn locked(
    State(ac): State<Activeconnect>,
    query: Result<Query<LoginPageQuery>, QueryRejection>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let context = RequestContext::refreshed(ac, &parts).await;
    let paths = context.paths();
    let next = next_from_query(query, &paths);
    let language = context.language(&parts);
    match context.session.as_ref().map(|session| session.verdict()) {
        Some(verdict @ (Verdict::Suspended | Verdict::Unavailable)) => {
            let here = paths.route_with_next("locked", &next);
            let is_suspended = verdict == Verdict::Suspended;
            render(StatusCode::OK, context.view(&paths, language).locked(is_suspended, here))
        }
        // A gate that allows any session of the user may redirect the browser back here.
        None => {
            Redirect::to(&context.page_address(&paths, "login", &next, language)).into_response()
        }
        // The gate in front of `next` allows the session, or redirects to the login page.
        Some(_) => Redirect::to(&next).into_response(),
    }
}
