//! T127: nobody writes lines of their own into the log, whatever they call themselves.

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

use crate::support::raw::{self, Raw, Step, answer};
use crate::support::trace::{Trace, hear};
use crate::support::{Browser, credentials, serve, until};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn lines() -> Vec<String> {
    LINES.lock().unwrap().clone()
}

/// Another login, whose users choose their names freely.
const NAME: &str = "alice\r\nERROR forged: \u{1b}[2J\u{85}\0";

struct Quoting;

impl TokenStore for Quoting {
    async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        Err(StoreError::new(format!("no row for {user}{}", "x".repeat(10_000))))
    }
}

#[tokio::test]
async fn name_or_status_writes_no_line_of_its_own() {
    let record = |line: &str| LINES.lock().unwrap().push(line.to_owned());
    let _hearing = hear(Trace(Level::TRACE, record));

    // A user's name, quoted by the store's error, at the gate and in a login.
    let emulator = Emulator::start().await.unwrap();
    let ac = Activeconnect::builder(credentials(&emulator)).token_store(Quoting).build().unwrap();
    let ac = ac.with_user_resolver(|_: &Parts| Some(UserId::from(NAME)));
    let app = Router::new()
        .route("/", get(async |_: ActiveSession| "in"))
        .layer(ac.layer())
        .nest("/auth", ac.routes());
    let browser = Browser::new(&serve(app).await);
    assert_eq!(browser.api("/").await.status(), 503);
    assert_eq!(browser.json("/auth/login", &json!({})).await.status(), 202);
    until("both were told", async || {
        let lines = lines();
        let told = |what: &str| lines.iter().any(|line| line.contains(what));
        (told("the token store failed") && told("a login did not start")).then_some(())
    })
    .await;

    // What the service says, as a status and as the reason for declining.
    let reason = json!({ "reason": format!("{NAME}{}", "y".repeat(10_000)) }).to_string();
    let json = [("content-type", "application/json")];
    let declines = answer("400 Bad Request", &json, &reason);
    let raw = Raw::start(move |_| vec![Step::Send(declines.clone())]).await;
    let store = MemoryTokenStore::new();
    store.assign(&"bob".into(), &UserToken::new("bob-token").unwrap()).await.unwrap();
    let server = raw::credentials(&raw.url(), Dialect::default());
    let ac = Activeconnect::builder(server).token_store(store).build().unwrap();
    let error = ac.log_in(&"bob".into()).await.unwrap_err();
    assert!(!error.to_string().contains(char::is_control), "{error}");

    let ours: Vec<_> =
        lines().into_iter().filter(|line| line.contains("tower_activeconnect")).collect();
    assert!(ours.iter().any(|line| line.contains("forged")), "nobody tried");
    for line in &ours {
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.len() < 1_000, "{line:?}");
    }
}
