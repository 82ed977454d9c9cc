//! The log, and engines with a misconfigured setup.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use activeconnect_emulator::Emulator;
use tower_activeconnect::store::{StoreError, StoreErrorKind};
use tower_activeconnect::{
    Activeconnect, ActiveconnectBuilder, Credentials, MemoryTokenStore, TokenStore, UserId,
    UserToken,
};
use tracing::dispatcher::DefaultGuard;
use tracing::{Dispatch, Level};

use crate::support::log_capture::{LogCapture, capture};

/// The log of this thread, from warnings up.
pub(super) struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    _capture: (Dispatch, DefaultGuard),
}

impl Log {
    pub(super) fn capture() -> Self {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let received = lines.clone();
        let record = move |line: &str| received.lock().unwrap().push(line.to_owned());
        Self { lines, _capture: capture(LogCapture(Level::WARN, record)) }
    }

    /// The lines that contain this text.
    pub(super) fn with(&self, text: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// The only line with this text. Asserts that it has none of these secrets.
    pub(super) fn only(&self, text: &str, secrets: &[&str]) -> String {
        let lines = self.with(text);
        assert_eq!(lines.len(), 1, "{text}: {:?}", self.lines.lock().unwrap());
        assert!(!secrets.iter().any(|secret| lines[0].contains(secret)), "{lines:?}");
        lines[0].clone()
    }
}

/// An engine with a wrong secret, and its one user.
pub(super) async fn with_wrong_secret(emulator: &Emulator) -> Activeconnect {
    let credentials = Credentials::new(emulator.application_id(), "wrong-secret").unwrap();
    let credentials = credentials.with_server(emulator.url()).unwrap();
    with_alice(Activeconnect::builder(credentials)).await
}

/// An engine whose server does not listen.
pub(super) async fn without_service() -> (Activeconnect, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let credentials = Credentials::new("application", "secret").unwrap().with_server(&url).unwrap();
    (with_alice(Activeconnect::builder(credentials)).await, url)
}

async fn with_alice(builder: ActiveconnectBuilder) -> Activeconnect {
    let store = MemoryTokenStore::new();
    store.assign(&"alice".into(), &UserToken::new("alice-token").unwrap()).await.unwrap();
    builder.token_store(store).test_clock().build().unwrap()
}

/// A token store whose database is stopped.
pub(super) struct StoppedStore;

impl TokenStore for StoppedStore {
    async fn token(&self, _: &UserId) -> Result<Option<UserToken>, StoreError> {
        let rejected = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        Err(StoreError::new(rejected).with_kind(StoreErrorKind::Unavailable))
    }
}

/// A token store whose database hangs.
pub(super) struct HangingStore;

impl TokenStore for HangingStore {
    async fn token(&self, _: &UserId) -> Result<Option<UserToken>, StoreError> {
        std::future::pending().await
    }
}

/// Advances the clock.
pub(super) async fn skip(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
