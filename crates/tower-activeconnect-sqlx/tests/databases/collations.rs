//! Ids that a collation takes for one are several users.

use sqlx::{MySql, Postgres, Sqlite};
use tower_activeconnect::store::StoreErrorKind;
use tower_activeconnect::{TokenStore as _, UserId};
use tower_activeconnect_sqlx::SqlTokenStore;

use crate::support::{TestBackend, on_each_database, token};

/// The users table has one row, whatever the spelling: the other spellings are not that user.
async fn other_spelling_is_no_such_user<B: TestBackend>() {
    let database = B::create_database().await;
    let pool = database.pool::<B>().await;
    let id_type = B::LAX_TEXT;
    B::run(&pool, B::LAX_COLLATION).await;
    B::run(&pool, &format!("CREATE TABLE users (id {id_type} NOT NULL PRIMARY KEY)")).await;
    B::run(&pool, "INSERT INTO users (id) VALUES ('alice')").await;
    let store = SqlTokenStore::<B>::from_pool(pool).await.unwrap();
    let (alice, first) = (UserId::from("alice"), token());
    // Before alice has a token, and after it.
    for _ in 0..2 {
        for spelling in ["Alice", "ALICE", "álice", "alice ", " alice"] {
            let other = UserId::from(spelling);
            assert_eq!(store.token(&other).await.unwrap(), None, "{spelling:?}");
            let error = store.assign(&other, &token()).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::NoSuchUser, "{spelling:?}: {error:?}");
            assert_eq!(store.remove(&other).await.unwrap(), None, "{spelling:?}");
            store.set_browser_epoch(&other, 9).await.unwrap();
            assert_eq!(store.browser_epoch(&other).await.unwrap(), None, "{spelling:?}");
        }
        assert_eq!(store.assign(&alice, &first).await.unwrap(), first);
        assert_eq!(store.browser_epoch(&alice).await.unwrap(), None);
    }
    assert_eq!(store.token(&alice).await.unwrap(), Some(first));
}

/// The users table has a row for each spelling.
async fn each_spelling_has_its_token<B: TestBackend>() {
    let ids = ["alice", "Alice", "álice", "alice ", " alice", "ali ce", "straße", "strasse"];
    let database = B::create_database().await;
    let pool = database.pool::<B>().await;
    let id_type = B::ID_TYPES[0];
    B::run(&pool, &format!("CREATE TABLE users (id {id_type} NOT NULL PRIMARY KEY)")).await;
    for id in ids {
        B::run(&pool, &format!("INSERT INTO users (id) VALUES ('{id}')")).await;
    }
    let store = SqlTokenStore::<B>::from_pool(pool).await.unwrap();
    let tokens = ids.map(|_| token());
    for (epoch, (id, token)) in (1..).zip(ids.iter().zip(&tokens)) {
        assert_eq!(store.assign(&(*id).into(), token).await.unwrap(), *token, "{id:?}");
        store.set_browser_epoch(&(*id).into(), epoch).await.unwrap();
    }
    for (epoch, (id, token)) in (1..).zip(ids.iter().zip(&tokens)) {
        assert_eq!(store.token(&(*id).into()).await.unwrap().as_ref(), Some(token), "{id:?}");
        assert_eq!(store.browser_epoch(&(*id).into()).await.unwrap(), Some(epoch), "{id:?}");
        assert_eq!(store.remove(&(*id).into()).await.unwrap().as_ref(), Some(token), "{id:?}");
    }
}

on_each_database!(other_spelling_is_no_such_user, each_spelling_has_its_token);
