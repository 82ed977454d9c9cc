//! The URI that the client requested. This file, `peer.rs` and `buffered_body.rs` are the only ones
//! of this folder that name axum.

use http::{Extensions, Uri};

/// Axum strips the prefix of a nested router from the request's URI and keeps the whole URI in the
/// extensions.
#[cfg(feature = "axum")]
pub(super) fn original_uri<'a>(uri: &'a Uri, extensions: &'a Extensions) -> &'a Uri {
    extensions.get::<axum::extract::OriginalUri>().map_or(uri, |original| &original.0)
}

#[cfg(not(feature = "axum"))]
pub(super) fn original_uri<'a>(uri: &'a Uri, _: &'a Extensions) -> &'a Uri {
    uri
}
