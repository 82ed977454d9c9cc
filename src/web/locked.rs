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
    let visitor = RequestContext::refreshed(ac, &parts).await;
    let paths = visitor.paths();
    let next = next_from_query(query, &paths);
    let language = visitor.language(&parts);
    match visitor.session.as_ref().map(|session| session.verdict()) {
        Some(verdict @ (Verdict::Suspended | Verdict::Unavailable)) => {
            let here = paths.route_with_next("locked", &next);
            let is_suspended = verdict == Verdict::Suspended;
            render(StatusCode::OK, visitor.view(&paths, language).locked(is_suspended, here))
        }
        // The gate may go by another session of the user, and would send the browser back here.
        None => {
            Redirect::to(&visitor.page_address(&paths, "login", &next, language)).into_response()
        }
        // Let in again, or to the login page: the gate there knows.
        Some(_) => Redirect::to(&next).into_response(),
    }
}
