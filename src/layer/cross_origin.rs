//! Whether a page of another origin asks.

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Uri};

/// Whether what asks is, as browsers tell, neither of this origin nor of an allowed one. The same
/// rule as that of tower-http's `csrf`.
pub(crate) fn is_foreign(uri: &Uri, headers: &HeaderMap, allowed: &[String]) -> bool {
    static SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    let origin = headers.get(ORIGIN);
    if origin.is_some_and(|origin| allowed.iter().any(|allowed| origin == allowed.as_str())) {
        return false;
    }
    if let Some(site) = headers.get(&SITE).filter(|site| !site.is_empty()) {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = origin else { return false };
    let host = uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = host.or_else(|| headers.get(HOST).map(http::HeaderValue::as_bytes));
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match (origin, host) {
        (Some((_, origin)), Some(host)) => !origin.as_bytes().eq_ignore_ascii_case(host),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(headers: &[(&'static str, &str)], uri: &'static str) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        is_foreign(&Uri::from_static(uri), &map, &["https://www.example".to_owned()])
    }

    #[test]
    fn pages_of_other_origins_are_told_apart() {
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
            // What the site says goes before what the origin says.
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
            assert_eq!(foreign(&headers, uri), expected, "{uri} {headers:?}");
        }
    }
}
