//! What pages tell users apart by: `owner` in the answers of `status`.

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use tower_activeconnect::ActiveSession;

use crate::support::{Browser, approve, builder, serve, until, with_phones};

async fn site(emulator: &Emulator) -> String {
    let ac = builder(emulator).build().unwrap();
    with_phones(emulator, &ac, &["alice", "bob"]).await;
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
async fn owner_is_of_the_user_not_of_the_session() {
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

    // The one whose session it was still bears its credential.
    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    let closed = json!({ "status": "closed", "owner": first });
    until("over", async || (status(&browser).await == closed).then_some(())).await;
}

#[tokio::test]
async fn unclaimed_attempt_tells_no_owner() {
    let emulator = Emulator::start().await.unwrap();
    let url = site(&emulator).await;
    let browser = Browser::new(&url);
    assert_eq!(status(&browser).await, json!({ "status": "none" }));
    browser.json("/auth/login", &json!({ "username": "alice" })).await;
    assert_eq!(status(&browser).await, json!({ "status": "pending" }));
    approve(&emulator).await;
    let mut events = browser.api("/auth/events").await;
    let mut told = String::new();
    while !told.contains("active") {
        told.push_str(&String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap()));
    }
    assert!(!told.contains("owner"), "{told}");
    // It is claimed by the answer that tells.
    assert_eq!(owner(&browser).await.len(), 22);
}
