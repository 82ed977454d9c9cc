//! T148: a proxy calls `verify` to decide whether to forward a request.

use std::time::Duration;

use activeconnect_emulator::{Action, Endpoint, Fault, FaultKind};
use reqwest::{Method, Response, StatusCode};
use serde_json::json;
use tower_activeconnect::{Activeconnect, Credentials, MemoryTokenStore, UserId};

use super::Site;
use crate::support::{Browser, advance, approve, builder, enroll_users, poll_until, serve};

const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// Headers that decide the response format elsewhere.
const REQUESTS: [&[(&str, &str)]; 10] = [
    &[],
    &[("accept", HTML)],
    &[("accept", "application/json")],
    &[("accept", HTML), ("sec-fetch-mode", "navigate"), ("sec-fetch-site", "cross-site")],
    &[("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-site")],
    &[("accept", HTML), ("hx-request", "true"), ("hx-current-url", "http://x.example/")],
    &[("accept", HTML), ("x-inertia", "true")],
    &[("turbo-frame", "a"), ("x-requested-with", "XMLHttpRequest"), ("x-up-version", "3")],
    &[("content-type", "application/grpc")],
    &[("content-type", "application/x-www-form-urlencoded"), ("accept", HTML)],
];

const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::OPTIONS,
    Method::PATCH,
];

async fn verify(browser: &Browser, headers: &[(&str, &str)]) -> Response {
    let mut request = browser.get("/auth/verify");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    browser.send(request).await
}

/// Asserts that requests of every kind get this status, and nothing that a proxy could misread.
async fn assert_all_requests_get(site: &Site, browser: &Browser, expected: u16) {
    let http = reqwest::Client::builder().no_proxy();
    let http = http.redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for headers in REQUESTS {
        for method in METHODS {
            let context = format!("{method} {headers:?}");
            let mut request = http.request(method, format!("{}/auth/verify", site.url));
            request = request.header("cookie", browser.cookie_header());
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), expected, "{context}");
            let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap());
            for absent in ["location", "set-cookie", "hx-redirect", "grpc-status"] {
                assert_eq!(header(absent), None, "{context}");
            }
            assert_eq!(header("cache-control"), Some("no-store"), "{context}");
            let user = (expected == 200).then_some("alice");
            assert_eq!(header("x-auth-user"), user, "{context}");
            assert_eq!(header("www-authenticate").is_some(), expected == 401, "{context}");
            assert_eq!(header("retry-after").is_some(), expected == 503, "{context}");
        }
    }
}

#[tokio::test]
async fn verify_returns_four_statuses() {
    let site = Site::start(|builder| builder.verify_user_header("X-Auth-User")).await;
    let browser = Browser::new(&site.url);
    assert_all_requests_get(&site, &browser, 401).await;
    // A pending login is no session.
    browser.json("/auth/login", &json!({"username": "bob"})).await;
    assert_all_requests_get(&site, &browser, 401).await;
    approve(&site.emulator).await;
    browser.json("/auth/logout", &json!({})).await;

    let session = browser.log_in(&site.emulator, "alice").await;
    assert_all_requests_get(&site, &browser, 200).await;
    let becomes = async |status: u16| {
        let look = async || (verify(&browser, &[]).await.status() == status).then_some(());
        poll_until("verify tells the change", look).await;
        assert_all_requests_get(&site, &browser, status).await;
    };
    let act = |action| site.emulator.act_on_session(&session.session_token, action).unwrap();
    act(Action::WalkAway);
    becomes(403).await;
    act(Action::Return);
    becomes(200).await;
    let odd = Fault::new(Endpoint::Status, FaultKind::UnknownStatus);
    site.emulator.inject_fault(odd.for_user(&session.user_id));
    becomes(503).await;
    site.emulator.clear_faults();
    becomes(200).await;
    act(Action::Close);
    becomes(401).await;
}

#[tokio::test]
async fn verify_sets_no_user_by_default() {
    let site = Site::start(|builder| builder).await;
    let browser = Browser::new(&site.url);
    browser.log_in(&site.emulator, "alice").await;
    let response = verify(&browser, &[("x-auth-user", "mallory")]).await;
    assert_eq!(response.status(), 200);
    for value in response.headers().values() {
        let value = value.to_str().unwrap();
        assert!(!value.contains("alice") && !value.contains("mallory"), "{value}");
    }
    assert_eq!(response.text().await.unwrap(), "");
}

/// A page or a script of the browser claims a result, never a proxy.
#[tokio::test]
async fn verify_claims_no_result() {
    let site = Site::start(|builder| builder).await;
    let browser = Browser::new(&site.url);
    browser.json("/auth/login", &json!({"username": "alice"})).await;
    let session = approve(&site.emulator).await;
    let before = site.emulator.state().calls.status;
    poll_until("the approval is polled", async || {
        (site.emulator.state().calls.status > before + 1).then_some(())
    })
    .await;
    for _ in 0..3 {
        assert_eq!(verify(&browser, &[]).await.status(), 401);
    }
    assert_eq!(browser.status().await, "active");
    let sessions = site.emulator.state().sessions;
    assert!(sessions.iter().any(|s| s.session_token == session.session_token));
    assert_eq!(verify(&browser, &[]).await.status(), 200);
}

