//! A login over plain HTTP from another machine, whose browser rejects the `Secure` cookie.

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::http::header::{ACCEPT, HOST};
use reqwest::Response;
use tower_activeconnect::ActiveconnectBuilder;

use super::fixture::Log;
use crate::support::{Browser, builder, serve};

const WARNING: &str = "did not bring back the cookie of its login";
const LAN_ORIGIN: &str = "192.168.1.7:3000";

async fn site(configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder) -> Browser {
    let emulator = Emulator::start().await.unwrap();
    let ac = configure(builder(&emulator)).build().unwrap();
    Browser::new(&serve(Router::new().nest("/auth", ac.routes())).await)
}

/// The waiting page for a browser that lost its attempt cookie.
async fn wait(browser: &Browser, headers: &[(&str, &str)]) -> Response {
    let mut request = browser.get("/auth/waiting").header(ACCEPT, "text/html");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 400);
    response
}

/// T154
#[tokio::test]
async fn lost_cookie_warning_is_logged_once() {
    let log = Log::capture();
    let browser = site(|builder| builder).await;
    let host = (HOST.as_str(), LAN_ORIGIN);
    let form = browser.post("/auth/login").header(ACCEPT, "text/html").header(HOST, LAN_ORIGIN);
    let started = form.form(&[("username", "alice")]).send().await.unwrap();
    assert_eq!(started.status(), 303);
    for _ in 0..3 {
        let page = wait(&browser, &[host]).await.text().await.unwrap();
        assert!(page.contains("see that its address begins with https"), "{page}");
    }
    let line = log.only(WARNING, &["alice"]);
    assert!(
        line.starts_with("WARN") && line.contains("ActiveconnectBuilder::insecure_cookie_name"),
        "{line}"
    );
}

/// T154: no warning if the cookie is lost for another reason.
#[tokio::test]
async fn other_lost_cookies_log_no_warning() {
    let log = Log::capture();
    let browser = site(|builder| builder).await;
    let host = (HOST.as_str(), LAN_ORIGIN);
    wait(&browser, &[]).await;
    wait(&browser, &[(HOST.as_str(), "localhost:3000")]).await;
    wait(&browser, &[host, ("sec-fetch-mode", "navigate")]).await;
    wait(&browser, &[host, ("x-forwarded-proto", "https")]).await;
    let insecure = site(|builder| builder.insecure_cookie_name("blog")).await;
    wait(&insecure, &[host]).await;
    assert_eq!(log.with(WARNING), [""; 0]);
    wait(&browser, &[host]).await;
    log.only(WARNING, &[]);
}
