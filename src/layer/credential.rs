//! Which session and which attempt a request names.

use http::header::{AUTHORIZATION, CONNECTION, COOKIE, HOST, ORIGIN, UPGRADE};
use http::{HeaderMap, Method, Uri};

use crate::identity::{AttemptCredential, SessionCredential};

/// The cookie that carries a session's credential. `__Host-`: this host only, `Secure`, no domain.
pub(crate) const SESSION_COOKIE: &str = "__Host-activeconnect";
/// The cookie that carries an attempt's.
pub(crate) const ATTEMPT_COOKIE: &str = "__Host-activeconnect-attempt";

/// As many cookies are looked at, and as many bytes of them.
const COOKIES: usize = 64;
const COOKIE_BYTES: usize = 8 * 1024;

/// What a request bears of one sort: nothing, one value (however often), or several that differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Borne<'a> {
    #[default]
    Nothing,
    One(&'a [u8]),
    Several,
}

impl<'a> Borne<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = match *self {
            Self::Nothing => Self::One(value),
            Self::One(other) if other == value => Self::One(value),
            Self::One(_) | Self::Several => Self::Several,
        };
    }

    fn one(self) -> Option<&'a [u8]> {
        match self {
            Self::One(value) => Some(value),
            Self::Nothing | Self::Several => None,
        }
    }
}

/// The credentials that a request bears, unambiguously or not at all.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) session: Option<SessionCredential>,
    pub(crate) attempt: Option<AttemptCredential>,
}

impl Credentials {
    pub(crate) fn read(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let (mut session, mut attempt) = (Borne::Nothing, Borne::Nothing);
        if !is_cross_site_upgrade(method, uri, headers) {
            scan_cookies(headers, &mut session, &mut attempt);
        }
        for value in headers.get_all(AUTHORIZATION) {
            if let Some(credential) = bearer(value.as_bytes()) {
                session.add(credential);
            }
        }
        Self {
            session: session.one().and_then(SessionCredential::parse),
            attempt: attempt.one().and_then(AttemptCredential::parse),
        }
    }
}

fn scan_cookies<'a>(headers: &'a HeaderMap, session: &mut Borne<'a>, attempt: &mut Borne<'a>) {
    let (mut cookies, mut bytes) = (0, 0);
    for header in super::header::all(headers, &COOKIE) {
        bytes += header.len();
        for pair in header.as_bytes().split(|byte| *byte == b';') {
            cookies += 1;
            if cookies > COOKIES || bytes > COOKIE_BYTES {
                // What lies beyond could contradict what was read: nothing is named.
                (*session, *attempt) = (Borne::Several, Borne::Several);
                return;
            }
            let pair = pair.trim_ascii();
            let Some(value) = pair.strip_prefix(SESSION_COOKIE.as_bytes()) else { continue };
            if let Some(value) = value.strip_prefix(b"=") {
                session.add(value);
            } else if let Some(value) = value.strip_prefix(b"-attempt=") {
                attempt.add(value);
            }
        }
    }
}

/// `Bearer` and 43 base64url characters; anything else there is another layer's.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, credential) = value.split_at_checked(7)?;
    let ours = scheme.eq_ignore_ascii_case(b"bearer ")
        && credential.len() == SessionCredential::TEXT_LENGTH
        && credential.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    ours.then_some(credential)
}