#[tokio::test]
async fn user_header_is_percent_encoded() {
    let long = "ü".repeat(2_048 / 6);
    let too_long = "ü".repeat(2_048 / 6 + 1);
    let site = Site::start(|builder| builder.verify_user_header("x-auth-user")).await;
    for (user, expected) in [
        ("alice@example.com", Some("alice%40example.com".to_owned())),
        ("Ädam & Eve, 100%", Some("%C3%84dam%20%26%20Eve%2C%20100%25".to_owned())),
        ("a-b.c_d~9", Some("a-b.c_d~9".to_owned())),
        ("x\r\nx-admin: 1\0", Some("x%0D%0Ax-admin%3A%201%00".to_owned())),
        (" ", Some("%20".to_owned())),
        (&long, Some("%C3%BC".repeat(2_048 / 6))),
        // A proxy would forward the client's own header instead.
        ("", None),
        (&too_long, None),
    ] {
        enroll_users(&site.emulator, &site.ac, &[user]).await;
        let user = UserId::from(user);
        let (credential, _) = tokio::join!(site.ac.log_in(&user), approve(&site.emulator));
        let bearer = format!("Bearer {}", credential.unwrap().expose());
        let browser = Browser::new(&site.url);
        let response = verify(&browser, &[("authorization", &bearer)]).await;
        let header = response.headers().get("x-auth-user");
        assert_eq!(header.map(|value| value.to_str().unwrap()), expected.as_deref());
        assert_eq!(response.status(), if expected.is_some() { 200 } else { 500 });
    }
}

#[tokio::test]
async fn misleading_user_headers_are_rejected() {
    for name in ["", "x auth", "x_auth_user", "set-cookie", "Location", "content-type", "x-\u{e4}"]
    {
        let credentials = Credentials::new("a4c123b1612dd272d1371c17149d4395", "secret").unwrap();
        let builder = Activeconnect::builder(credentials).token_store(MemoryTokenStore::new());
        let error = builder.verify_user_header(name).build().unwrap_err().to_string();
        assert!(error.contains("who the user is"), "{name}: {error}");
    }
}

/// The handshake as a proxy may forward it: unchanged, without hop-by-hop headers, or as a `GET`.
#[tokio::test]
async fn foreign_sockets_get_403() {
    const ORIGIN: &str = "https://app.example.com";
    let site = Site::start(|b| b.public_origin(ORIGIN).allow_origin("https://www.example")).await;
    let browser = Browser::new(&site.url);
    let handshakes: [&[(&str, &str)]; 6] = [
        &[("connection", "upgrade"), ("upgrade", "websocket")],
        &[("upgrade", "websocket")],
        &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")],
        &[("sec-websocket-version", "13")],
        &[("sec-fetch-mode", "websocket")],
        &[("x-forwarded-method", "CONNECT")],
    ];
    let statuses = async |origin: &str| {
        let mut statuses = Vec::new();
        for handshake in handshakes {
            let headers = [handshake, &[("origin", origin)]].concat();
            statuses.push(verify(&browser, &headers).await.status().as_u16());
        }
        statuses.dedup();
        statuses
    };
    let foreign = ["https://evil.example", "http://app.example.com", "null", &site.url];
    for origin in foreign {
        assert_eq!(statuses(origin).await, [403], "{origin}");
    }
    assert_eq!(statuses(ORIGIN).await, [401]);
    browser.log_in(&site.emulator, "alice").await;
    for origin in foreign {
        assert_eq!(statuses(origin).await, [403], "{origin}");
    }
    for origin in [ORIGIN, "https://www.example"] {
        assert_eq!(statuses(origin).await, [200], "{origin}");
    }
    // A page of another site may navigate here; SameSite decides about the cookie.
    assert_eq!(verify(&browser, &[("origin", "https://evil.example")]).await.status(), 200);
}

#[tokio::test]
async fn verify_uses_the_user_resolver() {
    let site = Site::start(|builder| builder.verify_user_header("x-auth-user")).await;
    let ac = site.ac.with_user_resolver(|parts: &axum::http::request::Parts| {
        let user = parts.headers.get("x-test-user")?;
        Some(UserId::from(user.to_str().unwrap()))
    });
    let url = serve(axum::Router::new().nest("/auth", ac.routes())).await;
    let browser = Browser::new(&url);
    let credential = {
        let user = UserId::from("alice");
        let (credential, _) = tokio::join!(ac.log_in(&user), approve(&site.emulator));
        format!("Bearer {}", credential.unwrap().expose())
    };
    let bearer = ("authorization", credential.as_str());
    for (headers, expected) in [
        (vec![bearer], 401),
        (vec![("x-test-user", "alice")], 401),
        (vec![("x-test-user", "bob"), bearer], 401),
        (vec![("x-test-user", "nobody")], 403),
        (vec![("x-test-user", "alice"), bearer], 200),
    ] {
        let response = verify(&browser, &headers).await;
        assert_eq!(response.status(), expected, "{headers:?}");
        assert_eq!(response.headers().contains_key("x-auth-user"), expected == 200);
    }
}

/// A parked session is polled once for all waiting requests.
#[tokio::test]
async fn parked_session_resumes_with_one_poll() {
    let emulator = activeconnect_emulator::Emulator::start().await.unwrap();
    let ac = builder(&emulator).poll_interval(Duration::from_secs(5)).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let url = serve(axum::Router::new().nest("/auth", ac.routes())).await;
    let browser = Browser::new(&url);
    let session = browser.log_in(&emulator, "alice").await;
    advance(Duration::from_secs(130), Duration::from_secs(5)).await;
    let before = emulator.state().calls.status;
    let requests = (0..20).map(|_| async { verify(&browser, &[]).await.status() });
    let statuses = futures_util::future::join_all(requests).await;
    assert!(statuses.iter().all(|status| *status == StatusCode::OK), "{statuses:?}");
    assert_eq!(emulator.state().calls.status - before, 1);
    // A session that ended while parked is not allowed by its old status.
    advance(Duration::from_secs(130), Duration::from_secs(5)).await;
    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    assert_eq!(verify(&browser, &[]).await.status(), 401);
}
