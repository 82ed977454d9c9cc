//! The four cookies. Each is removed with the attributes it was set with, or browsers keep it.

use axum::http::HeaderValue;
use cookie::{Cookie, SameSite, time::Duration};

use crate::engine::{CookieNames, PROOF_TTL, REGISTRATION_PAGE_TTL};
use crate::identity::{AttemptCredential, SessionCredential};

/// With `age`, the cookie survives a restart of the browser.
pub(super) fn set_session(
    names: &CookieNames,
    credential: &SessionCredential,
    age: Option<std::time::Duration>,
) -> HeaderValue {
    let age = age.map(|age| Duration::try_from(age).unwrap_or(Duration::MAX));
    header(names, &names.session, Some(credential.expose()), age)
}

pub(super) fn remove_session(names: &CookieNames) -> HeaderValue {
    header(names, &names.session, None, None)
}

pub(super) fn set_attempt(names: &CookieNames, credential: &AttemptCredential) -> HeaderValue {
    header(names, &names.attempt(), Some(credential.expose()), None)
}

pub(super) fn remove_attempt(names: &CookieNames) -> HeaderValue {
    header(names, &names.attempt(), None, None)
}

/// The cookie of a registration page. `Strict`: only pages of this site request its status. It
/// grants no access.
pub(super) fn set_registration(names: &CookieNames, page: &SessionCredential) -> HeaderValue {
    let age = Duration::try_from(REGISTRATION_PAGE_TTL).unwrap_or(Duration::MAX);
    let value = Some(page.expose());
    same_site(SameSite::Strict, names, &names.registration(), value, Some(age))
}

/// The cookie of a known browser. It survives a restart of the browser and grants no access.
pub(super) fn set_known(names: &CookieNames, proofs: String) -> HeaderValue {
    let age = Duration::try_from(PROOF_TTL).unwrap_or(Duration::MAX);
    header(names, &names.known(), Some(proofs), Some(age))
}

/// A `SameSite=Lax` cookie. `None` as the value removes it.
fn header(
    names: &CookieNames,
    name: &str,
    value: Option<String>,
    max_age: Option<Duration>,
) -> HeaderValue {
    // `Lax`, not `Strict`: browsers must send the session when a link in a mail leads here.
    same_site(SameSite::Lax, names, name, value, max_age)
}

fn same_site(
    same_site: SameSite,
    names: &CookieNames,
    name: &str,
    value: Option<String>,
    max_age: Option<Duration>,
) -> HeaderValue {
    let max_age = if value.is_none() { Some(Duration::ZERO) } else { max_age };
    let mut cookie = Cookie::build((name, value.unwrap_or_default()))
        .path("/")
        .secure(names.secure)
        .http_only(true)
        .same_site(same_site);
    if let Some(max_age) = max_age {
        cookie = cookie.max_age(max_age);
    }
    let text = cookie.build().to_string();
    let mut value =
        HeaderValue::try_from(text).unwrap_or_else(|_| unreachable!("cookie values are ASCII"));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(header: &HeaderValue) -> &str {
        header.to_str().unwrap()
    }

    #[test]
    fn removal_matches_set_cookie() {
        let names = CookieNames::secure("activeconnect");
        let credential = SessionCredential::parse(&[b'g'; 43]).unwrap();
        assert_eq!(
            text(&set_session(&names, &credential, None)),
            format!(
                "__Host-activeconnect={}; HttpOnly; SameSite=Lax; Secure; Path=/",
                credential.expose()
            ),
        );
        let age = std::time::Duration::from_millis(43_199_999);
        assert_eq!(
            text(&set_session(&names, &credential, Some(age))),
            format!(
                "__Host-activeconnect={}; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=43199",
                credential.expose()
            ),
        );
        assert_eq!(
            text(&remove_session(&names)),
            "__Host-activeconnect=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0",
        );
        assert_eq!(
            text(&remove_attempt(&names)),
            "__Host-activeconnect-attempt=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0",
        );
        assert_eq!(
            text(&set_known(&names, "a.b".to_owned())),
            "__Host-activeconnect-known=a.b; HttpOnly; SameSite=Lax; Secure; Path=/; \
             Max-Age=15552000",
        );
        assert_eq!(
            text(&set_registration(&names, &credential)),
            format!(
                "__Host-activeconnect-registration={}; HttpOnly; SameSite=Strict; Secure; Path=/; \
                 Max-Age=600",
                credential.expose()
            ),
        );
    }

    #[test]
    fn insecure_cookies_are_not_marked_secure() {
        let names = CookieNames::insecure("custom".to_owned());
        let attempt = AttemptCredential::parse(&[b'g'; 43]).unwrap();
        assert_eq!(
            text(&set_attempt(&names, &attempt)),
            format!("custom-attempt={}; HttpOnly; SameSite=Lax; Path=/", attempt.expose()),
        );
        assert_eq!(
            text(&remove_session(&names)),
            "custom=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0"
        );
    }
}
