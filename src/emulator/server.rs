use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::http::StatusCode;

use super::problem::Problem;
use super::state::State;
use super::{AcceptedDialects, api, control, pages};
use crate::Secret;
use crate::clock::unix_millis;

/// What the emulator was started with.
pub(super) struct Settings {
    pub(super) application_id: String,
    pub(super) application_secret: Secret,
    pub(super) dialects: AcceptedDialects,
    pub(super) pending_timeout_ms: u64,
    pub(super) clock_tolerance_s: u64,
    pub(super) flat_status: bool,
}

/// What all requests share.
pub(super) struct Server {
    pub(super) settings: Settings,
    state: Mutex<State>,
}

impl Server {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, state: Mutex::default() }
    }

    /// A panic elsewhere leaves counters and statuses that are still worth reading.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The moment of everything but signatures, in Unix milliseconds: comparable with the clock of
    /// whoever measures.
    pub(super) fn now(&self) -> u64 {
        unix_millis()
    }

    /// The moment that timestamps of signatures are held against, in Unix seconds.
    pub(super) fn now_s(&self) -> u64 {
        self.now() / 1000
    }
}

pub(super) fn router(server: Arc<Server>) -> Router {
    Router::new()
        .merge(api::routes())
        .merge(control::routes())
        .merge(pages::register_routes())
        .fallback(|| async { Problem::not_found("no such route") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this route wants another method")
        })
        .with_state(server)
}
