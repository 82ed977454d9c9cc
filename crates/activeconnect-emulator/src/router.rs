use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::Router;
use axum::extract::State as Extract;
use axum::http::header::DATE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response_with_state;
use axum::response::Response;

use super::error_response::ErrorResponse;
use super::server::AppState;
use super::{api, control, pages};

/// All routes of the service, the control interface and the phone.
pub(super) fn router(server: Arc<AppState>) -> Router {
    Router::new()
        .merge(api::routes())
        .merge(control::routes())
        .merge(pages::register_routes())
        .merge(pages::asset_routes())
        .fallback(|| async { ErrorResponse::not_found("no such route") })
        .method_not_allowed_fallback(|| async {
            ErrorResponse::new(StatusCode::METHOD_NOT_ALLOWED, "this route requires another method")
        })
        .layer(map_response_with_state(Arc::clone(&server), set_date_header))
        .with_state(server)
}

/// Sets `Date` to the service's clock. hyper adds the real time only if the header is absent.
async fn set_date_header(
    Extract(server): Extract<Arc<AppState>>,
    mut response: Response,
) -> Response {
    let now = UNIX_EPOCH + Duration::from_secs(server.now_s());
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(now)) {
        response.headers_mut().insert(DATE, date);
    }
    response
}
