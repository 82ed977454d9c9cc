//! CORS: the responses that pages of allowed origins may read.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::engine::SiteOrigins;

/// How long browsers cache a preflight response. Chromium caches it for two hours at most.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(600);

/// The CORS layer for the allowed origins; `None` if there are none.
pub(super) fn cors(origins: &SiteOrigins) -> Option<CorsLayer> {
    let allowed = origins.allowed.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    (!origins.allowed.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(allowed))
            .allow_credentials(true)
            .allow_methods([Method::GET, Method::POST])
            .allow_headers([CONTENT_TYPE])
            .expose_headers([RETRY_AFTER])
            .max_age(PREFLIGHT_MAX_AGE)
    })
}
