//! The pages: the phone, and the page of a registration link.

mod phone;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State as Extract;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use super::error_response::ErrorResponse;
use super::request::segment;
use super::server::AppState;

pub(super) use phone::{changes, phone};

pub(super) fn register_routes() -> Router<Arc<AppState>> {
    Router::new().route("/register/{link}", get(show_link).post(open_link))
}

/// The routes of the assets. They are not part of the control interface, because a registration page,
/// which needs the style, may be opened through a host name that is not loopback.
pub(super) fn asset_routes() -> Router<Arc<AppState>> {
    let style = async || asset("text/css", include_str!("pages/phone.css"));
    let script = async || asset("text/javascript", include_str!("pages/phone.js"));
    Router::new().route("/emulator/phone.css", get(style)).route("/emulator/phone.js", get(script))
}

fn asset(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text).into_response()
}

#[derive(Template)]
#[template(path = "register_device.html")]
struct RegisterDevice {
    step: Step,
    name: String,
}

#[derive(PartialEq)]
enum Step {
    Offered,
    Done,
    Used,
    Unknown,
}

async fn show_link(
    Extract(server): Extract<Arc<AppState>>,
    uri: Uri,
) -> Result<Response, ErrorResponse> {
    let (step, name) = link_state(&server, &uri);
    link_page(step, name)
}

async fn open_link(
    Extract(server): Extract<Arc<AppState>>,
    uri: Uri,
) -> Result<Response, ErrorResponse> {
    let (mut step, name) = link_state(&server, &uri);
    if step == Step::Offered && server.state().redeem_link(&segment(&uri, 1).unwrap_or_default()) {
        step = Step::Done;
    }
    link_page(step, name)
}

/// The state of the link, and the name of its user.
fn link_state(server: &AppState, uri: &Uri) -> (Step, String) {
    let token = segment(uri, 1).unwrap_or_default();
    let state = server.state();
    match state.link(&token) {
        Some(link) => {
            let name = link.display_name.as_deref().or_else(|| state.label(&link.user_id));
            let name = name.unwrap_or(&link.user_id).to_owned();
            (if link.used { Step::Used } else { Step::Offered }, name)
        }
        None => (Step::Unknown, String::new()),
    }
}

fn link_page(step: Step, name: String) -> Result<Response, ErrorResponse> {
    let status = match step {
        Step::Offered | Step::Done => StatusCode::OK,
        Step::Used => StatusCode::GONE,
        Step::Unknown => StatusCode::NOT_FOUND,
    };
    page(status, &RegisterDevice { step, name })
}

/// The pages may not be framed, which prevents clickjacking, and are never cached.
const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (CACHE_CONTROL, "no-store"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (REFERRER_POLICY, "same-origin"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
];

fn page(status: StatusCode, template: &impl Template) -> Result<Response, ErrorResponse> {
    let html = template.render().map_err(|error| {
        ErrorResponse::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    })?;
    Ok((status, SECURITY_HEADERS, Html(html)).into_response())
}
