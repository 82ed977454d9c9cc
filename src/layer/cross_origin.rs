//! Detection of requests from pages of other origins.

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::engine::SiteOrigins;

/// Whether a page of another origin sends the request, one that is neither this site's nor allowed.
/// The first of these that applies decides:
///
/// 1. `Origin`, if it is one of the allowed origins or a public origin of this site;
/// 2. `Sec-Fetch-Site`;
/// 3. `Origin` against the public origins or, if there are none, against the request's host. A
///    default port equals an omitted one. A request without `Origin` is not from a page.
pub(crate) fn is_cross_origin(uri: &Uri, headers: &HeaderMap, origins: &SiteOrigins) -> bool {
    static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    let Some(header) = headers.get(ORIGIN) else {
        return headers.get(&SEC_FETCH_SITE).is_some_and(is_cross_origin_value);
    };
    if origins.allowed.iter().any(|allowed| header == allowed.as_str()) {
        return false;
    }
    let origin = header.to_str().ok().and_then(WebOrigin::parse);
    let host = uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = host.or_else(|| headers.get(HOST).map(HeaderValue::as_bytes));
    let is_own = origin.as_ref().is_some_and(|origin| origin.is_own(host, origins));
    if is_own && !origins.public.is_empty() {
        return false;
    }
    let site = headers.get(&SEC_FETCH_SITE).filter(|site| !site.is_empty());
    let is_cross_origin = site.map_or(!is_own, is_cross_origin_value);
    // Warns of a wrong setup: the browser says that the page is this site's, or has no fetch
    // metadata, so that the page may be this site's.
    if !is_own && origin.is_some() && (site.is_none() || !is_cross_origin) {
        let host = host.map(String::from_utf8_lossy).unwrap_or_default();
        origins.warn_of_mismatch(header, &host);
    }
    is_cross_origin
}

/// Whether an origin, serialized as browsers send it, is this site's: one of the public origins or,
/// if there are none, that of the request's host.
pub(super) fn is_own_origin(origin: &str, host: Option<&[u8]>, origins: &SiteOrigins) -> bool {
    WebOrigin::parse(origin).is_some_and(|origin| origin.is_own(host, origins))
}

fn is_cross_origin_value(site: &HeaderValue) -> bool {
    !site.is_empty() && site != "same-origin" && site != "none"
}

/// The origin of a page (RFC 6454).
#[derive(Debug)]
struct WebOrigin<'a> {
    is_https: bool,
    host: &'a str,
    port: u16,
}

impl<'a> WebOrigin<'a> {
    /// Returns `None` for `null` and any other text that is not the origin of an HTTP page.
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_https = scheme.eq_ignore_ascii_case("https");
        if !is_https && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let (host, port) = split_port(authority)?;
        Some(Self { is_https, host, port: port.unwrap_or(default_port(is_https)) })
    }

    fn is_own(&self, host: Option<&[u8]>, origins: &SiteOrigins) -> bool {
        if origins.public.is_empty() {
            let host = host.and_then(|host| std::str::from_utf8(host).ok());
            host.is_some_and(|host| self.matches_host(host))
        } else {
            origins.public.iter().any(|public| WebOrigin::parse(public).as_ref() == Some(self))
        }
    }

    /// Whether a request with this `Host` may be of this origin. The host has no scheme, so the
    /// origin's is assumed.
    fn matches_host(&self, host: &str) -> bool {
        split_port(host).is_some_and(|(host, port)| {
            host.eq_ignore_ascii_case(self.host)
                && port.unwrap_or(default_port(self.is_https)) == self.port
        })
    }
}

impl PartialEq for WebOrigin<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.is_https, self.port) == (other.is_https, other.port)
            && self.host.eq_ignore_ascii_case(other.host)
    }
}

const fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

