//! The blog's router: routes behind the gate, and public routes.

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

/// Far more than any form needs. A post that is a little too long thus gets the form back, with its
/// text, instead of an error page.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// The state of all handlers.
#[derive(Clone)]
pub(crate) struct Blog {
    pub(crate) ac: Activeconnect,
    pub(crate) database: Database,
    pub(crate) service: Arc<Service>,
}

pub(crate) fn router(blog: Blog) -> Router {
    let ac = blog.ac.clone();
    Router::new()
        .route("/", get(timeline::show_timeline))
        .route("/posts", post(timeline::create_post))
        .route("/phone", post(register::register_phone))
        .fallback(async || pages::error(StatusCode::NOT_FOUND, "This page does not exist."))
        // The routes above are only for logged-in users, the routes below are public.
        // `NoStore` keeps the browser from showing a cached page after the logout.
        .layer(ac.layer().cache_control(CacheControl::NoStore))
        .route("/register", get(register::show_form).post(register::register))
        .route("/style.css", get(style))
        .nest("/auth", ac.routes())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        // Rejects forms that other sites send.
        .layer(CsrfLayer::new())
        .with_state(blog)
}

async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css")], include_str!("assets/style.css")).into_response()
}
