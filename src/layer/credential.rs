//! The credentials of sessions and attempts in a request.

use http::header::{AUTHORIZATION, CONNECTION, COOKIE, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Uri};
use memchr::memchr;

use super::cross_origin::is_cross_origin;
use crate::engine::{ATTEMPT_SUFFIX, Config, CookieNames, CredentialKind, KeyRing};
#[cfg(feature = "axum")]
use crate::engine::{KNOWN_BROWSER_SUFFIX, REGISTRATION_SUFFIX};
use crate::identity::{AttemptCredential, SessionCredential, SessionKey};
#[cfg(feature = "axum")]
use crate::pages::UnreadCookies;

/// Maximum number of cookies of a request that are read, of all names.
const MAX_COOKIES: usize = 64;
/// Maximum number of bytes of a request's cookies that are read.
const MAX_COOKIE_BYTES: usize = 8 * 1024;

/// The explanation in the response to a request with more cookies than are read.
pub(crate) fn unread_cookies_detail() -> String {
    format!(
        "The request has more cookies than are read, which is {MAX_COOKIES} cookies and \
         {MAX_COOKIE_BYTES} bytes. The cookie of the login may be among the others: delete cookies \
         of this site, then log in again."
    )
}

/// The same limits, for the pages.
#[cfg(feature = "axum")]
pub(crate) const UNREAD_COOKIES: UnreadCookies =
    UnreadCookies { max_cookies: MAX_COOKIES, max_bytes: MAX_COOKIE_BYTES };

/// The credential of one kind in a request.
///
/// If values differ, those that do not verify as credentials of this application are ignored:
/// another system may set a cookie of the same name, or use the same header. A single value is not
/// verified here: the lookup in the map of sessions costs less and proves more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Candidate<'a> {
    /// There is no value, or none of several is ours.
    #[default]
    Absent,
    /// One value, perhaps repeated; or the only one of several that is ours.
    Unique(&'a [u8]),
    /// Several values that are ours, or more cookies than are read.
    Ambiguous,
}

impl<'a> Candidate<'a> {
    fn add(&mut self, value: &'a [u8], is_ours: impl Fn(&[u8]) -> bool) {
        *self = match *self {
            Self::Absent => Self::Unique(value),
            Self::Unique(other) if other == value => return,
            Self::Unique(other) => match (is_ours(other), is_ours(value)) {
                (true, true) => Self::Ambiguous,
                (true, false) => Self::Unique(other),
                (false, true) => Self::Unique(value),
                (false, false) => Self::Absent,
            },
            Self::Ambiguous => return,
        };
    }

    fn add_bearer(&mut self, value: &'a HeaderValue, is_ours: impl Fn(&[u8]) -> bool) {
        if let Some(credential) = bearer(value.as_bytes()) {
            self.add(credential, is_ours);
        }
    }

    /// Combines the values of two places in a request.
    fn merge(mut self, other: Self, is_ours: impl Fn(&[u8]) -> bool) -> Self {
        match other {
            Self::Absent => self,
            Self::Unique(value) => {
                self.add(value, is_ours);
                self
            }
            Self::Ambiguous => other,
        }
    }

    fn unique(self) -> Option<&'a [u8]> {
        match self {
            Self::Unique(value) => Some(value),
            Self::Absent | Self::Ambiguous => None,
        }
    }
}

/// The credentials of the session and the attempt in a request.
#[derive(Debug)]
pub(crate) struct RequestCredentials<'a> {
    session: Candidate<'a>,
    attempt: Candidate<'a>,
    has_unread_cookies: bool,
}