/// Whether a page of another origin opens a socket with this browser's cookies: no browser asks
/// before, so the server has to look.
fn is_cross_site_upgrade(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let upgrades = method == Method::CONNECT
        || (headers.contains_key(UPGRADE) && headers.contains_key(CONNECTION));
    if !upgrades {
        return false;
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let host = headers.get(HOST).map(http::HeaderValue::as_bytes);
    let host = host.or_else(|| uri.authority().map(|authority| authority.as_str().as_bytes()));
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match (origin, host) {
        (Some((_, origin)), Some(host)) => !origin.as_bytes().eq_ignore_ascii_case(host),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const B: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA";

    fn read(headers: &[(&str, String)]) -> Credentials {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            map.append(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Credentials::read(&Method::GET, &Uri::from_static("/"), &map)
    }

    fn session(headers: &[(&str, String)]) -> Option<String> {
        read(headers).session.map(|credential| credential.expose())
    }

    fn cookie(value: &str) -> (&'static str, String) {
        ("cookie", format!("{SESSION_COOKIE}={value}"))
    }

    fn bearer(value: &str) -> (&'static str, String) {
        ("authorization", format!("Bearer {value}"))
    }

    #[test]
    fn one_value_however_often_names_a_session() {
        for headers in [
            vec![cookie(A)],
            vec![("cookie", format!("a=b;{SESSION_COOKIE}={A} ; c=d"))],
            vec![cookie(A), cookie(A)],
            vec![bearer(A)],
            vec![bearer(A), cookie(A)],
            vec![cookie(A), ("authorization", "Basic YTpi".into())],
            vec![cookie(A), bearer(&B[1..])],
            vec![cookie(A), bearer(&format!("{}.", &B[1..]))],
            vec![("authorization", format!("bearer {A}"))],
        ] {
            assert_eq!(session(&headers).as_deref(), Some(A), "{headers:?}");
        }
    }

    #[test]
    fn values_that_differ_name_none() {
        for headers in [
            vec![cookie(A), cookie(B)],
            vec![("cookie", format!("{SESSION_COOKIE}={A}; {SESSION_COOKIE}={B}"))],
            vec![cookie(A), cookie("")],
            vec![cookie(A), bearer(B)],
            vec![bearer(A), bearer(B)],
            vec![cookie(&format!("{A}A"))],
            vec![cookie(&format!("\"{A}\""))],
            vec![("cookie", format!("{}={A}", SESSION_COOKIE.to_lowercase()))],
            vec![("cookie", format!("x{SESSION_COOKIE}={A}"))],
            vec![("cookie", format!("{}{SESSION_COOKIE}={A}", "a=b;".repeat(64)))],
            vec![("cookie", format!("{SESSION_COOKIE}={A};{}", "a=b;".repeat(64)))],
            vec![("cookie", format!("{SESSION_COOKIE}={A};a={}", "b".repeat(9000)))],
        ] {
            assert_eq!(session(&headers), None, "{headers:?}");
        }
    }

    #[test]
    fn an_attempt_is_not_a_session() {
        let both = ("cookie", format!("{ATTEMPT_COOKIE}={A}; {SESSION_COOKIE}={B}"));
        let found = read(&[both]);
        assert_eq!(found.attempt.unwrap().expose(), A);
        assert_eq!(found.session.unwrap().expose(), B);
        assert_eq!(session(&[("cookie", format!("{ATTEMPT_COOKIE}={A}"))]), None);
    }

    #[test]
    fn a_socket_opened_from_elsewhere_bears_no_cookie() {
        let socket = |origin: &str| {
            vec![
                cookie(A),
                ("host", "app.example:8443".to_owned()),
                ("connection", "Upgrade".to_owned()),
                ("upgrade", "websocket".to_owned()),
                ("origin", origin.to_owned()),
            ]
        };
        assert_eq!(session(&socket("https://app.example:8443")).as_deref(), Some(A));
        for origin in [
            "https://evil.example",
            "https://app.example",
            "null",
            "",
            "https://app.example:8443.evil",
        ] {
            assert_eq!(session(&socket(origin)), None, "{origin}");
            // What a page cannot attach by itself still counts.
            let mut with_bearer = socket(origin);
            with_bearer.push(bearer(B));
            assert_eq!(session(&with_bearer).as_deref(), Some(B), "{origin}");
        }
        assert_eq!(session(&socket("https://app.example:8443")[..4]).as_deref(), Some(A));
    }
}
