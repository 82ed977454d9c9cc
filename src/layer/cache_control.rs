use http::HeaderValue;

/// The `Cache-Control` header of forwarded responses that have none.
///
/// A `Cache-Control` that the handler has set stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheControl {
    /// `private`: the user's browser may store the response, shared caches may not. After the
    /// logout the browser may show it again. The default.
    #[default]
    Private,
    /// `no-store`: no cache stores the response, so that the browser requests it again when the
    /// user goes back to it.
    NoStore,
}

impl CacheControl {
    pub(super) fn header_value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Private => "private",
            Self::NoStore => "no-store",
        })
    }
}
