//! The four cookies. Set and removed with the same attributes, or browsers keep them.

use axum::http::HeaderValue;
use cookie::{Cookie, SameSite, time::Duration};

use crate::engine::{CookieNames, PROOF_TTL, REGISTRATION_PAGE_TTL};
use crate::identity::{AttemptCredential, SessionCredential};

/// With an age, the cookie outlives the browser.
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

/// `Strict`: only pages of this site ask for what it names. It opens no session.
pub(super) fn set_registration(names: &CookieNames, page: &SessionCredential) -> HeaderValue {
    let age = Duration::try_from(REGISTRATION_PAGE_TTL).unwrap_or(Duration::MAX);
    let value = Some(page.expose());
    same_site(SameSite::Strict, names, &names.registration(), value, Some(age))
}

/// It outlives the browser's session. It opens no session.
pub(super) fn set_known(names: &CookieNames, proofs: String) -> HeaderValue {
    let age = Duration::try_from(PROOF_TTL).unwrap_or(Duration::MAX);
    header(names, &names.known(), Some(proofs), Some(age))
}

/// Without a value it removes the cookie.
fn header(
    names: &CookieNames,
    name: &str,
    value: Option<String>,
    max_age: Option<Duration>,
) -> HeaderValue {
    // `Lax`, not `Strict`: a link from a mail to a page behind the gate must find the session.
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
    let mut value = HeaderValue::try_from(text)
        .unwrap_or_else(|_| unreachable!("a credential's text is base64url"));
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
    fn without_tls_they_claim_nothing() {
        let names = CookieNames::insecure("mine".to_owned());
        let attempt = AttemptCredential::parse(&[b'g'; 43]).unwrap();
        assert_eq!(
            text(&set_attempt(&names, &attempt)),
            format!("mine-attempt={}; HttpOnly; SameSite=Lax; Path=/", attempt.expose()),
        );
        assert_eq!(
            text(&remove_session(&names)),
            "mine=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0"
        );
    }
}
