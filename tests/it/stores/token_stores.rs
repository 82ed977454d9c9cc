//! The in-memory and SQLite token stores, with the same conformance test.

use tower_activeconnect::store::StoreErrorKind;
use tower_activeconnect::{MemoryTokenStore, TokenStore, UserId, UserToken};
use tower_activeconnect_sqlx::SqliteTokenStore;

fn token() -> UserToken {
    UserToken::random().unwrap()
}

/// Asserts what every store must do, for users who have rows.
async fn assert_conforms(store: &impl TokenStore, [alice, bob]: [UserId; 2]) {
    let (first, second, third) = (token(), token(), token());
    assert_eq!(store.token(&alice).await.unwrap(), None);
    assert_eq!(store.remove(&alice).await.unwrap(), None);
    assert_eq!(store.assign(&alice, &first).await.unwrap(), first);
    assert_eq!(store.assign(&alice, &second).await.unwrap(), first, "the first writer wins");
    assert_eq!(store.assign(&bob, &third).await.unwrap(), third);
    assert_eq!(store.token(&alice).await.unwrap(), Some(first.clone()));
    assert_eq!(store.remove(&alice).await.unwrap(), Some(first));
    assert_eq!(store.token(&alice).await.unwrap(), None);
    assert_eq!(store.token(&bob).await.unwrap(), Some(third));
    assert_eq!(store.assign(&alice, &second).await.unwrap(), second);
    assert_eq!(store.browser_epoch(&alice).await.unwrap(), None);
    for (epoch, stored) in [(7, 7), (1_800_000_000_000, 1_800_000_000_000), (9, 1_800_000_000_000)]
    {
        store.set_browser_epoch(&alice, epoch).await.unwrap();
        assert_eq!(store.browser_epoch(&alice).await.unwrap(), Some(stored), "the highest");
    }
    store.remove(&alice).await.unwrap();
    assert_eq!(store.browser_epoch(&alice).await.unwrap(), Some(1_800_000_000_000), "it outlives");
    assert_eq!(store.browser_epoch(&bob).await.unwrap(), None);
    assert_eq!(store.assign(&alice, &second).await.unwrap(), second);
    let racers = (0..20).map(|_| async { store.assign(&bob, &token()).await.unwrap() });
    let bobs = store.token(&bob).await.unwrap().unwrap();
    for winner in join_all(racers).await {
        assert_eq!(winner, bobs);
    }
}

async fn join_all<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut done = Vec::new();
    for one in all {
        done.push(one.await);
    }
    done
}

async fn with_users(store: &SqliteTokenStore, create: &'static str, insert: &'static str) {
    for sql in [create, insert] {
        sqlx::query(sql).execute(store.pool()).await.unwrap();
    }
}

#[tokio::test]
async fn memory_conforms() {
    assert_conforms(&MemoryTokenStore::new(), ["alice".into(), "bob".into()]).await;
}

#[tokio::test]
async fn sqlite_conforms_and_persists() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("app.db").display());
    let store = SqliteTokenStore::open(&url).await.unwrap();
    with_users(
        &store,
        "CREATE TABLE users (id TEXT PRIMARY KEY)",
        "INSERT INTO users VALUES ('alice'), ('bob')",
    )
    .await;
    assert_conforms(&store, ["alice".into(), "bob".into()]).await;

    let unknown = store.assign(&"carol".into(), &token()).await.unwrap_err();
    assert_eq!(unknown.kind(), StoreErrorKind::NoSuchUser);
    assert_eq!(store.token(&"carol".into()).await.unwrap(), None);

    store.set_browser_epoch(&"carol".into(), 7).await.unwrap();
    assert_eq!(store.browser_epoch(&"carol".into()).await.unwrap(), None);

    let stored = store.token(&"alice".into()).await.unwrap();
    let epoch = store.browser_epoch(&"alice".into()).await.unwrap();
    store.pool().close().await;
    let store = SqliteTokenStore::open(&url).await.unwrap();
    assert_eq!(store.token(&"alice".into()).await.unwrap(), stored);
    assert_eq!(store.browser_epoch(&"alice".into()).await.unwrap(), epoch);
    assert!(epoch.is_some());

    sqlx::query("DELETE FROM users WHERE id = 'alice'").execute(store.pool()).await.unwrap();
    assert_eq!(store.token(&"alice".into()).await.unwrap(), None, "the row takes its token along");
    assert_eq!(store.browser_epoch(&"alice".into()).await.unwrap(), None, "and its epoch");
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

#[tokio::test]
async fn sqlite_with_other_names_and_integer_ids_conforms() {
    let options = SqliteTokenStore::options()
        .users_table("user")
        .users_id_column("uid")
        .token_table("phones");
    let store = options.integer_user_ids().open("sqlite::memory:").await.unwrap();
    with_users(
        &store,
        "CREATE TABLE user (uid INTEGER PRIMARY KEY, name TEXT)",
        "INSERT INTO user VALUES (1, 'alice'), (-2, 'bob')",
    )
    .await;
    assert_conforms(&store, ["1".into(), "-2".into()]).await;
    for unknown in ["01", "+1", "1 ", "one", "", "99999999999999999999"] {
        assert_eq!(store.token(&unknown.into()).await.unwrap(), None);
        let error = store.assign(&unknown.into(), &token()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::NoSuchUser, "{unknown:?}");
        store.set_browser_epoch(&unknown.into(), 7).await.unwrap();
        assert_eq!(store.browser_epoch(&unknown.into()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn unopenable_database_is_a_clear_error() {
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
    for name in ["", "a b", "a\"b", "t;--"] {
        assert!(
            SqliteTokenStore::options().token_table(name).open("sqlite::memory:").await.is_err()
        );
    }
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
