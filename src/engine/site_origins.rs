use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use url::Url;

/// The origins under which browsers reach this site, and the other origins whose pages may use it.
#[derive(Debug, Default)]
pub(crate) struct SiteOrigins {
    /// As browsers write them; without one, the host of each request stands for it.
    pub(crate) public: Vec<String>,
    /// Other origins whose pages may log in and out, poll the status and open sockets with a
    /// browser's cookies.
    pub(crate) allowed: Vec<String>,
    has_warned: AtomicBool,
}

impl SiteOrigins {
    /// The first origin that is not written as browsers write it. None has a `*`, which a URL's
    /// host may have.
    pub(crate) fn malformed(&self) -> Option<&String> {
        self.public.iter().chain(&self.allowed).find(|origin| {
            let url = Url::parse(origin).ok();
            let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
            let is_same = |url: Url| url.origin().ascii_serialization() == **origin;
            origin.contains('*') || !url.is_some_and(is_same)
        })
    }

    /// The host, and the port if it is not the scheme's default, under which users know this site.
    /// Of several, that of the request's host, else the first; without public origins, the
    /// request's host.
    #[cfg(feature = "axum")]
    pub(crate) fn display_host<'a>(&'a self, request_host: &'a str) -> &'a str {
        let hosts = || self.public.iter().filter_map(|origin| origin.split_once("://"));
        let mut same = hosts().filter(|(_, host)| host.eq_ignore_ascii_case(request_host));
        same.next().or_else(|| hosts().next()).map_or(request_host, |(_, host)| host)
    }

    /// Warns once that a page's origin differs from the origin of this site.
    pub(crate) fn warn_of_mismatch(&self, origin: &dyn fmt::Debug, request_host: &dyn fmt::Debug) {
        if self.has_warned.swap(true, Ordering::Relaxed) {
            return;
        }
        if self.public.is_empty() {
            tracing::warn!(
                ?origin,
                host = ?request_host,
                "the origin of a page is not the host of its request: if a proxy has changed the \
                 host, and the page is this site's, name its origin with ActiveconnectBuilder::public_origin"
            );
        } else {
            tracing::warn!(
                ?origin,
                public_origins = ?self.public,
                "the origin of a page is none of the public origins: if the page is this site's, \
                 name its origin with ActiveconnectBuilder::public_origin, too"
            );
        }
    }
}
