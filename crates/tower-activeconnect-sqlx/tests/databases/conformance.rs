//! The public rules of token stores, on every database and every type of ids.

use sqlx::{MySql, Postgres, Sqlite};
use tower_activeconnect::UserId;
use tower_activeconnect::store::conformance;
use tower_activeconnect::{TokenStore as _, store::StoreErrorKind};
use tower_activeconnect_sqlx::{SqlTokenStore, UserIdType};

use crate::support::{ALICE_UUID, BOB_UUID, TestBackend, on_each_database, token};

async fn every_id_type_conforms<B: TestBackend>() {
    let text = (UserIdType::Text, ["alice", "bob"], "carol");
    let integer = (UserIdType::Integer, ["1", "-2"], "3");
    let missing = "00000000-0000-4000-8000-000000000000";
    let uuid = (UserIdType::Uuid, [ALICE_UUID, BOB_UUID], missing);
    for ((id_type, ids, missing), column_type) in [text, integer, uuid].into_iter().zip(B::ID_TYPES)
    {
        let database = B::create_database().await;
        let pool = database.pool::<B>().await;
        B::run(&pool, &format!("CREATE TABLE users (id {column_type} NOT NULL PRIMARY KEY)")).await;
        for id in ids {
            let literal = match id_type {
                UserIdType::Uuid => B::uuid_literal(id),
                _ => format!("'{id}'"),
            };
            B::run(&pool, &format!("INSERT INTO users (id) VALUES ({literal})")).await;
        }
        let store = SqlTokenStore::<B>::options().user_id_type(id_type).from_pool(pool);
        let store = store.await.unwrap();
        let [alice, bob] = ids.map(UserId::from);
        conformance::check_all(&store, &[alice.clone(), bob]).await;
        conformance::missing_user_is_reported(&store, &missing.into()).await;
        conformance::similar_ids_are_other_users(&store, &alice).await;
        // An epoch of a user without a row is not kept, and no error.
        store.set_browser_epoch(&missing.into(), 7).await.unwrap();
        assert_eq!(store.browser_epoch(&missing.into()).await.unwrap(), None);
        for never in ["", "01", "1 ", "\u{0}", "alice\u{0}", "not-a-uuid"] {
            assert_eq!(store.token(&never.into()).await.unwrap(), None, "{never:?}");
            let error = store.assign(&never.into(), &token()).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::NoSuchUser, "{never:?}: {error:?}");
        }
    }
}

async fn deleted_users_row_deletes_token_and_epoch<B: TestBackend>() {
    let database = B::create_database().await;
    let store = database.open::<B>().await;
    let alice = UserId::from("alice");
    store.assign(&alice, &token()).await.unwrap();
    store.set_browser_epoch(&alice, 7).await.unwrap();
    B::run(store.pool(), "DELETE FROM users WHERE id = 'alice'").await;
    assert_eq!(store.token(&alice).await.unwrap(), None);
    assert_eq!(store.browser_epoch(&alice).await.unwrap(), None);
}

async fn reserved_words_are_names<B: TestBackend>() {
    let database = B::create_database().await;
    let pool = database.pool::<B>().await;
    let quote = if B::NAME == "MySQL" { "`" } else { "\"" };
    let id_type = B::ID_TYPES[0];
    let user = format!("{quote}user{quote}");
    let create =
        format!("CREATE TABLE {user} ({quote}order{quote} {id_type} NOT NULL PRIMARY KEY)");
    B::run(&pool, &create).await;
    B::run(&pool, &format!("INSERT INTO {user} VALUES ('alice'), ('bob')")).await;
    let options = SqlTokenStore::<B>::options();
    let options = options.users_table("user").users_id_column("order").token_table("group");
    let store = options.connect(&database.url).await.unwrap();
    conformance::check_all(&store, &["alice".into(), "bob".into()]).await;
    conformance::missing_user_is_reported(&store, &"carol".into()).await;
}

async fn two_stores_share_a_database<B: TestBackend>() {
    let database = B::create_database().await;
    let first = database.open::<B>().await;
    let options = SqlTokenStore::<B>::options().token_table("other_token");
    let second = options.connect(&database.url).await.unwrap();
    let (alice, other) = (UserId::from("alice"), token());
    first.assign(&alice, &token()).await.unwrap();
    assert_eq!(second.token(&alice).await.unwrap(), None);
    assert_eq!(second.assign(&alice, &other).await.unwrap(), other);
}

async fn token_of_another_user_is_rejected<B: TestBackend>() {
    let database = B::create_database().await;
    let store = database.open::<B>().await;
    let taken = token();
    store.assign(&"alice".into(), &taken).await.unwrap();
    let error = store.assign(&"bob".into(), &taken).await.unwrap_err();
    let text = format!("{error:?}");
    assert!(!text.contains(taken.as_str()), "an error shows a token: {text}");
    assert_eq!(store.token(&"bob".into()).await.unwrap(), None);
}

on_each_database!(
    every_id_type_conforms,
    deleted_users_row_deletes_token_and_epoch,
    reserved_words_are_names,
    two_stores_share_a_database,
    token_of_another_user_is_rejected,
);

#[tokio::test]
async fn postgres_schema_holds_all_tables() {
    let database = Postgres::create_database().await;
    let pool = database.pool::<Postgres>().await;
    Postgres::run(&pool, "CREATE SCHEMA \"select\"").await;
    Postgres::run(&pool, "CREATE TABLE \"select\".users (id TEXT PRIMARY KEY)").await;
    Postgres::run(&pool, "INSERT INTO \"select\".users VALUES ('alice'), ('bob')").await;
    let options = SqlTokenStore::<Postgres>::options().schema("select");
    let store = options.connect(&database.url).await.unwrap();
    conformance::check_all(&store, &["alice".into(), "bob".into()]).await;
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'select'";
    assert_eq!(Postgres::count(&pool, tables).await, 4);
}

#[tokio::test]
async fn names_that_no_table_has_are_rejected() {
    let long = "n".repeat(64);
    for name in ["", "users\"; DROP TABLE users; --", "a`b", "a.b", "a b", "a'b", "a\\b", &long] {
        let options = || SqlTokenStore::<Sqlite>::options();
        for options in [
            options().users_table(name),
            options().users_id_column(name),
            options().token_table(name),
        ] {
            let error = options.connect("sqlite::memory:").await.unwrap_err();
            assert!(format!("{error:?}").contains("name"), "{error:?}");
        }
    }
    let token_table = "t".repeat(41);
    let options = SqlTokenStore::<Sqlite>::options().token_table(token_table);
    let error = options.connect("sqlite::memory:").await.unwrap_err();
    assert!(format!("{error:?}").contains("at most 40 bytes"), "{error:?}");
}
