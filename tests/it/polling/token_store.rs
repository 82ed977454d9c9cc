//! T169: an SQLite file that another process keeps locked.

use std::time::Duration;

use axum::http::StatusCode;
use tower_activeconnect::ActiveconnectBuilder;
use tower_activeconnect::login::LoginError;
use tower_activeconnect_sqlx::SqliteTokenStore;

use super::fixture::{Fixture, user};
use crate::support::advance;

const SESSIONS: usize = 30;

/// F32: sessions in use stay allowed, and polls continue; a login fails.
#[tokio::test]
async fn locked_sqlite_file_denies_no_session() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("app.db").display());
    let store = SqliteTokenStore::open(&url).await.unwrap();
    sqlx::query("CREATE TABLE users (id TEXT PRIMARY KEY)").execute(store.pool()).await.unwrap();
    for which in 0..SESSIONS {
        let insert = sqlx::query("INSERT INTO users VALUES (?)").bind(user(which).to_string());
        insert.execute(store.pool()).await.unwrap();
    }
    let site = Fixture::over(store, SESSIONS, ActiveconnectBuilder::test_clock).await;
    let other = SqliteTokenStore::open(&url).await.unwrap();
    let mut lock = other.pool().acquire().await.unwrap();
    sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut *lock).await.unwrap();

    // A minute, after which all token checks are due, and twice the staleness limit.
    for _ in 0..18 {
        let before = site.emulator.state().calls.status;
        advance(Duration::from_secs(5), Duration::from_millis(500)).await;
        assert_eq!(site.count(StatusCode::OK).await, SESSIONS);
        let polls = site.emulator.state().calls.status - before;
        assert!(polls >= SESSIONS as u64 * 9 / 10, "{polls} polls in an interval");
    }
    let rejected = site.ac.log_in(&user(0)).await.unwrap_err();
    assert!(matches!(rejected, LoginError::Store(_)), "{rejected}");
    sqlx::raw_sql("ROLLBACK").execute(&mut *lock).await.unwrap();

    // The checks continue: removing a token ends the session.
    sqlx::query("DELETE FROM users WHERE id = 'user0'").execute(&mut *lock).await.unwrap();
    advance(Duration::from_secs(70), Duration::from_secs(1)).await;
    assert_eq!(site.ask(&site.sessions[0]).await, StatusCode::UNAUTHORIZED);
    assert_eq!(site.count(StatusCode::OK).await, SESSIONS - 1);
}
