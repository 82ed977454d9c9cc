use http::HeaderValue;

/// `Cache-Control` of the responses that a layer lets through and that have none.
///
/// A response that has a `Cache-Control` keeps it: a handler that knows better is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheControl {
    /// `private`: the user's browser may keep the response, caches on the way may not. After the
    /// logout the browser may show it again. The default.
    #[default]
    Private,
    /// `no-store`: no cache keeps the response, so that the browser asks again when the user goes
    /// back to it.
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
