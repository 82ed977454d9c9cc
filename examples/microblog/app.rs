//! The blog as a router: what is behind the gate, and what is not.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_activeconnect::Activeconnect;
use tower_activeconnect::layer::CacheControl;
use tower_http::csrf::CsrfLayer;

use crate::database::Database;
use crate::service::Service;
use crate::{pages, register, timeline};

/// Far more than any form here needs, so that what is only somewhat too long is answered with the
/// form and the text in it.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Blog {
    pub(crate) ac: Activeconnect,
    pub(crate) database: Database,
    pub(crate) service: Arc<Service>,
}

pub(crate) fn router(blog: Blog) -> Router {
    let ac = blog.ac.clone();
    Router::new()
        .route("/", get(timeline::show))
        .route("/posts", post(timeline::write))
        .route("/phone", post(register::another_phone))
        .fallback(async || pages::refused(StatusCode::NOT_FOUND, "There is no such page."))
        // What comes before is for logged-in users only, what comes after for everyone.
        // Nothing of it is to be seen once the user has logged out.
        .layer(ac.layer().cache_control(CacheControl::NoStore))
        .route("/register", get(register::form).post(register::register))
        .route("/style.css", get(style))
        .nest("/auth", ac.routes())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        // Forms of other sites are refused.
        .layer(CsrfLayer::new())
        .with_state(blog)
}

async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css")], include_str!("assets/style.css")).into_response()
}
