//! A token store that another connection locks.

use std::time::{Duration, Instant};

use activeconnect_emulator::Emulator;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tempfile::TempDir;
use tower_activeconnect::login::LoginError;
use tower_activeconnect::store::{StoreError, StoreErrorKind};
use tower_activeconnect::{Activeconnect, TokenStore, UserToken};
use tower_activeconnect_sqlx::SqliteTokenStore;

use crate::support;

struct Database {
    folder: TempDir,
}

impl Database {
    async fn create() -> (Self, SqliteTokenStore) {
        let database = Self { folder: tempfile::tempdir().unwrap() };
        let store = SqliteTokenStore::open(&database.url()).await.unwrap();
        for sql in
            ["CREATE TABLE users (id TEXT PRIMARY KEY)", "INSERT INTO users VALUES ('alice')"]
        {
            store.pool().execute(sql).await.unwrap();
        }
        (database, store)
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.folder.path().join("users.db").display())
    }

    /// Locks the file for reads and writes, until the connection closes.
    async fn lock(&self) -> SqliteConnection {
        let mut connection = SqliteConnection::connect(&self.url()).await.unwrap();
        connection.execute("BEGIN EXCLUSIVE").await.unwrap();
        connection
    }
}

/// The call fails as unavailable, before the shortest login timeout.
async fn is_unavailable<T: std::fmt::Debug>(call: impl Future<Output = Result<T, StoreError>>) {
    let started_at = Instant::now();
    let error = call.await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert!(started_at.elapsed() < Duration::from_millis(4_500), "{:?}", started_at.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locked_store_is_unavailable() {
    let (database, store) = Database::create().await;
    let (alice, token) = ("alice".into(), UserToken::random().unwrap());
    // An application's own pool, with a timeout of 30 s.
    let options: SqliteConnectOptions = database.url().parse().unwrap();
    let patient = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options.busy_timeout(Duration::from_secs(30)))
        .await
        .unwrap();
    let patient = SqliteTokenStore::options().from_pool(patient).await.unwrap();
    let locked = database.lock().await;
    let url = database.url();
    tokio::join!(
        is_unavailable(store.token(&alice)),
        is_unavailable(store.assign(&alice, &token)),
        is_unavailable(store.remove(&alice)),
        is_unavailable(SqliteTokenStore::open(&url)),
        is_unavailable(patient.token(&alice)),
        is_unavailable(patient.token(&alice)),
    );
    locked.close().await.unwrap();
    assert_eq!(store.assign(&alice, &token).await.unwrap(), token);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locked_store_makes_login_unavailable() {
    let (database, store) = Database::create().await;
    let emulator = Emulator::start().await.unwrap();
    let deadline = Duration::from_secs(5);
    let ac = Activeconnect::builder(support::credentials(&emulator))
        .token_store(store)
        .login_timeout(deadline)
        .build()
        .unwrap();
    let alice = "alice".into();
    support::enroll_users(&emulator, &ac, &["alice"]).await;
    let locked = database.lock().await;
    let started_at = Instant::now();
    let error = ac.log_in(&alice).await.unwrap_err();
    let LoginError::Store(store_error) = &error else { panic!("{error:?}") };
    assert_eq!(store_error.kind(), StoreErrorKind::Unavailable);
    assert!(started_at.elapsed() < deadline, "{:?}", started_at.elapsed());
    locked.close().await.unwrap();
    let (credential, _) = tokio::join!(ac.log_in(&alice), support::approve(&emulator));
    credential.unwrap();
}
