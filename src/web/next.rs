use url::Url;

/// Longer than this is not worth keeping.
const LIMIT: usize = 2 * 1024;

/// Where to go after a login: `wanted` if it is a path of this very site outside the
/// authentication routes, `/` otherwise.
///
/// It is read as a browser would read it against a page of this site, must stay on that site, and
/// is written anew from what was read: path and query only.
pub(super) fn checked(wanted: Option<&str>, auth_path: &str) -> String {
    wanted.and_then(|wanted| parse(wanted, auth_path)).unwrap_or_else(|| "/".to_owned())
}

fn parse(wanted: &str, auth_path: &str) -> Option<String> {
    let plain = wanted.len() <= LIMIT
        && wanted.starts_with('/')
        && !wanted.contains('\\')
        && !wanted.chars().any(char::is_control);
    if !plain {
        return None;
    }
    // `.invalid` is nobody's (RFC 2606).
    let site = Url::parse("https://site.invalid/").ok()?;
    let url = site.join(wanted).ok()?;
    if url.origin() != site.origin() || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    let path = url.path();
    let inside =
        path.strip_prefix(auth_path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if inside || path.starts_with("//") {
        return None;
    }
    Some(match url.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_site_are_followed() {
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
            "/x/../auth/login",
            "@evil.example",
            "?next=//evil.example",
            "/\u{85}",
        ] {
            assert_eq!(checked(Some(evil), "/auth"), "/", "{evil:?}");
        }
        assert_eq!(checked(Some(&format!("/{}", "a".repeat(2048))), "/auth"), "/");
        assert_eq!(checked(None, "/auth"), "/");
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
            assert_eq!(checked(Some(wanted), "/auth"), kept, "{wanted}");
        }
    }
}
