//! The URI that the client asked for: with `peer.rs` and `buffered_body.rs` all of
//! this floor that knows of axum.

use http::{Extensions, Uri};

/// Axum takes the prefix of a nested router off the request's URI, and keeps the whole one in the
/// extensions.
#[cfg(feature = "axum")]
pub(super) fn original_uri<'a>(uri: &'a Uri, extensions: &'a Extensions) -> &'a Uri {
    extensions.get::<axum::extract::OriginalUri>().map_or(uri, |original| &original.0)
}

#[cfg(not(feature = "axum"))]
pub(super) fn original_uri<'a>(uri: &'a Uri, _: &'a Extensions) -> &'a Uri {
    uri
}
