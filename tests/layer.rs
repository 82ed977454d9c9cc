//! Tower's contract, and the answers of the layer and its routes beside another login.
#![cfg(all(feature = "axum", feature = "emulator"))]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

mod support;

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::request::Parts;
use http::{Request, Response};
use serde_json::json;
use support::{Browser, approve, builder, serve, until, with_phones};
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use tower_activeconnect::emulator::Emulator;
use tower_activeconnect::{ActiveSession, UserId};

/// T118: a denial drops the ready service, permit and all.
#[tokio::test]
async fn a_denial_gives_the_permit_back() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    let inner = service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(Response::new(Body::from("inner")))
    });
    let mut one = ac.layer().layer(GlobalConcurrencyLimitLayer::new(1).layer(inner));
    let mut two = one.clone();
    let denied = one.ready().await.unwrap().call(Request::new(Body::empty())).await.unwrap();
    assert_eq!(denied.status(), 401);
    drop(denied);
    // `one` is kept, as a connection or a Buffer keeps its service between requests.
    let ready = tokio::time::timeout(Duration::from_secs(2), two.ready()).await;
    assert!(ready.is_ok(), "the denied request still holds the only permit");
}

/// RFC 9110: 401 has a challenge; design.md: all denials are `no-store`.
#[tokio::test]
async fn the_extractor_under_an_optional_layer_answers_like_the_layer() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    let app = Router::new()
        .route("/", get(|_: ActiveSession| async { "in" }))
        .layer(ac.layer().optional());
    let browser = Browser::new(&serve(app).await);
    let denied = browser.api("/").await;
    assert_eq!(denied.status(), 401);
    assert_eq!(denied.headers()["cache-control"], "no-store");
    assert!(denied.headers().contains_key("www-authenticate"));
}

fn presence(ac: &tower_activeconnect::Activeconnect) -> Router {
    let ac = ac.resolve_user(|parts: &Parts| {
        parts.headers.get("x-test-user").map(|user| UserId::from(user.to_str().unwrap()))
    });
    Router::new()
        .route("/", get(|s: ActiveSession| async move { s.user().to_string() }))
        .layer(ac.layer())
        .nest("/auth", ac.routes())
}

async fn log_in_as(browser: &Browser, emulator: &Emulator, user: &str) -> String {
    let post = browser.post("/auth/login").header("x-test-user", user).json(&json!({}));
    assert_eq!(browser.send(post).await.status(), 202);
    let session = approve(emulator).await;
    until("taken", async || {
        let get = browser.get("/auth/status").header("x-test-user", user);
        browser.send(get).await.text().await.unwrap().contains("active").then_some(())
    })
    .await;
    session.session_token
}

fn status_of(emulator: &Emulator, token: &str) -> String {
    let sessions = emulator.state().sessions;
    sessions.iter().find(|s| s.session_token == token).unwrap().status.to_string()
}

/// The application has logged its user out already; our logout still ends what the cookie names.
#[tokio::test]
async fn a_presence_logout_needs_no_user() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    with_phones(&emulator, &ac, &["alice"]).await;
    let browser = Browser::new(&serve(presence(&ac)).await);
    let token = log_in_as(&browser, &emulator, "alice").await;
    browser.json("/auth/logout", &json!({})).await;
    assert_eq!(browser.cookie("__Host-activeconnect"), None);
    assert_eq!(status_of(&emulator, &token), "closed");
}

/// "a session that was there before is logged out", another user's too.
#[tokio::test]
async fn a_presence_login_ends_the_session_before_it() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    with_phones(&emulator, &ac, &["alice", "bob"]).await;
    let browser = Browser::new(&serve(presence(&ac)).await);
    let alices = log_in_as(&browser, &emulator, "alice").await;
    log_in_as(&browser, &emulator, "bob").await;
    until("closed", async || (status_of(&emulator, &alices) == "closed").then_some(())).await;
}

/// An attempt begun for one user says nothing to another user's request.
#[tokio::test]
async fn a_presence_attempt_of_another_user_is_not_pending() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    with_phones(&emulator, &ac, &["alice", "bob"]).await;
    let browser = Browser::new(&serve(presence(&ac)).await);
    let post = browser.post("/auth/login").header("x-test-user", "alice").json(&json!({}));
    assert_eq!(browser.send(post).await.status(), 202);
    let denied = browser.send(browser.get("/").header("x-test-user", "bob")).await;
    assert!(denied.text().await.unwrap().contains("no-session"));
}
