//! `GET confirm`.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::{ConfirmQueryResult, ConfirmRequest};
use crate::engine::Activeconnect;
use crate::web::pages::render;

/// The page's form posts to the page's own address.
pub(in crate::web) async fn page(
    State(ac): State<Activeconnect>,
    query: ConfirmQueryResult,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let confirmation = ConfirmRequest::from_parts(ac, query, &parts).await;
    match confirmation.check() {
        Ok((session, methods)) => {
            let ConfirmRequest { context, paths, .. } = &confirmation;
            let view = context.view(paths, context.language(&parts));
            render(StatusCode::OK, view.confirm(session.user(), methods))
        }
        Err(error) => confirmation.reject(error, &parts),
    }
}
