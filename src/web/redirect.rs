//! Validation of `next`, the redirect target after a login.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::layer::{MAX_NEXT_LEN, SitePaths};

/// The redirect target after a login: `requested` if it is a path of this site outside the
/// authentication routes, or the sessions page; otherwise the site's home path.
///
/// The function resolves `requested` against a page of this site as a browser does, requires the
/// same origin, and returns the path and the query of the parsed URL.
pub(super) fn sanitize_next(requested: Option<&str>, paths: &SitePaths) -> String {
    requested.and_then(|requested| parse(requested, paths)).unwrap_or_else(|| paths.home())
}

fn parse(requested: &str, paths: &SitePaths) -> Option<String> {
    let is_plain_path = requested.len() <= MAX_NEXT_LEN
        && requested.starts_with('/')
        && !requested.contains('\\')
        && !requested.chars().any(char::is_control);
    if !is_plain_path {
        return None;
    }
    // `.invalid` belongs to no site (RFC 2606).
    let site = Url::parse("https://site.invalid/").ok()?;
    let url = site.join(requested).ok()?;
    if url.origin() != site.origin() || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    let path = url.path();
    if path.starts_with("//") {
        return None;
    }
    let path = paths.public(path);
    // The sessions page is the only authentication route to return to. Its path must match exactly.
    if is_auth_route(&path, &paths.auth) && path != paths.sessions_page() {
        return None;
    }
    let target = match url.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    // Percent-encoding may have made it longer.
    (target.len() <= MAX_NEXT_LEN).then_some(target)
}

