//! Versions of the tables.

use sqlx::{MySql, Postgres, Sqlite};
use tower_activeconnect::store::{StoreErrorKind, conformance};
use tower_activeconnect::{TokenStore as _, UserId};
use tower_activeconnect_sqlx::SqlTokenStore;

use crate::support::{TestBackend, messages, on_each_database, token};

/// The application runs the SQL by itself; the store compares the version and changes nothing.
async fn migrations_run_by_hand<B: TestBackend>() {
    let database = B::create_database().await;
    let pool = database.pool::<B>().await;
    // As in the published SQL for MySQL.
    let id_type = B::ID_TYPES[0].replace("VARCHAR(64)", "VARCHAR(255)").replace("nopad_", "");
    B::run(&pool, &format!("CREATE TABLE users (id {id_type} NOT NULL PRIMARY KEY)")).await;
    B::run(&pool, "INSERT INTO users (id) VALUES ('alice'), ('bob')").await;
    B::run(&pool, &SqlTokenStore::<B>::options().migrations().unwrap()).await;
    let store = SqlTokenStore::<B>::connect(&database.url).await.unwrap();
    conformance::check_all(&store, &["alice".into(), "bob".into()]).await;
    let versions = "SELECT COUNT(*) FROM activeconnect_token_migrations";
    assert_eq!(B::count(&pool, versions).await, 2);
}

/// A database of the previous version is migrated, and keeps its rows.
async fn older_version_is_migrated<B: TestBackend>() {
    let database = B::create_database().await;
    let store = database.open::<B>().await;
    let (alice, first) = (UserId::from("alice"), token());
    store.assign(&alice, &first).await.unwrap();
    B::run(store.pool(), "DROP TABLE activeconnect_token_browser_epoch").await;
    B::run(store.pool(), "DELETE FROM activeconnect_token_migrations WHERE version = 2").await;
    let store = SqlTokenStore::<B>::connect(&database.url).await.unwrap();
    assert_eq!(store.token(&alice).await.unwrap(), Some(first));
    store.set_browser_epoch(&alice, 7).await.unwrap();
    assert_eq!(store.browser_epoch(&alice).await.unwrap(), Some(7));
}

async fn newer_version_is_rejected<B: TestBackend>() {
    let database = B::create_database().await;
    let store = database.open::<B>().await;
    B::run(store.pool(), "INSERT INTO activeconnect_token_migrations (version) VALUES (3)").await;
    let error = SqlTokenStore::<B>::connect(&database.url).await.unwrap_err();
    let text = messages(&error);
    assert!(text.contains("version 3") && text.contains("update the application"), "{text}");
}

async fn users_table_stays_unchanged<B: TestBackend>() {
    let database = B::create_database().await;
    let pool = database.pool::<B>().await;
    let id_type = B::ID_TYPES[0];
    B::run(&pool, &format!("CREATE TABLE users (id {id_type} NOT NULL PRIMARY KEY, age INTEGER)"))
        .await;
    B::run(&pool, "INSERT INTO users VALUES ('alice', 7)").await;
    SqlTokenStore::<B>::connect(&database.url).await.unwrap();
    assert_eq!(B::count(&pool, "SELECT COUNT(*) FROM users WHERE age = 7").await, 1);
    // The application removes the tables of the store in any order that its keys allow.
    for table in ["activeconnect_token_browser_epoch", "activeconnect_token", "users"] {
        B::run(&pool, &format!("DROP TABLE {table}")).await;
    }
}

on_each_database!(
    migrations_run_by_hand,
    older_version_is_migrated,
    newer_version_is_rejected,
    users_table_stays_unchanged,
);

/// PostgreSQL and MySQL need the users table first, and say so.
async fn missing_users_table_is_explained<B: TestBackend>() {
    let database = B::create_database().await;
    let error = SqlTokenStore::<B>::connect(&database.url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Other);
    let text = messages(&error);
    assert!(text.contains("users table has no such id column; create it first"), "{text}");
    // The next start succeeds.
    database.open::<B>().await;
}

#[tokio::test]
async fn postgres_missing_users_table_is_explained() {
    missing_users_table_is_explained::<Postgres>().await;
}

#[tokio::test]
async fn mysql_missing_users_table_is_explained() {
    missing_users_table_is_explained::<MySql>().await;
}

/// SQLite takes a foreign key to a table that does not exist yet.
#[tokio::test]
async fn sqlite_users_table_may_follow() {
    let store = SqlTokenStore::<Sqlite>::open("sqlite::memory:").await.unwrap();
    Sqlite::run(store.pool(), "CREATE TABLE users (id TEXT PRIMARY KEY)").await;
    Sqlite::run(store.pool(), "INSERT INTO users VALUES ('alice'), ('bob')").await;
    conformance::check_all(&store, &["alice".into(), "bob".into()]).await;
}
