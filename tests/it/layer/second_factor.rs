//! The phone as a second factor: another login names the user, whose session must be in this
//! browser.

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use serde_json::json;
use tower_activeconnect::{ActiveSession, Denial, UserId};

use crate::support::{Browser, approve, builder, enroll_users, location, poll_until, serve};

/// The other login trusts a header, which only a test may do.
#[derive(Clone)]
struct AppUser(String);

async fn other_login(mut request: Request, next: Next) -> axum::response::Response {
    if let Some(user) = request.headers().get("x-test-user") {
        let user = AppUser(user.to_str().unwrap().to_owned());
        request.extensions_mut().insert(user);
    }
    next.run(request).await
}

struct Site {
    emulator: Emulator,
    url: String,
}

async fn site() -> Site {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).enrollment_path("/enroll").build().unwrap();
    enroll_users(&emulator, &ac, &["alice", "bob"]).await;
    let ac = ac.with_user_resolver(|parts: &Parts| {
        parts.extensions.get::<AppUser>().map(|user| UserId::from(&user.0))
    });
    let app = Router::new()
        .route("/", get(|s: ActiveSession| async move { s.user().to_string() }))
        .layer(ac.layer())
        .merge(Router::new().route("/open", get(user_or_denial)).layer(ac.layer().optional()))
        .nest("/auth", ac.routes())
        .layer(from_fn(other_login));
    Site { emulator, url: serve(app).await }
}

async fn user_or_denial(session: Option<ActiveSession>, request: Request) -> String {
    match session {
        Some(session) => session.user().to_string(),
        None => request.extensions().get::<Denial>().unwrap().as_str().to_owned(),
    }
}

async fn get_as(browser: &Browser, user: &str, path: &str) -> (u16, String) {
    let response = browser.send(browser.get(path).header("x-test-user", user)).await;
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn log_in(site: &Site, browser: &Browser, user: &str, typed: &serde_json::Value) {
    let start = browser.post("/auth/login").header("x-test-user", user).json(typed);
    assert_eq!(browser.send(start).await.status(), 202);
    approve(&site.emulator).await;
    poll_until("taken", async || {
        get_as(browser, user, "/auth/status").await.1.contains("active").then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_the_browser_with_the_session_is_allowed() {
    let site = site().await;
    let (one, other) = (Browser::new(&site.url), Browser::new(&site.url));
    log_in(&site, &one, "alice", &json!({})).await;
    assert_eq!(get_as(&one, "alice", "/").await, (200, "alice".to_owned()));
    let rejected = get_as(&other, "alice", "/").await;
    assert_eq!(rejected.0, 401);
    assert!(rejected.1.contains("no-session"), "{}", rejected.1);
}

#[tokio::test]
async fn posted_name_is_ignored() {
    let site = site().await;
    let browser = Browser::new(&site.url);
    log_in(&site, &browser, "alice", &json!({"username": "bob"})).await;
    assert_eq!(get_as(&browser, "alice", "/").await, (200, "alice".to_owned()));
    assert_eq!(get_as(&browser, "bob", "/").await.0, 401);
}

#[tokio::test]
async fn other_users_credential_is_no_session() {
    let site = site().await;
    let browser = Browser::new(&site.url);
    log_in(&site, &browser, "alice", &json!({})).await;
    let as_bob = get_as(&browser, "bob", "/").await;
    assert_eq!(as_bob.0, 401);
    assert!(as_bob.1.contains("no-session"), "{}", as_bob.1);
    assert_eq!(get_as(&browser, "bob", "/auth/status").await.1, r#"{"status":"none"}"#);
}

#[tokio::test]
async fn result_is_claimed_only_for_its_user() {
    let site = site().await;
    let browser = Browser::new(&site.url);
    let start = browser.post("/auth/login").header("x-test-user", "alice").json(&json!({}));
    assert_eq!(browser.send(start).await.status(), 202);
    approve(&site.emulator).await;
    let attempt = browser.cookie("__Host-activeconnect-attempt").unwrap();
    // Bob's requests in the same browser while alice's attempt is approved.
    let polled = site.emulator.state().calls.status;
    poll_until("two more polls", async || {
        assert!(!get_as(&browser, "bob", "/auth/status").await.1.contains("active"));
        (site.emulator.state().calls.status >= polled + 2).then_some(())
    })
    .await;
    browser.set_cookie("__Host-activeconnect-attempt", &attempt);
    assert!(get_as(&browser, "alice", "/auth/status").await.1.contains("active"));
}

#[tokio::test]
async fn denials_name_login_or_application() {
    let site = site().await;
    let browser = Browser::new(&site.url);
    // Without a user of the application, the login page is the application's, not the gate's.
    assert_eq!(browser.page("/").await.status(), 401);
    assert_eq!(browser.api("/").await.status(), 401);
    let response = browser.json("/auth/login", &json!({"username": "alice"})).await;
    assert_eq!(response.status(), 401);
    // A user without a token.
    assert_eq!(get_as(&browser, "carol", "/").await.0, 403);
    let page = browser.get("/").header("x-test-user", "carol").header("sec-fetch-mode", "navigate");
    let page = browser.send(page).await;
    assert_eq!((page.status().as_u16(), location(&page)), (303, "/enroll"));
    // An optional layer provides the denial.
    assert_eq!(browser.api("/open").await.text().await.unwrap(), "no-identity");
    assert_eq!(get_as(&browser, "alice", "/open").await.1, "no-session");
    assert_eq!(get_as(&browser, "carol", "/open").await.1, "no-token");
    log_in(&site, &browser, "alice", &json!({})).await;
    assert_eq!(get_as(&browser, "alice", "/open").await.1, "alice");
}
