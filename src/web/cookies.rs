//! The two cookies. Set and removed with the same attributes, or browsers keep them.

use axum::http::HeaderValue;
use cookie::{Cookie, SameSite, time::Duration};

use crate::identity::{AttemptCredential, SessionCredential};
use crate::layer::{ATTEMPT_COOKIE, SESSION_COOKIE};

pub(super) fn set_session(credential: &SessionCredential) -> HeaderValue {
    header(SESSION_COOKIE, Some(credential.expose()))
}

pub(super) fn remove_session() -> HeaderValue {
    header(SESSION_COOKIE, None)
}

pub(super) fn set_attempt(credential: &AttemptCredential) -> HeaderValue {
    header(ATTEMPT_COOKIE, Some(credential.expose()))
}

pub(super) fn remove_attempt() -> HeaderValue {
    header(ATTEMPT_COOKIE, None)
}

fn header(name: &'static str, value: Option<String>) -> HeaderValue {
    let is_removal = value.is_none();
    // `Lax`, not `Strict`: a link from a mail to a page behind the gate must find the session.
    let mut cookie = Cookie::build((name, value.unwrap_or_default()))
        .path("/")
        .secure(true)
        .http_only(true)
        .same_site(SameSite::Lax);
    if is_removal {
        cookie = cookie.max_age(Duration::ZERO);
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

    #[test]
    fn what_sets_a_cookie_removes_it() {
        let credential = SessionCredential::random().unwrap();
        let set = set_session(&credential).to_str().unwrap().to_owned();
        let removed = remove_session().to_str().unwrap().to_owned();
        assert_eq!(
            set,
            format!(
                "__Host-activeconnect={}; HttpOnly; SameSite=Lax; Secure; Path=/",
                credential.expose()
            ),
        );
        assert_eq!(
            removed,
            "__Host-activeconnect=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0",
        );
    }
}
