//! The engine in unusual situations: panics, dropped futures, parked sessions, late responses.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::json;
use tower_activeconnect::store::StoreError;
use tower_activeconnect::{ActiveSession, Activeconnect, Denial, TokenStore, UserId, UserToken};

use crate::support::{
    Browser, approve, builder, credentials, enroll_users, pending_session, poll_until, serve,
};

type StoredSession = Arc<Mutex<Option<ActiveSession>>>;

fn app(ac: &Activeconnect, stored: StoredSession) -> Router {
    Router::new()
        .route(
            "/",
            get(|State(stored): State<StoredSession>, session: ActiveSession| async move {
                *stored.lock().unwrap() = Some(session);
                "hello"
            }),
        )
        .with_state(stored)
        .layer(ac.layer())
        .nest("/auth", ac.routes())
}

struct PanickingStore;

impl TokenStore for PanickingStore {
    async fn token(&self, _: &UserId) -> Result<Option<UserToken>, StoreError> {
        panic!("a store with a bug")
    }
}

/// Invariant 8: a panicking store does not block the engine.
#[tokio::test]
async fn panicking_store_does_not_hang_login() {
    let emulator = Emulator::start().await.unwrap();
    let ac = Activeconnect::builder(credentials(&emulator))
        .token_store(PanickingStore)
        .login_timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(7), ac.log_in(&"alice".into())).await;
    assert!(ended.is_ok(), "log_in hangs past the attempt's deadline");
}

/// Dropping `log_in` cancels the login: the user's next login can start.
#[tokio::test]
async fn dropped_log_in_frees_the_name() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let dropped = tokio::spawn({
        let ac = ac.clone();
        async move { ac.log_in(&"alice".into()).await }
    });
    let first = pending_session(&emulator).await;
    dropped.abort();
    poll_until("the first is cancelled at the service", async || {
        let sessions = emulator.state().sessions;
        let old = sessions.iter().find(|s| s.session_token == first.session_token).unwrap();
        (old.status.to_string() != "pending").then_some(())
    })
    .await;
    let again = tokio::spawn({
        let ac = ac.clone();
        async move { ac.log_in(&"alice".into()).await.map(|_| ()) }
    });
    approve(&emulator).await;
    again.await.unwrap().unwrap();
}

/// A browser that logs out while it waits can start again.
#[tokio::test]
async fn logout_while_waiting_frees_the_name() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let browser = Browser::new(&serve(app(&ac, StoredSession::default())).await);
    browser.json("/auth/login", &json!({"username": "alice"})).await;
    pending_session(&emulator).await;
    browser.json("/auth/logout", &json!({})).await;
    let again = browser.json("/auth/login", &json!({"username": "alice"})).await;
    assert_eq!(again.status(), 202);
}

/// The logout wins: a response with the new cookie is in flight when the browser logs out.
#[tokio::test]
async fn logout_ends_session_being_claimed() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let url = serve(app(&ac, StoredSession::default())).await;
    let browser = Browser::new(&url);
    browser.json("/auth/login", &json!({"username": "alice"})).await;
    let attempt = browser.cookie("__Host-activeconnect-attempt").unwrap();
    let other = Browser::new(&url);
    other.set_cookie("__Host-activeconnect-attempt", &attempt);
    approve(&emulator).await;
    poll_until("taken", async || (browser.status().await == "active").then_some(())).await;
    // `other` is the same browser before the response arrived.
    other.json("/auth/logout", &json!({})).await;
    assert_eq!(browser.api("/").await.status(), 401, "the late cookie lives on");
}