/// Whether an intermediary, such as a proxy, may take `path` for an authentication route: after
/// decoding escapes, merging slashes and resolving dots.
fn is_auth_route(path: &str, auth_path: &str) -> bool {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    let mut segments = Vec::new();
    for segment in decoded.split(|byte| b"/\\".contains(byte)) {
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let auth_segments: Vec<&[u8]> = auth_path.split('/').skip(1).map(str::as_bytes).collect();
    segments.starts_with(&auth_segments)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::engine::Config;

    fn paths(auth_path: &str) -> SitePaths {
        let settings = Config { auth_path: auth_path.to_owned(), ..Config::default() };
        SitePaths::new(None, &settings)
    }

    /// T147: behind a proxy that strips `/app`.
    #[test]
    fn mount_prefix_is_kept() {
        let settings = Config { mount_prefix: Some("/app".to_owned()), ..Config::default() };
        let paths = SitePaths::new(None, &settings);
        for (wanted, kept) in [
            ("/app/reports?q=1", "/app/reports?q=1"),
            ("/reports?q=1", "/app/reports?q=1"),
            ("/", "/app/"),
            ("/app", "/app"),
            ("/app/../other", "/app/other"),
            ("/app/auth/login", "/app/"),
            ("/auth/login", "/app/"),
            ("/%61pp/../auth", "/app/"),
            ("//evil.example", "/app/"),
        ] {
            assert_eq!(sanitize_next(Some(wanted), &paths), kept, "{wanted}");
            assert_eq!(sanitize_next(Some(kept), &paths), kept, "{wanted}");
        }
        assert_eq!(paths.with_next("login", "/app/"), "/app/auth/login");
        assert_eq!(paths.with_next("login", "/app/a?b"), "/app/auth/login?next=/app/a%3Fb");
    }

    #[test]
    fn foreign_and_auth_paths_are_rejected() {
        for evil in [
            "",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example/",
            "https:evil.example",
            "javascript:alert(1)",
            "evil.example",
            "/\t/evil.example",
            "\t//evil.example",
            "/a\r\nset-cookie: a=b",
            "/a\0",
            " /a",
            "/a/..//evil.example",
            "/.//evil.example",
            "/%2e//evil.example",
            "http:///evil.example",
            "/auth",
            "/auth/login?next=/auth/login",
            "/auth/../auth/logout",
            "/auth/sessions/",
            "/auth/sessions/end",
            "/auth//sessions",
            "/auth/%73essions",
            "/x/../auth/login",
            "/%61uth/login",
            "/x/%2e%2e/auth",
            "/x%2f..%2fauth",
            "/x%5c..%5cauth",
            "/x//../../auth",
            "/.//auth",
            "@evil.example",
            "?next=//evil.example",
            "/\u{85}",
        ] {
            assert_eq!(sanitize_next(Some(evil), &paths("/auth")), "/", "{evil:?}");
        }
        assert_eq!(sanitize_next(Some(&format!("/{}", "a".repeat(2048))), &paths("/auth")), "/");
        assert_eq!(sanitize_next(Some(&format!("/{}", "é".repeat(1000))), &paths("/auth")), "/");
        assert_eq!(sanitize_next(Some(&format!("/a#{}", "a".repeat(2048))), &paths("/auth")), "/");
        assert_eq!(sanitize_next(None, &paths("/auth")), "/");
    }

    /// Loading the page has no side effects, so it may be a redirect target.
    #[test]
    fn sessions_page_is_allowed() {
        for wanted in ["/auth/sessions", "/auth/sessions?next=/a", "/auth/x/../sessions?next=/a"] {
            let kept = wanted.replace("x/../", "");
            assert_eq!(sanitize_next(Some(wanted), &paths("/auth")), kept, "{wanted}");
        }
        assert_eq!(
            sanitize_next(Some("/app/auth/sessions"), &paths("/auth")),
            "/app/auth/sessions"
        );
        assert_eq!(sanitize_next(Some("/sessions"), &paths("/auth")), "/sessions");
    }

    #[test]
    fn path_and_query_are_kept() {
        for (wanted, kept) in [
            ("/", "/"),
            ("/posts?page=2&q=a%20b", "/posts?page=2&q=a%20b"),
            ("/a#fragment", "/a"),
            ("/authors", "/authors"),
            ("/a/../b", "/b"),
            ("/é", "/%C3%A9"),
            ("/a?next=https://x.example", "/a?next=https://x.example"),
        ] {
            assert_eq!(sanitize_next(Some(wanted), &paths("/auth")), kept, "{wanted}");
        }
    }

    /// A concatenation of pieces that URL parsers disagree on.
    fn adversarial_path() -> impl Strategy<Value = String> {
        const PIECES: &[&str] = &[
            "/",
            "//",
            "\\",
            ".",
            "..",
            "%2e",
            "%2E.",
            "%2f",
            "%5c",
            "%61uth",
            "auth",
            "login",
            "evil",
            "evil.example",
            "@",
            ":",
            "https:",
            "javascript:",
            "?",
            "#",
            "&",
            "=",
            " ",
            "\t",
            "\n",
            "\0",
            "%09",
            "%0d%0a",
            ";",
            "[::1]",
            "é",
            "。",
            "／",
            "\u{ad}",
            "%",
        ];
        let piece = prop_oneof![9 => select(PIECES).prop_map(str::to_owned), 1 => ".*"];
        vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// T020, T021: `url` parses a location as browsers do (WHATWG URL standard).
        #[test]
        fn next_stays_on_this_site(start in "/?", rest in adversarial_path(), nested: bool) {
            let auth_path = if nested { "/app/v1/auth" } else { "/auth" };
            let kept = sanitize_next(Some(&(start + &rest)), &paths(auth_path));
            let here = Url::parse(&format!("http://www.app.example:8080{auth_path}/waiting")).unwrap();
            let there = here.join(&kept).unwrap();
            prop_assert_eq!(there.origin(), here.origin());
            prop_assert_eq!((there.username(), there.password(), there.fragment()), ("", None, None));
            let path_and_query = &there[url::Position::BeforePath..];
            prop_assert_eq!(path_and_query, &kept, "the URL parser changed the target");
            let decoded = percent_decode_str(there.path()).decode_utf8_lossy().into_owned();
            let is_auth_route = format!("{decoded}/").starts_with(&format!("{auth_path}/"));
            prop_assert!(!is_auth_route, "{}", decoded);
            prop_assert!(kept.len() <= MAX_NEXT_LEN && kept.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(&sanitize_next(Some(&kept), &paths(auth_path)), &kept, "sanitizing again changed the target");
        }
    }
}