impl<'a> RequestCredentials<'a> {
    pub(crate) fn from_request(
        method: &Method,
        uri: &Uri,
        headers: &'a HeaderMap,
        config: &Config,
        keys: &KeyRing,
    ) -> Self {
        let is_session = |value: &[u8]| keys.verifies(CredentialKind::Session, value);
        let is_attempt = |value: &[u8]| keys.verifies(CredentialKind::Attempt, value);
        let mut cookies = CookieScanner::new(&config.cookie_names);
        let (mut session, mut attempt) = (Candidate::Absent, Candidate::Absent);
        let (mut bearer, mut upgrades) = (Candidate::Absent, false);
        // One pass: a lookup of each name costs more, even if the header is absent.
        for (name, value) in headers {
            if name == COOKIE {
                cookies.scan(
                    value,
                    [(&mut session, "", &is_session), (&mut attempt, ATTEMPT_SUFFIX, &is_attempt)],
                );
            } else if name == AUTHORIZATION {
                bearer.add_bearer(value, is_session);
            } else if name == UPGRADE {
                upgrades = true;
            }
        }
        let connects = method == Method::CONNECT;
        let opens_socket = connects || (upgrades && headers.contains_key(CONNECTION));
        if opens_socket && is_cross_origin(uri, headers, &config.origins) {
            // Browsers open a WebSocket for a page of another origin with this origin's cookies,
            // and without a preflight, so the server has to check the origin.
            (session, attempt) = (Candidate::Absent, Candidate::Absent);
        }
        let session = session.merge(bearer, is_session);
        Self { session, attempt, has_unread_cookies: cookies.is_over_limit() }
    }

    /// Whether the request has more cookies than are read. Cookies then name no session.
    pub(crate) fn has_unread_cookies(&self) -> bool {
        self.has_unread_cookies
    }

    /// Whether the credentials name several sessions, and therefore none.
    pub(crate) fn is_ambiguous(&self) -> bool {
        matches!(self.session, Candidate::Ambiguous)
    }

    /// The session, if the credentials name exactly one.
    pub(crate) fn session(&self) -> Option<SessionKey> {
        SessionKey::from_encoded(self.session.unique()?)
    }

    /// The attempt, if the credentials name exactly one.
    pub(crate) fn attempt(&self) -> Option<AttemptCredential> {
        AttemptCredential::parse(self.attempt.unique()?)
    }
}

/// The value of the cookie with the proofs that users have logged in with this browser.
#[cfg(feature = "axum")]
pub(crate) fn known_browser_cookie<'a>(
    headers: &'a HeaderMap,
    names: &CookieNames,
) -> Option<&'a [u8]> {
    let (mut cookies, mut known) = (CookieScanner::new(names), Candidate::Absent);
    for value in headers.get_all(COOKIE) {
        // Only the username tells which of several values is ours, and it is not known here:
        // several count as none.
        cookies.scan(value, [(&mut known, KNOWN_BROWSER_SUFFIX, &|_: &[u8]| true)]);
    }
    known.unique()
}

/// The key of the page that waits in this browser for a phone to register, if the cookies name
/// exactly one.
#[cfg(feature = "axum")]
pub(crate) fn registration_cookie(
    headers: &HeaderMap,
    names: &CookieNames,
    keys: &KeyRing,
) -> Option<SessionKey> {
    let is_ours = |value: &[u8]| keys.verifies(CredentialKind::Registration, value);
    let (mut cookies, mut page) = (CookieScanner::new(names), Candidate::Absent);
    for value in headers.get_all(COOKIE) {
        cookies.scan(value, [(&mut page, REGISTRATION_SUFFIX, &is_ours)]);
    }
    // A forged value costs no lookup in the map.
    page.unique().filter(|value| is_ours(value)).and_then(SessionKey::from_encoded)
}

/// The attempt in `authorization: Bearer`, if the values name exactly one.
#[cfg(feature = "axum")]
pub(crate) fn attempt_from_bearer(
    headers: &HeaderMap,
    keys: &KeyRing,
) -> Option<AttemptCredential> {
    let mut attempt = Candidate::Absent;
    for value in headers.get_all(AUTHORIZATION) {
        attempt.add_bearer(value, |value| keys.verifies(CredentialKind::Attempt, value));
    }
    attempt.unique().and_then(AttemptCredential::parse)
}

