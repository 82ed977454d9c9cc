//! The paths of this site as browsers see them. A proxy may strip a prefix: browsers request
//! `/app/reports`, and the application sees `/reports`.

use http::{Extensions, HeaderMap, HeaderName};
use percent_encoding::utf8_percent_encode;

use super::peer::Peer;
use super::query::QUERY_VALUE_ESCAPES;
use crate::engine::{Config, is_plain_path};
#[cfg(feature = "axum")]
use crate::pages::SiteAddresses;

static X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
/// The longest prefix that a proxy may name, in bytes.
const MAX_FORWARDED_PREFIX_LEN: usize = 256;

/// The prefix that a trusted proxy has stripped. Boxed, because few requests have one.
#[derive(Clone, Debug)]
pub(crate) struct ForwardedPrefix(Box<str>);

/// The prefix of the request's proxy; `None` where the application has set the prefix itself.
pub(super) fn forwarded_prefix(
    headers: &HeaderMap,
    extensions: &Extensions,
    settings: &Config,
) -> Option<Box<ForwardedPrefix>> {
    // The request path: most applications have no proxy that they trust.
    if settings.trusted_proxies.is_empty() || settings.mount_prefix.is_some() {
        return None;
    }
    read(headers, extensions, settings)
}

#[cold]
fn read(
    headers: &HeaderMap,
    extensions: &Extensions,
    settings: &Config,
) -> Option<Box<ForwardedPrefix>> {
    let mut values = headers.get_all(&X_FORWARDED_PREFIX).iter();
    // Of several values the first may be the client's own.
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let peer = Peer::from_extensions(extensions, &settings.trusted_proxies)?;
    let prefix = value.to_str().ok()?.trim_end_matches('/');
    let is_prefix = prefix.len() <= MAX_FORWARDED_PREFIX_LEN && is_plain_path(prefix);
    (is_prefix && peer.is_trusted(&settings.trusted_proxies))
        .then(|| Box::new(ForwardedPrefix(prefix.into())))
}

/// The paths of the application, with the prefix that a proxy strips put before them again.
#[derive(Clone, Debug)]
pub(crate) struct SitePaths {
    /// Empty, or such as `/app`.
    prefix: String,
    /// Where the routes are nested.
    pub(crate) auth: String,
    /// The application's own pages in place of routes.
    own_pages: Vec<(&'static str, String)>,
}

impl SitePaths {
    pub(crate) fn new(forwarded: Option<&ForwardedPrefix>, settings: &Config) -> Self {
        let forwarded = forwarded.map(|ForwardedPrefix(prefix)| &**prefix);
        let prefix = settings.mount_prefix.as_deref().or(forwarded).unwrap_or_default();
        let own_pages = settings.own_pages.clone();
        let mut paths = Self { prefix: prefix.to_owned(), auth: String::new(), own_pages };
        paths.auth = match settings.mount_prefix {
            Some(_) => paths.public(&settings.auth_path),
            // The proxy names the prefix, and the setting knows nothing of it: an equal path is none.
            None => paths.requested(&settings.auth_path),
        };
        paths
    }

    #[cfg(feature = "axum")]
    pub(crate) fn from_parts(parts: &http::request::Parts, settings: &Config) -> Self {
        Self::from_request(&parts.headers, &parts.extensions, settings)
    }

    #[cfg(feature = "axum")]
    pub(crate) fn from_request(
        headers: &HeaderMap,
        extensions: &Extensions,
        settings: &Config,
    ) -> Self {
        let prefix = forwarded_prefix(headers, extensions, settings);
        Self::new(prefix.as_deref(), settings)
    }

    /// The page that a login leads to when no other was requested.
    pub(crate) fn home(&self) -> String {
        format!("{}/", self.prefix)
    }

    /// The page for this route: the application's own, or the crate's.
    pub(crate) fn page(&self, route: &str) -> String {
        let own = self.own_pages.iter().find(|(replaced, _)| *replaced == route);
        own.map_or_else(|| self.route(route), |(_, path)| self.public(path))
    }

    /// The page on which users see their sessions.
    #[cfg(feature = "axum")]
    pub(crate) fn sessions_page(&self) -> String {
        self.route("sessions")
    }

    fn route(&self, route: &str) -> String {
        format!("{}/{route}", self.auth)
    }

    /// The address of the page for a route, which leads on to `next`. The page checks `next` again,
    /// because an address can be changed.
    pub(crate) fn with_next(&self, route: &str, next: &str) -> String {
        self.add_next(self.page(route), next)
    }

    /// The same for the crate's page, even if the application has one of its own.
    #[cfg(feature = "axum")]
    pub(crate) fn route_with_next(&self, route: &str, next: &str) -> String {
        self.add_next(self.route(route), next)
    }