/// Splits a host from its optional port. `None` if the text has anything else.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let end_of_host = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at(end_of_host);
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~[:]%".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_host) {
        return None;
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Some((host, None)),
        Some("") => Some((host, None)),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((host, Some(digits.parse().ok()?)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_cross_origin_for(
        headers: &[(&'static str, &str)],
        uri: &'static str,
        public: &[&str],
    ) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let mut origins = SiteOrigins::default();
        origins.public.extend(public.iter().map(|origin| (*origin).to_owned()));
        origins.allowed.push("https://www.example".to_owned());
        is_cross_origin(&Uri::from_static(uri), &map, &origins)
    }

    #[test]
    fn cross_origin_pages_are_detected() {
        const H1: &str = "/auth/status";
        const H2: &str = "https://app.example:8443/auth/status";
        let host = ("host", "app.example:8443");
        let (site, origin) = ("sec-fetch-site", "origin");
        for (headers, uri, expected) in [
            // No page at all.
            (vec![host], H1, false),
            (vec![host, (site, "none")], H1, false),
            (vec![host, (site, "same-origin")], H1, false),
            (vec![host, (site, "same-site")], H1, true),
            (vec![host, (site, "cross-site")], H1, true),
            (vec![host, (site, "")], H1, false),
            (vec![host, (site, ""), (origin, "https://evil.example")], H1, true),
            (vec![host, (site, "Same-Origin")], H1, true),
            // A proxy may give the host another name.
            (
                vec![("host", "inside"), (site, "same-origin"), (origin, "https://app.example")],
                H1,
                false,
            ),
            // `Sec-Fetch-Site` has precedence over `Origin`.
            (vec![host, (site, "cross-site"), (origin, "https://app.example:8443")], H1, true),
            // Browsers without `Sec-Fetch-Site`.
            (vec![host, (origin, "https://app.example:8443")], H1, false),
            (vec![host, (origin, "https://APP.example:8443")], H1, false),
            (vec![host, (origin, "https://app.example")], H1, true),
            (vec![host, (origin, "https://app.example:84430")], H1, true),
            (vec![host, (origin, "https://api.app.example:8443")], H1, true),
            (vec![host, (origin, "https://evil.example")], H1, true),
            (vec![host, (origin, "app.example:8443")], H1, true),
            (vec![host, (origin, "null")], H1, true),
            (vec![host, (origin, "")], H1, true),
            (vec![(origin, "https://app.example:8443")], H1, true),
            // HTTP/2: `:authority`, and no `host` or another.
            (vec![(origin, "https://app.example:8443")], H2, false),
            (vec![("host", "evil.example"), (origin, "https://app.example:8443")], H2, false),
            (vec![("host", "evil.example"), (origin, "https://evil.example")], H2, true),
            (vec![(origin, "https://evil.example")], H2, true),
            // Allowed.
            (vec![host, (origin, "https://www.example")], H1, false),
            (vec![host, (site, "cross-site"), (origin, "https://www.example")], H1, false),
            (vec![host, (origin, "http://www.example")], H1, true),
            (vec![host, (origin, "https://www.example:8443")], H1, true),
            (vec![host, (origin, "https://www.example.evil")], H1, true),
        ] {
            assert_eq!(is_cross_origin_for(&headers, uri, &[]), expected, "{uri} {headers:?}");
        }
    }

    #[test]
    fn default_port_equals_no_port() {
        for (origin, host, expected) in [
            ("https://app.example", "app.example:443", false),
            ("http://app.example", "app.example:80", false),
            ("https://app.example:443", "app.example", false),
            ("http://app.example:80", "app.example:80", false),
            ("https://[2001:db8::1]", "[2001:db8::1]:443", false),
            ("https://[2001:DB8::1]:8443", "[2001:db8::1]:8443", false),
            ("https://app.example", "app.example:", false),
            ("https://app.example", "app.example:80", true),
            ("http://app.example", "app.example:443", true),
            ("http://app.example:443", "app.example", true),
            ("https://app.example:8443", "app.example", true),
            ("https://app.example", "app.example:4430", true),
            ("https://app.example", "app.example:65979", true),
            ("https://app.example", "app.example:+443", true),
            ("https://app.example", "app.example:443:443", true),
            ("https://[2001:db8::1]", "2001:db8::1", true),
            ("https://[2001:db8::1]", "[2001:db8::1]443", true),
            ("https://user@app.example", "user@app.example", true),
            ("https://app.example/", "app.example/", true),
            ("https://", "", true),
            ("ftp://app.example", "app.example", true),
            ("null", "null", true),
        ] {
            let headers = [("host", host), ("origin", origin)];
            assert_eq!(is_cross_origin_for(&headers, "/", &[]), expected, "{origin} {host}");
        }
    }

    #[test]
    fn public_origins_define_same_site() {
        const PUBLIC: [&str; 2] = ["https://app.example", "https://admin.example:8443"];
        let upstream = ("host", "127.0.0.1:3000");
        let (site, origin) = ("sec-fetch-site", "origin");
        for (headers, expected) in [
            (vec![upstream, (origin, "https://app.example")], false),
            (vec![upstream, (origin, "https://APP.example:443")], false),
            (vec![upstream, (origin, "https://admin.example:8443")], false),
            // A page of one public origin sends a request to another: both are this site.
            (vec![upstream, (site, "same-site"), (origin, "https://app.example")], false),
            (vec![upstream], false),
            (vec![upstream, (site, "same-origin"), (origin, "https://old.example")], false),
            (vec![upstream, (site, "same-site")], true),
            (vec![upstream, (site, "cross-site"), (origin, "https://evil.example")], true),
            (vec![upstream, (origin, "http://app.example")], true),
            (vec![upstream, (origin, "https://app.example:8443")], true),
            (vec![upstream, (origin, "https://admin.example")], true),
            (vec![upstream, (origin, "https://app.example.evil.example")], true),
            (vec![upstream, (origin, "null")], true),
            // The host no longer counts.
            (vec![("host", "evil.example"), (origin, "https://evil.example")], true),
            (vec![upstream, (origin, "http://127.0.0.1:3000")], true),
            // Allowed.
            (vec![upstream, (origin, "https://www.example")], false),
        ] {
            assert_eq!(is_cross_origin_for(&headers, "/", &PUBLIC), expected, "{headers:?}");
        }
    }
}