/// Whether `authorization: Bearer` has the credential of a session.
#[cfg(feature = "axum")]
pub(crate) fn has_bearer_session(headers: &HeaderMap, keys: &KeyRing) -> bool {
    let credentials = headers.get_all(AUTHORIZATION).into_iter();
    credentials
        .filter_map(|value| bearer(value.as_bytes()))
        .any(|value| keys.verifies(CredentialKind::Session, value))
}

/// A cookie to look for: the candidate for its value, the suffix after the name of the session's
/// cookie, and the check whether a value is ours.
type WantedCookie<'c, 'a> = (&'c mut Candidate<'a>, &'c str, &'c dyn Fn(&[u8]) -> bool);

/// Scans cookies whose name is the session cookie's name and a suffix.
struct CookieScanner<'n> {
    names: &'n CookieNames,
    cookies: usize,
    bytes: usize,
}

impl<'n> CookieScanner<'n> {
    fn new(names: &'n CookieNames) -> Self {
        Self { names, cookies: 0, bytes: 0 }
    }

    fn is_over_limit(&self) -> bool {
        self.cookies > MAX_COOKIES || self.bytes > MAX_COOKIE_BYTES
    }

    /// Adds the values of one `Cookie` header to the candidates.
    fn scan<'a, const N: usize>(
        &mut self,
        header: &'a HeaderValue,
        mut wanted: [WantedCookie<'_, 'a>; N],
    ) {
        let mut rest = header.as_bytes();
        self.bytes += rest.len();
        loop {
            self.cookies += 1;
            if self.is_over_limit() {
                // The unread cookies could contradict the others: the request names no session.
                for (candidate, ..) in &mut wanted {
                    **candidate = Candidate::Ambiguous;
                }
                return;
            }
            let end = memchr(b';', rest);
            let pair = rest[..end.unwrap_or(rest.len())].trim_ascii_start();
            if let Some(named) = pair.strip_prefix(self.names.session.as_bytes()) {
                for (candidate, suffix, is_ours) in &mut wanted {
                    let value = named.strip_prefix(suffix.as_bytes());
                    if let Some(value) = value.and_then(|value| value.strip_prefix(b"=")) {
                        candidate.add(value.trim_ascii_end(), &**is_ours);
                        break;
                    }
                }
            }
            let Some(end) = end else { return };
            rest = &rest[end + 1..];
        }
    }
}