    fn add_next(&self, page: String, next: &str) -> String {
        // The default can be omitted.
        if next == self.home() {
            return page;
        }
        format!("{page}?next={}", utf8_percent_encode(next, QUERY_VALUE_ESCAPES))
    }

    /// The login page with its form, for a user who is logged in, too.
    pub(crate) fn login_form(&self, next: &str) -> String {
        let page = self.with_next("login", next);
        let separator = if page.contains('?') { '&' } else { '?' };
        format!("{page}{separator}switch")
    }

    /// A path that the application has configured. One with the prefix stays as it is.
    pub(crate) fn public(&self, path: &str) -> String {
        let rest = path.strip_prefix(self.prefix.as_str());
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?'])) {
            path.to_owned()
        } else {
            self.requested(path)
        }
    }

    /// A requested path, from which the proxy has stripped the prefix.
    pub(crate) fn requested(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

#[cfg(feature = "axum")]
impl SiteAddresses for SitePaths {
    fn auth_path(&self) -> &str {
        &self.auth
    }

    fn public(&self, path: &str) -> String {
        self.public(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(prefix: Option<&str>, auth_path: &str) -> SitePaths {
        let settings = Config {
            mount_prefix: prefix.map(str::to_owned),
            auth_path: auth_path.to_owned(),
            ..Config::default()
        };
        SitePaths::new(None, &settings)
    }

    #[test]
    fn prefix_is_put_before_paths_once() {
        let app = paths(Some("/app"), "/auth");
        assert_eq!((app.auth.as_str(), app.home().as_str()), ("/app/auth", "/app/"));
        for (path, public) in [
            ("/", "/app/"),
            ("/reports?q=1", "/app/reports?q=1"),
            ("/app/reports?q=1", "/app/reports?q=1"),
            ("/app?q=1", "/app?q=1"),
            ("/app", "/app"),
            ("/apple", "/app/apple"),
        ] {
            assert_eq!(app.public(path), public);
        }
        assert_eq!(app.requested("/app/x"), "/app/app/x", "the application has such a path, too");
        assert_eq!(paths(Some("/app"), "/app/auth").auth, "/app/auth");
        let root = paths(None, "/auth");
        assert_eq!((root.auth.as_str(), root.home().as_str()), ("/auth", "/"));
        assert_eq!(root.public("/reports?q=1"), "/reports?q=1");
    }

    #[test]
    fn own_login_page_is_told_to_show_its_form() {
        let mut app = paths(Some("/app"), "/auth");
        assert_eq!(app.login_form("/app/"), "/app/auth/login?switch");
        app.own_pages = vec![("login", "/signin".to_owned())];
        assert_eq!(app.login_form("/app/"), "/app/signin?switch");
        assert_eq!(app.login_form("/app/a?b"), "/app/signin?next=/app/a%3Fb&switch");
        assert_eq!(app.with_next("locked", "/app/"), "/app/auth/locked");
    }

    #[cfg(feature = "axum")]
    #[test]
    fn trusted_proxy_names_its_prefix() {
        use std::net::SocketAddr;

        use axum::extract::ConnectInfo;

        let found = |peer: &str, values: &[&str], set: Option<&str>| {
            let mut settings = Config { mount_prefix: set.map(str::to_owned), ..Config::default() };
            settings.trusted_proxies.set_networks(["10.0.0.0/8".parse().unwrap()]);
            let mut request = http::Request::new(());
            for value in values {
                request.headers_mut().append(&X_FORWARDED_PREFIX, value.parse().unwrap());
            }
            let peer: SocketAddr = format!("{peer}:4711").parse().unwrap();
            request.extensions_mut().insert(ConnectInfo(peer));
            SitePaths::from_parts(&request.into_parts().0, &settings).auth
        };
        let proxy = "10.0.0.1";
        assert_eq!(found(proxy, &["/app"], None), "/app/auth");
        assert_eq!(found(proxy, &["/app/v1/"], None), "/app/v1/auth");
        assert_eq!(found(proxy, &["/auth"], None), "/auth/auth");
        assert_eq!(found(proxy, &["/app"], Some("/set")), "/set/auth");
        assert_eq!(found("192.0.2.1", &["/app"], None), "/auth");
        assert_eq!(found(proxy, &["/client", "/app"], None), "/auth");
        let long = format!("/{}", "a".repeat(MAX_FORWARDED_PREFIX_LEN));
        for odd in
            ["", "/", "app", "//evil.example", "/a b", "/a?b", "/a, /b", "/%2f", "/\\evil", &long]
        {
            assert_eq!(found(proxy, &[odd], None), "/auth", "{odd}");
        }
    }
}
