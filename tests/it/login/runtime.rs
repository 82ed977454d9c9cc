//! Engines whose runtime is shut down while the server still runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use activeconnect_emulator::Emulator;
use axum::Router;
use reqwest::StatusCode;
use serde_json::json;
use tokio::runtime::{Builder as RuntimeBuilder, Runtime};
use tower_activeconnect::login::LoginError;
use tower_activeconnect::{Activeconnect, MemoryTokenStore};
use tracing::Level;

use crate::support::log_capture::{LogCapture, capture};
use crate::support::{Browser, credentials, serve};

/// An engine whose runtime was shut down.
fn engine_without_runtime(
    emulator: &Emulator,
    runtime: impl FnOnce() -> Runtime + Send + 'static,
) -> Activeconnect {
    let builder =
        Activeconnect::builder(credentials(emulator)).token_store(MemoryTokenStore::new());
    let built = std::thread::spawn(move || {
        let runtime = runtime();
        let ac = runtime.block_on(async { builder.build().unwrap() });
        runtime.block_on(ac.enroll(&"alice".into())).unwrap();
        drop(runtime);
        ac
    });
    built.join().unwrap()
}

#[tokio::test]
async fn login_without_runtime_is_503() {
    let emulator = Emulator::start().await.unwrap();
    let current_thread = || RuntimeBuilder::new_current_thread().enable_all().build().unwrap();
    let multi_thread = || RuntimeBuilder::new_multi_thread().enable_all().build().unwrap();
    for ac in [
        engine_without_runtime(&emulator, current_thread),
        engine_without_runtime(&emulator, multi_thread),
    ] {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let written = lines.clone();
        let _heard = capture(LogCapture(Level::WARN, move |line: &str| {
            written.lock().unwrap().push(line.to_owned());
        }));
        let site = serve(Router::new().nest("/auth", ac.routes())).await;
        // Every username, repeatedly: no username is reserved, so none returns 429.
        for name in ["alice", "alice", "an unknown user name"] {
            let browser = Browser::new(&site);
            let response = browser.form("/auth/login", &[("username", name)]).await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            let response = browser.json("/auth/login", &json!({ "username": name })).await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            assert!(browser.cookie_header().is_empty(), "there is no attempt to wait for");
        }
        let lines = lines.lock().unwrap();
        let reported =
            |line: &&String| line.contains("call build() on a runtime that lives as long");
        assert_eq!(lines.iter().filter(reported).count(), 1, "{lines:?}");
        assert!(lines.iter().all(|line| !line.contains("failed")), "{lines:?}");
    }
    assert!(emulator.state().sessions.is_empty(), "no push is sent");
}

#[tokio::test]
async fn log_in_without_runtime_is_aborted() {
    let emulator = Emulator::start().await.unwrap();
    let ac = engine_without_runtime(&emulator, || {
        RuntimeBuilder::new_current_thread().enable_all().build().unwrap()
    });
    let ended = tokio::time::timeout(Duration::from_secs(5), ac.log_in(&"alice".into())).await;
    assert!(matches!(ended.unwrap().unwrap_err(), LoginError::Aborted));
}
