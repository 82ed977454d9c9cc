//! Faults of the service and the token store: what the operator learns.

use std::time::Duration;

use activeconnect_emulator::{Emulator, Endpoint, Fault as Strike, FaultKind};
use tower_activeconnect::client::ClientErrorKind;
use tower_activeconnect::events::{EventKind, Events, Fault};
use tower_activeconnect::login::LoginError;
use tower_activeconnect::store::StoreErrorKind;
use tower_activeconnect::{Activeconnect, TokenStore};

use super::fixture::{HangingStore, Log, StoppedStore, skip, with_wrong_secret, without_service};
use crate::support::{Browser, builder, credentials, enroll_users, poll_until, serve};

const NO_LOGIN: &str = "the service began no login";
const FAILED_POLL: &str = "a poll of the service failed";
const NO_TOKEN: &str = "the token store failed";

async fn login_error(ac: &Activeconnect) -> LoginError {
    ac.log_in(&"alice".into()).await.unwrap_err()
}

async fn next(events: &mut Events) -> EventKind {
    tokio::time::timeout(Duration::from_secs(5), events.next()).await.unwrap().unwrap().kind
}

#[tokio::test]
async fn wrong_secret_is_reported_once_a_minute() {
    let log = Log::capture();
    let emulator = Emulator::start().await.unwrap();
    let ac = with_wrong_secret(&emulator).await;
    let mut events = ac.events();
    for _ in 0..3 {
        login_error(&ac).await;
    }
    let line = log.only(NO_LOGIN, &["wrong-secret", "alice"]);
    assert!(line.starts_with("WARN") && line.contains("suppressed=0"), "{line}");
    assert!(line.contains("check the application's id and secret"), "{line}");
    let fault = EventKind::Fault(Fault::Service(ClientErrorKind::SignatureRejected));
    assert_eq!(next(&mut events).await, fault);
    skip(Duration::from_secs(61)).await;
    login_error(&ac).await;
    assert_eq!(next(&mut events).await, fault, "two log lines for four logins");
    let lines = log.with(NO_LOGIN);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].contains("suppressed=2"), "{lines:?}");
}

#[tokio::test]
async fn unreachable_service_is_named() {
    let log = Log::capture();
    let (ac, url) = without_service().await;
    let mut events = ac.events();
    let error = login_error(&ac).await;
    let actual = format!("the service at {url} cannot be reached; check the server");
    assert!(error.to_string().starts_with(&actual), "{error}");
    let line = log.only(NO_LOGIN, &["alice"]);
    assert!(line.contains(&actual), "{line}");
    let fault = EventKind::Fault(Fault::Service(ClientErrorKind::Unreachable));
    assert_eq!(next(&mut events).await, fault);
}

/// The form's response does not change: only the operator learns that no push is sent.
#[tokio::test]
async fn faults_are_not_shown_to_browsers() {
    let log = Log::capture();
    let emulator = Emulator::start().await.unwrap();
    let ac = with_wrong_secret(&emulator).await;
    let app = axum::Router::new().nest("/auth", ac.routes());
    let browser = Browser::new(&serve(app).await);
    let response = browser.json("/auth/login", &serde_json::json!({ "username": "alice" })).await;
    assert_eq!(response.status(), 202);
    poll_until("the log has the fault", async || (!log.with(NO_LOGIN).is_empty()).then_some(()))
        .await;
    assert_eq!(browser.status().await, "pending");
}

#[tokio::test]
async fn poll_faults_log_no_secret_path() {
    let log = Log::capture();
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let app = axum::Router::new().nest("/auth", ac.routes());
    let browser = Browser::new(&serve(app).await);
    let session = browser.log_in(&emulator, "alice").await;
    emulator.inject_fault(Strike::new(Endpoint::Status, FaultKind::Reset));
    let _watch = browser.api("/auth/events").await;
    let failing = async || (!log.with(FAILED_POLL).is_empty()).then_some(());
    poll_until("a poll fails", failing).await;
    let line = log.only(FAILED_POLL, &[&session.session_token, "alice", "session_status"]);
    assert!(
        line.contains(&format!("the service at {} cannot be reached", emulator.url())),
        "{line}"
    );
}

async fn store_fault(store: impl TokenStore, kind: StoreErrorKind, actual: &str) {
    let log = Log::capture();
    let emulator = Emulator::start().await.unwrap();
    let ac = Activeconnect::builder(credentials(&emulator)).token_store(store);
    let ac = ac.test_clock().build().unwrap();
    let mut events = ac.events();
    tokio::time::pause();
    for _ in 0..2 {
        assert!(matches!(login_error(&ac).await, LoginError::Store(_)));
    }
    tokio::time::resume();
    let line = log.only(NO_TOKEN, &["alice"]);
    assert!(line.starts_with("WARN") && line.contains(actual), "{line}");
    assert!(line.contains("check the database"), "{line}");
    assert_eq!(next(&mut events).await, EventKind::Fault(Fault::TokenStore(kind)));
}

#[tokio::test]
async fn failing_token_store_is_reported() {
    let actual = "the store cannot be reached; try again later: connection refused";
    store_fault(StoppedStore, StoreErrorKind::Unavailable, actual).await;
}

#[tokio::test]
async fn hanging_token_store_is_reported() {
    store_fault(HangingStore, StoreErrorKind::Unavailable, "did not answer in time").await;
}

#[tokio::test]
async fn users_without_a_phone_are_no_fault() {
    let log = Log::capture();
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    let mut events = ac.events();
    assert!(matches!(login_error(&ac).await, LoginError::NotEnrolled));
    ac.enroll(&"alice".into()).await.unwrap();
    assert!(matches!(login_error(&ac).await, LoginError::Service(_)));
    drop(ac);
    while let Some(event) = events.next().await {
        assert!(!matches!(event.kind, EventKind::Fault(_)), "{event:?}");
    }
    assert_eq!(log.with("tower_activeconnect::engine"), [""; 0]);
}
