//! The `owner` in responses of `status`, by which pages distinguish users.

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use tower_activeconnect::ActiveSession;

use crate::support::{Browser, approve, builder, enroll_users, poll_until, serve};

async fn site(emulator: &Emulator) -> String {
    let ac = builder(emulator).build().unwrap();
    enroll_users(emulator, &ac, &["alice", "bob"]).await;
    let app = Router::new()
        .route("/", get(async |session: ActiveSession| session.owner_id().to_string()))
        .layer(ac.layer())
        .nest("/auth", ac.routes());
    serve(app).await
}

async fn status(browser: &Browser) -> Value {
    browser.api("/auth/status").await.json().await.unwrap()
}

async fn owner(browser: &Browser) -> String {
    status(browser).await["owner"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn owner_id_is_per_user() {
    let emulator = Emulator::start().await.unwrap();
    let url = site(&emulator).await;
    let browser = Browser::new(&url);
    browser.log_in(&emulator, "alice").await;
    let first = owner(&browser).await;
    assert_eq!(first.len(), 22);
    assert!(first.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    assert_eq!(browser.api("/").await.text().await.unwrap(), first);
    let session = browser.log_in(&emulator, "alice").await;
    assert_eq!(owner(&browser).await, first);
    let other = Browser::new(&url);
    other.log_in(&emulator, "bob").await;
    assert_ne!(owner(&other).await, first);

    // The browser whose session ended still has its credential.
    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    let closed = json!({ "status": "closed", "owner": first });
    poll_until("over", async || (status(&browser).await == closed).then_some(())).await;
}

#[tokio::test]
async fn unclaimed_attempt_has_no_owner() {
    let emulator = Emulator::start().await.unwrap();
    let url = site(&emulator).await;
    let browser = Browser::new(&url);
    assert_eq!(status(&browser).await, json!({ "status": "none" }));
    browser.json("/auth/login", &json!({ "username": "alice" })).await;
    assert_eq!(status(&browser).await, json!({ "status": "pending" }));
    approve(&emulator).await;
    let mut events = browser.api("/auth/events").await;
    let mut reported = String::new();
    while !reported.contains("active") {
        reported.push_str(&String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap()));
    }
    assert!(!reported.contains("owner"), "{reported}");
    // The response with the owner claims the attempt.
    assert_eq!(owner(&browser).await.len(), 22);
}