/// The event stream reports active, not timeout, when another request of the browser claims.
#[tokio::test]
async fn events_of_claimed_attempt_omit_timeout() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).login_timeout(Duration::from_secs(5)).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let url = serve(app(&ac, StoredSession::default())).await;
    let browser = Browser::new(&url);
    browser.json("/auth/login", &json!({"username": "alice"})).await;
    let attempt = browser.cookie("__Host-activeconnect-attempt").unwrap();
    let other = Browser::new(&url);
    other.set_cookie("__Host-activeconnect-attempt", &attempt);
    approve(&emulator).await;
    poll_until("taken", async || (browser.status().await == "active").then_some(())).await;
    let mut events = other.api("/auth/events").await;
    let mut text = String::new();
    let read = async {
        while let Some(chunk) = events.chunk().await.unwrap() {
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    tokio::time::timeout(Duration::from_secs(7), read).await.ok();
    assert!(!text.contains("timeout"), "{text}");
}

/// A session that ended while it was parked is denied at once.
#[tokio::test]
async fn expired_parked_session_is_denied_at_once() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).session_duration(Duration::from_secs(100)).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let browser = Browser::new(&serve(app(&ac, StoredSession::default())).await);
    browser.log_in(&emulator, "alice").await;
    assert_eq!(browser.api("/").await.status(), 200);
    for _ in 0..2 {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(62)).await;
        tokio::time::resume();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..2 {
        let started_at = Instant::now();
        assert_eq!(browser.api("/").await.status(), 401);
        assert!(started_at.elapsed() < Duration::from_secs(1), "waited {:?}", started_at.elapsed());
    }
}

/// A watcher that is created late is live, too.
#[tokio::test]
async fn guard_of_a_parked_session_is_live() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).poll_interval(Duration::from_secs(2)).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let stored = StoredSession::default();
    let browser = Browser::new(&serve(app(&ac, stored.clone())).await);
    let remote = browser.log_in(&emulator, "alice").await;
    assert_eq!(browser.api("/").await.status(), 200);
    let session = stored.lock().unwrap().take().unwrap();
    // 63 s of work in a handler, while the poller parks the session.
    for _ in 0..21 {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(3)).await;
        tokio::time::resume();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let calls = emulator.state().calls.status;
    let waiting = tokio::spawn(async move { session.revoked().await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    emulator.act_on_session(&remote.session_token, Action::Close).unwrap();
    for _ in 0..8 {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(5)).await;
        tokio::time::resume();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        waiting.is_finished(),
        "the guard is not notified, {} polls since",
        emulator.state().calls.status - calls
    );
}

/// Dropping the last handle notifies waiting requests.
#[tokio::test]
async fn last_handle_dropped_revokes() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let logging_in = tokio::spawn({
        let ac = ac.clone();
        async move { ac.log_in(&"alice".into()).await.unwrap() }
    });
    approve(&emulator).await;
    let credential = logging_in.await.unwrap();
    let stored = StoredSession::default();
    let request = http::Request::get("/")
        .header("authorization", format!("Bearer {}", credential.expose()))
        .body(axum::body::Body::empty())
        .unwrap();
    let response = tower::ServiceExt::oneshot(app(&ac, stored.clone()), request).await.unwrap();
    assert_eq!(response.status(), 200);
    drop(response);
    let session = stored.lock().unwrap().take().unwrap();
    let waiting = tokio::spawn(async move { session.revoked().await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(ac);
    // At once, not only when the status is stale.
    let reported = tokio::time::timeout(Duration::from_secs(2), waiting).await;
    let reported = reported.expect("a guard of a dead engine waits for ever").unwrap();
    assert_eq!(reported, Denial::Ended);
}

/// A logout returns soon during an outage; the retries continue in the background.
#[tokio::test]
async fn logout_does_not_wait_for_every_try() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let browser = Browser::new(&serve(app(&ac, StoredSession::default())).await);
    browser.log_in(&emulator, "alice").await;
    drop(emulator);
    let started_at = Instant::now();
    let out = browser.json("/auth/logout", &json!({})).await;
    assert_eq!(out.status(), 202);
    assert!(started_at.elapsed() < Duration::from_secs(4), "waited {:?}", started_at.elapsed());
}
