//! The in-memory store, and the versions of SQLite's tables. The tests of
//! `tower-activeconnect-sqlx` have the other rules of SQL stores, on real servers.

use tower_activeconnect::store::conformance;
use tower_activeconnect::{MemoryTokenStore, TokenStore, UserId, UserToken};
use tower_activeconnect_sqlx::SqliteTokenStore;

fn token() -> UserToken {
    UserToken::random().unwrap()
}

async fn with_users(store: &SqliteTokenStore, create: &'static str, insert: &'static str) {
    for sql in [create, insert] {
        sqlx::query(sql).execute(store.pool()).await.unwrap();
    }
}

#[tokio::test]
async fn memory_conforms() {
    let store = MemoryTokenStore::new();
    conformance::check_all(&store, &["alice".into(), "bob".into()]).await;
    conformance::similar_ids_are_other_users(&store, &"alice".into()).await;
}

/// A file of the previous version is migrated, and keeps its rows.
#[tokio::test]
async fn sqlite_file_without_epochs_is_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("app.db").display());
    let store = SqliteTokenStore::open(&url).await.unwrap();
    with_users(
        &store,
        "CREATE TABLE users (id TEXT PRIMARY KEY)",
        "INSERT INTO users VALUES ('alice')",
    )
    .await;
    let (alice, first) = (UserId::from("alice"), token());
    store.assign(&alice, &first).await.unwrap();
    let users = "SELECT sql FROM sqlite_schema WHERE name = 'users'";
    let before: String = sqlx::query_scalar(users).fetch_one(store.pool()).await.unwrap();
    for sql in [
        "DROP TABLE activeconnect_token_browser_epoch",
        "DELETE FROM activeconnect_token_migrations WHERE version = 2",
    ] {
        sqlx::query(sql).execute(store.pool()).await.unwrap();
    }
    store.pool().close().await;
    let store = SqliteTokenStore::open(&url).await.unwrap();
    assert_eq!(store.token(&alice).await.unwrap(), Some(first));
    store.set_browser_epoch(&alice, 7).await.unwrap();
    assert_eq!(store.browser_epoch(&alice).await.unwrap(), Some(7));
    let after: String = sqlx::query_scalar(users).fetch_one(store.pool()).await.unwrap();
    assert_eq!(before, after, "the users table is the application's");
}