/// The credential after `Bearer` if it has 43 base64url characters. Any other value belongs to
/// another layer.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, credential) = value.split_at_checked(7)?;
    let is_credential = scheme.eq_ignore_ascii_case(b"bearer ")
        && credential.len() == SessionCredential::ENCODED_LEN
        && credential.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    is_credential.then_some(credential)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::Secret;
    use crate::clock::UnixTime;

    static KEYS: LazyLock<KeyRing> =
        LazyLock::new(|| KeyRing::from_application_secret(&Secret::new("a secret")));
    /// Two credentials of sessions, as this application issues them.
    static OURS: LazyLock<[String; 2]> = LazyLock::new(|| {
        [0, 1].map(|_| {
            KEYS.derive_session(&KEYS.issue_attempt(UnixTime::default()).unwrap()).expose()
        })
    });

    const SESSION_COOKIE: &str = "__Host-activeconnect";
    const ATTEMPT_COOKIE: &str = "__Host-activeconnect-attempt";
    const A: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const B: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA";

    fn read<R>(headers: &[(&str, String)], check: impl FnOnce(RequestCredentials<'_>) -> R) -> R {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            map.append(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let mut config = Config::default();
        config.origins.allowed.push("https://www.example".into());
        check(RequestCredentials::from_request(
            &Method::GET,
            &Uri::from_static("/"),
            &map,
            &config,
            &KEYS,
        ))
    }

    fn session(headers: &[(&str, String)]) -> Option<String> {
        read(headers, |credentials| {
            let named = credentials.session.unique().and_then(SessionCredential::parse);
            assert_eq!(credentials.session(), named.as_ref().map(SessionCredential::key));
            named.map(|credential| credential.expose())
        })
    }

    fn cookie(value: &str) -> (&'static str, String) {
        ("cookie", format!("{SESSION_COOKIE}={value}"))
    }

    fn bearer(value: &str) -> (&'static str, String) {
        ("authorization", format!("Bearer {value}"))
    }

    #[test]
    fn repeated_value_names_a_session() {
        for headers in [
            vec![cookie(A)],
            vec![("cookie", format!("a=b;{SESSION_COOKIE}={A} ; c=d"))],
            vec![("cookie", format!(" {SESSION_COOKIE}={A}"))],
            vec![(
                "cookie",
                format!("a={SESSION_COOKIE}={B}; {SESSION_COOKIE}x={B};{SESSION_COOKIE}={A}"),
            )],
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
    fn own_session_wins_over_foreign_cookie() {
        let ours = OURS[0].as_str();
        let attempt = KEYS.issue_attempt(UnixTime::default()).unwrap().expose();
        let foreign = KeyRing::from_application_secret(&Secret::new("another"));
        let foreign =
            foreign.derive_session(&foreign.issue_attempt(UnixTime::default()).unwrap()).expose();
        for headers in [
            vec![cookie(ours), bearer(B)],
            vec![cookie(A), bearer(ours)],
            vec![cookie(ours), bearer(&foreign)],
            vec![cookie(ours), bearer(&attempt)],
            vec![bearer(A), bearer(ours), bearer(B)],
            vec![bearer(A), bearer(B), bearer(ours)],
            vec![cookie(ours), cookie("")],
            vec![cookie(""), cookie(ours)],
            vec![cookie(A), cookie(B), cookie(ours), cookie(A)],
            vec![("cookie", format!("{SESSION_COOKIE}={A}; {SESSION_COOKIE}={ours}"))],
            vec![cookie(&format!("\"{ours}\"")), cookie(ours), bearer(ours)],
        ] {
            assert_eq!(session(&headers).as_deref(), Some(ours), "{headers:?}");
        }
    }

    #[test]
    fn ambiguous_sessions_are_ignored() {
        let [ours, other] = [0, 1].map(|i| OURS[i].as_str());
        for headers in [
            vec![cookie(ours), cookie(other)],
            vec![("cookie", format!("{SESSION_COOKIE}={ours}; {SESSION_COOKIE}={other}"))],
            vec![cookie(ours), bearer(other)],
            vec![bearer(ours), bearer(other)],
            vec![cookie(ours), cookie(other), cookie(ours)],
            vec![cookie(ours), cookie(A), bearer(other), bearer(B)],
            vec![cookie(A), cookie(B)],
            vec![cookie(&format!("{ours}A"))],
            vec![cookie(&format!("\"{ours}\""))],
            vec![("cookie", format!("{}={ours}", SESSION_COOKIE.to_lowercase()))],
            vec![("cookie", format!("x{SESSION_COOKIE}={ours}"))],
            vec![("cookie", format!("{}{SESSION_COOKIE}={ours}", "a=b;".repeat(64)))],
            vec![("cookie", format!("{SESSION_COOKIE}={ours};{}", "a=b;".repeat(64)))],
            vec![("cookie", format!("{SESSION_COOKIE}={ours};a={}", "b".repeat(9000)))],
            vec![("cookie", "a=b;".repeat(65)), bearer(ours)],
        ] {
            assert_eq!(session(&headers), None, "{headers:?}");
        }
    }

    #[test]
    fn own_attempt_wins_over_foreign_cookie() {
        let ours = KEYS.issue_attempt(UnixTime::default()).unwrap().expose();
        let other = KEYS.issue_attempt(UnixTime::default()).unwrap().expose();
        let cookies = |values: &[&str]| -> Vec<(&str, String)> {
            let cookie = |value: &&str| ("cookie", format!("{ATTEMPT_COOKIE}={value}"));
            values.iter().map(cookie).collect()
        };
        let named = |values: &[&str]| {
            read(&cookies(values), |credentials| {
                credentials.attempt().map(|attempt| attempt.expose())
            })
        };
        assert_eq!(named(&[A, &ours, &OURS[0]]), Some(ours.clone()));
        assert_eq!(named(&[&ours, &other]), None);
    }

    #[cfg(feature = "axum")]
    #[test]
    fn registration_cookie_names_one_page() {
        let names = CookieNames::secure("activeconnect");
        let ours = || KEYS.issue_registration(UnixTime::default()).unwrap();
        let (page, other) = (ours(), ours());
        let named = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                let cookie = format!("{}={value}", names.registration());
                headers.append(COOKIE, cookie.parse().unwrap());
            }
            registration_cookie(&headers, &names, &KEYS)
        };
        let text = page.expose();
        assert_eq!(named(&[&text]), Some(page.key()));
        assert_eq!(named(&[A, &text, &OURS[0]]), Some(page.key()));
        assert_eq!(named(&[&text, &other.expose()]), None);
        for foreign in [A, "", &OURS[0], &KEYS.issue_grant(UnixTime::default()).unwrap().expose()] {
            assert_eq!(named(&[foreign]), None, "{foreign}");
        }
    }

    #[test]
    fn too_many_cookies_name_no_session() {
        let padded = |count: usize| format!("{}{SESSION_COOKIE}={A}", "a=b; ".repeat(count));
        let long = |bytes: usize| {
            let ours = format!("{SESSION_COOKIE}={A}; a=");
            format!("{ours}{}", "b".repeat(bytes - ours.len()))
        };
        for (headers, is_over) in [
            (vec![("cookie", padded(MAX_COOKIES - 1))], false),
            (vec![("cookie", padded(MAX_COOKIES))], true),
            (vec![("cookie", "a=b; ".repeat(40)), ("cookie", padded(20))], false),
            (vec![("cookie", "a=b; ".repeat(40)), ("cookie", padded(40))], true),
            (vec![("cookie", padded(40)), ("cookie", "a=b; ".repeat(40))], true),
            (vec![("cookie", long(MAX_COOKIE_BYTES))], false),
            (vec![("cookie", long(MAX_COOKIE_BYTES + 1))], true),
        ] {
            assert_eq!(
                read(&headers, |credentials| credentials.has_unread_cookies()),
                is_over,
                "{headers:?}"
            );
            assert_eq!(session(&headers).is_none(), is_over, "{headers:?}");
        }
        assert!(unread_cookies_detail().contains("64 cookies and 8192 bytes"));
    }

    #[test]
    fn attempt_is_not_a_session() {
        let both = [("cookie", format!("{ATTEMPT_COOKIE}={A}; {SESSION_COOKIE}={B}"))];
        assert_eq!(read(&both, |credentials| credentials.attempt().unwrap().expose()), A);
        assert_eq!(session(&both).unwrap(), B);
        assert_eq!(session(&[("cookie", format!("{ATTEMPT_COOKIE}={A}"))]), None);
    }

    #[test]
    fn cross_origin_upgrade_ignores_cookies() {
        let socket = |origin: &str| {
            vec![
                cookie(A),
                ("host", "app.example:8443".to_owned()),
                ("connection", "Upgrade".to_owned()),
                ("upgrade", "websocket".to_owned()),
                ("origin", origin.to_owned()),
            ]
        };
        for origin in ["https://app.example:8443", "https://www.example"] {
            assert_eq!(session(&socket(origin)).as_deref(), Some(A), "{origin}");
        }
        for origin in [
            "https://evil.example",
            "https://app.example",
            "null",
            "",
            "https://app.example:8443.evil",
        ] {
            assert_eq!(session(&socket(origin)), None, "{origin}");
            // A page cannot set `authorization` on a WebSocket, so the header counts.
            let mut with_bearer = socket(origin);
            with_bearer.push(bearer(B));
            assert_eq!(session(&with_bearer).as_deref(), Some(B), "{origin}");
        }
        assert_eq!(session(&socket("https://app.example:8443")[..4]).as_deref(), Some(A));
    }
}
