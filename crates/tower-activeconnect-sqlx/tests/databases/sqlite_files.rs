//! Files of SQLite.

use tower_activeconnect::{TokenStore as _, UserId};
use tower_activeconnect_sqlx::SqliteTokenStore;

use crate::support::{TestBackend as _, token};

#[tokio::test]
async fn reopened_file_keeps_tokens_and_epochs() {
    let database = sqlx::Sqlite::create_database().await;
    let (store, alice, first) =
        (database.open::<sqlx::Sqlite>().await, UserId::from("alice"), token());
    store.assign(&alice, &first).await.unwrap();
    store.set_browser_epoch(&alice, 7).await.unwrap();
    store.pool().close().await;
    let store = SqliteTokenStore::open(&database.url).await.unwrap();
    assert_eq!(store.token(&alice).await.unwrap(), Some(first));
    assert_eq!(store.browser_epoch(&alice).await.unwrap(), Some(7));
}

#[tokio::test]
async fn url_of_no_file_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    for url in [
        format!("sqlite:{}/missing/app.db", folder.path().display()),
        format!("sqlite:{}", folder.path().display()),
        "postgres://localhost/app".to_owned(),
        // These URLs would create files of that name, or a database that is gone when it closes.
        format!("{}/app.db", folder.path().display()),
        "postgres:app".to_owned(),
        String::new(),
        "sqlite:".to_owned(),
        "sqlite://?cache=shared".to_owned(),
    ] {
        let error = SqliteTokenStore::open(&url).await.unwrap_err().to_string();
        assert!(error.starts_with("the store"), "{error}");
    }
    assert!(SqliteTokenStore::open("sqlite://?mode=memory").await.is_ok());
}

#[tokio::test]
async fn concurrent_open_of_new_file_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let url = format!("sqlite:{}/{round}.db", folder.path().display());
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let url = url.clone();
            opening.spawn(async move { SqliteTokenStore::open(&url).await });
        }
        for opened in opening.join_all().await {
            opened.unwrap();
        }
    }
}
