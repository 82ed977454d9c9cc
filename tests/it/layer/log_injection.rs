//! T127: user ids and statuses cannot inject lines into the log.

use std::sync::Mutex;

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::http::request::Parts;
use axum::routing::get;
use serde_json::json;
use tower_activeconnect::protocol::Dialect;
use tower_activeconnect::store::StoreError;
use tower_activeconnect::{
    ActiveSession, Activeconnect, MemoryTokenStore, TokenStore, UserId, UserToken,
};
use tracing::Level;

use crate::support::log_capture::{LogCapture, capture};
use crate::support::raw_server::{self, RawServer, Step, response};
use crate::support::{Browser, credentials, poll_until, serve};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn lines() -> Vec<String> {
    LINES.lock().unwrap().clone()
}

/// A user id from another login that allows any characters.
const HOSTILE_NAME: &str = "alice\r\nERROR forged: \u{1b}[2J\u{85}\0";

struct NameQuotingStore;

impl TokenStore for NameQuotingStore {
    async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        Err(StoreError::new(format!("no row for {user}{}", "x".repeat(10_000))))
    }
}

#[tokio::test]
async fn names_and_statuses_inject_no_log_lines() {
    let record = |line: &str| LINES.lock().unwrap().push(line.to_owned());
    let _capture = capture(LogCapture(Level::TRACE, record));

    // The user id is in the store's error, at the gate and in a login.
    let emulator = Emulator::start().await.unwrap();
    let ac = Activeconnect::builder(credentials(&emulator))
        .token_store(NameQuotingStore)
        .build()
        .unwrap();
    let ac = ac.with_user_resolver(|_: &Parts| Some(UserId::from(HOSTILE_NAME)));
    let app = Router::new()
        .route("/", get(async |_: ActiveSession| "in"))
        .layer(ac.layer())
        .nest("/auth", ac.routes());
    let browser = Browser::new(&serve(app).await);
    assert_eq!(browser.api("/").await.status(), 503);
    assert_eq!(browser.json("/auth/login", &json!({})).await.status(), 202);
    poll_until("both faults are logged", async || {
        let lines = lines();
        let reported = |context: &str| lines.iter().any(|line| line.contains(context));
        (reported("the token store failed") && reported("a login did not start")).then_some(())
    })
    .await;

    // The hostile text as the service's status, and as the reason for a rejection.
    let reason = json!({ "reason": format!("{HOSTILE_NAME}{}", "y".repeat(10_000)) }).to_string();
    let json = [("content-type", "application/json")];
    let declines = response("400 Bad Request", &json, &reason);
    let raw = RawServer::start(move |_| vec![Step::Send(declines.clone())]).await;
    let store = MemoryTokenStore::new();
    store.assign(&"bob".into(), &UserToken::new("bob-token").unwrap()).await.unwrap();
    let server = raw_server::credentials(&raw.url(), Dialect::default());
    let ac = Activeconnect::builder(server).token_store(store).build().unwrap();
    let error = ac.log_in(&"bob".into()).await.unwrap_err();
    assert!(!error.to_string().contains(char::is_control), "{error}");

    let ours: Vec<_> =
        lines().into_iter().filter(|line| line.contains("tower_activeconnect")).collect();
    assert!(ours.iter().any(|line| line.contains("forged")), "the hostile text was logged");
    for line in &ours {
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.len() < 1_000, "{line:?}");
    }
}
