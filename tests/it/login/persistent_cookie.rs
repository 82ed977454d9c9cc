//! `ActiveconnectBuilder::persistent_cookie`: the session's cookie survives a browser restart.

use std::time::Duration;

use activeconnect_emulator::Emulator;
use axum::Router;
use http::header::SET_COOKIE;
use tower_activeconnect::ActiveconnectBuilder;

use crate::support::{Browser, approve, builder, enroll_users, poll_until, serve};

/// The headers that set the session's cookie at a login and remove it at the logout.
async fn cookies(
    configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
) -> (String, String) {
    let emulator = Emulator::start().await.unwrap();
    let ac = configure(builder(&emulator)).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let browser = Browser::new(&serve(Router::new().nest("/auth", ac.routes())).await);
    let session = |response: &reqwest::Response| {
        let headers = response.headers().get_all(SET_COOKIE).iter();
        let mut texts = headers.map(|header| header.to_str().unwrap().to_owned());
        texts.find(|text| text.starts_with("__Host-activeconnect="))
    };
    browser.form("/auth/login", &[("username", "alice")]).await;
    approve(&emulator).await;
    let set = poll_until("a session", async || session(&browser.page("/auth/waiting").await)).await;
    let removed = session(&browser.form("/auth/logout", &[]).await).unwrap();
    (set, removed)
}

fn max_age(cookie: &str) -> Option<u64> {
    let (_, age) = cookie.split_once("; Max-Age=")?;
    Some(age.parse().unwrap())
}

#[tokio::test]
async fn persistent_cookie_has_session_lifetime() {
    let (set, removed) = cookies(|builder| builder.persistent_cookie(true)).await;
    let age = max_age(&set).unwrap();
    assert!((12 * 3_600 - 60..12 * 3_600).contains(&age), "{set}");
    assert!(set.contains("; HttpOnly; SameSite=Lax; Secure; Path=/"), "{set}");
    assert_eq!(max_age(&removed), Some(0));

    let hour = Duration::from_secs(3_600);
    let (set, _) = cookies(|builder| builder.persistent_cookie(true).session_duration(hour)).await;
    let age = max_age(&set).unwrap();
    assert!((3_600 - 60..3_600).contains(&age), "{set}");
}

#[tokio::test]
async fn session_cookie_is_the_default() {
    let (set, removed) = cookies(|builder| builder).await;
    assert_eq!(max_age(&set), None, "{set}");
    assert_eq!(max_age(&removed), Some(0));
}
