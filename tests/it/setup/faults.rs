//! Faults of the service and of the token store, which keep users out: what the operator is told.

use std::time::Duration;

use activeconnect_emulator::{Emulator, Endpoint, Fault as Strike, FaultKind};
use tower_activeconnect::client::ClientErrorKind;
use tower_activeconnect::events::{EventKind, Events, Fault};
use tower_activeconnect::login::LoginError;
use tower_activeconnect::store::StoreErrorKind;
use tower_activeconnect::{Activeconnect, TokenStore};

use super::fixture::{HangingStore, Log, StoppedStore, skip, with_wrong_secret, without_service};
use crate::support::{Browser, builder, credentials, serve, until, with_phones};

const NO_LOGIN: &str = "the service began no login";
const FAILED_POLL: &str = "a poll of the service failed";
const NO_TOKEN: &str = "the token store failed";

async fn refused(ac: &Activeconnect) -> LoginError {
    ac.log_in(&"alice".into()).await.unwrap_err()
}

async fn next(events: &mut Events) -> EventKind {
    tokio::time::timeout(Duration::from_secs(5), events.next()).await.unwrap().unwrap().kind
}

#[tokio::test]
async fn wrong_secret_is_told_once_a_minute() {
    let log = Log::hear();
    let emulator = Emulator::start().await.unwrap();
    let ac = with_wrong_secret(&emulator).await;
    let mut events = ac.events();
    for _ in 0..3 {
        refused(&ac).await;
    }
    let line = log.only(NO_LOGIN, &["wrong-secret", "alice"]);
    assert!(line.starts_with("WARN") && line.contains("suppressed=0"), "{line}");
    assert!(line.contains("check the application's id and secret"), "{line}");
    let fault = EventKind::Fault(Fault::Service(ClientErrorKind::SignatureRejected));
    assert_eq!(next(&mut events).await, fault);
    skip(Duration::from_secs(61)).await;
    refused(&ac).await;
    assert_eq!(next(&mut events).await, fault, "told twice, for four logins");
    let lines = log.with(NO_LOGIN);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].contains("suppressed=2"), "{lines:?}");
}

#[tokio::test]
async fn unreachable_service_is_named() {
    let log = Log::hear();
    let (ac, url) = without_service().await;
    let mut events = ac.events();
    let error = refused(&ac).await;
    let said = format!("the service at {url} cannot be reached; check the server");
    assert!(error.to_string().starts_with(&said), "{error}");
    let line = log.only(NO_LOGIN, &["alice"]);
    assert!(line.contains(&said), "{line}");
    let fault = EventKind::Fault(Fault::Service(ClientErrorKind::Unreachable));
    assert_eq!(next(&mut events).await, fault);
}

/// A form is answered as ever: only the operator learns that no phone rings.
#[tokio::test]
async fn fault_is_not_shown_to_the_browser() {
    let log = Log::hear();
    let emulator = Emulator::start().await.unwrap();
    let ac = with_wrong_secret(&emulator).await;
    let app = axum::Router::new().nest("/auth", ac.routes());
    let browser = Browser::new(&serve(app).await);
    let answer = browser.json("/auth/login", &serde_json::json!({ "username": "alice" })).await;
    assert_eq!(answer.status(), 202);
    until("the operator is told", async || (!log.with(NO_LOGIN).is_empty()).then_some(())).await;
    assert_eq!(browser.status().await, "pending");
}

#[tokio::test]
async fn failing_polls_name_no_secret_path() {
    let log = Log::hear();
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    with_phones(&emulator, &ac, &["alice"]).await;
    let app = axum::Router::new().nest("/auth", ac.routes());
    let browser = Browser::new(&serve(app).await);
    let session = browser.log_in(&emulator, "alice").await;
    emulator.inject_fault(Strike::new(Endpoint::Status, FaultKind::Reset));
    let _watch = browser.api("/auth/events").await;
    let failing = async || (!log.with(FAILED_POLL).is_empty()).then_some(());
    until("a poll fails", failing).await;
    let line = log.only(FAILED_POLL, &[&session.session_token, "alice", "session_status"]);
    assert!(
        line.contains(&format!("the service at {} cannot be reached", emulator.url())),
        "{line}"
    );
}

async fn store_fault(store: impl TokenStore, kind: StoreErrorKind, said: &str) {
    let log = Log::hear();
    let emulator = Emulator::start().await.unwrap();
    let ac = Activeconnect::builder(credentials(&emulator)).token_store(store);
    let ac = ac.test_clock().build().unwrap();
    let mut events = ac.events();
    tokio::time::pause();
    for _ in 0..2 {
        assert!(matches!(refused(&ac).await, LoginError::Store(_)));
    }
    tokio::time::resume();
    let line = log.only(NO_TOKEN, &["alice"]);
    assert!(line.starts_with("WARN") && line.contains(said), "{line}");
    assert!(line.contains("check the database"), "{line}");
    assert_eq!(next(&mut events).await, EventKind::Fault(Fault::TokenStore(kind)));
}

#[tokio::test]
async fn stopped_token_store_is_told() {
    let said = "the store cannot be reached; try again later: connection refused";
    store_fault(StoppedStore, StoreErrorKind::Unavailable, said).await;
}

#[tokio::test]
async fn hanging_token_store_is_told() {
    store_fault(HangingStore, StoreErrorKind::Unavailable, "did not answer in time").await;
}

#[tokio::test]
async fn users_without_a_phone_are_no_fault() {
    let log = Log::hear();
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    let mut events = ac.events();
    assert!(matches!(refused(&ac).await, LoginError::NotEnrolled));
    ac.enroll(&"alice".into()).await.unwrap();
    assert!(matches!(refused(&ac).await, LoginError::Service(_)));
    drop(ac);
    while let Some(event) = events.next().await {
        assert!(!matches!(event.kind, EventKind::Fault(_)), "{event:?}");
    }
    assert_eq!(log.with("tower_activeconnect::engine"), [""; 0]);
}
