//! The types that a users id has in MySQL and MariaDB: a foreign key has to repeat them.

use sqlx::MySql;
use tower_activeconnect::store::{StoreErrorKind, conformance};
use tower_activeconnect::{TokenStore as _, UserId};
use tower_activeconnect_sqlx::{MySqlTokenStore, UserIdType};

use crate::support::{ALICE_UUID, BOB_UUID, TestBackend, messages};

async fn check(column_type: &str, id_type: UserIdType, ids: [&str; 2]) {
    let database = MySql::create_database().await;
    let pool = database.pool::<MySql>().await;
    let create = format!("CREATE TABLE users (id {column_type} NOT NULL PRIMARY KEY)");
    MySql::run(&pool, &create).await;
    for id in ids {
        MySql::run(&pool, &format!("INSERT INTO users (id) VALUES ('{id}')")).await;
    }
    let store = MySqlTokenStore::options().user_id_type(id_type).from_pool(pool).await.unwrap();
    conformance::check_all(&store, &ids.map(UserId::from)).await;
}

#[tokio::test]
async fn every_integer_type_conforms() {
    let signed = ["TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT"];
    for column_type in signed {
        check(column_type, UserIdType::Integer, ["1", "-2"]).await;
    }
    for column_type in ["INT UNSIGNED", "BIGINT UNSIGNED"] {
        check(column_type, UserIdType::Integer, ["1", "2"]).await;
    }
}

#[tokio::test]
async fn every_text_type_conforms() {
    for column_type in [
        "VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        "VARCHAR(64) CHARACTER SET latin1 COLLATE latin1_swedish_ci",
        "VARCHAR(64) CHARACTER SET ascii",
        "CHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "VARBINARY(64)",
    ] {
        check(column_type, UserIdType::Text, ["alice", "bob"]).await;
    }
}

#[tokio::test]
async fn every_uuid_type_conforms() {
    for column_type in ["UUID", "CHAR(36)", "VARCHAR(36) CHARACTER SET ascii COLLATE ascii_bin"] {
        check(column_type, UserIdType::Uuid, [ALICE_UUID, BOB_UUID]).await;
    }
}

/// An id that the column cannot have is no error of the server.
#[tokio::test]
async fn impossible_id_is_no_such_user() {
    let uuid = "01234567-89ab-cdef-0123-456789abcdef";
    for (column_type, id_type, id) in [
        ("TINYINT", UserIdType::Integer, "4711"),
        ("INT UNSIGNED", UserIdType::Integer, "-1"),
        ("VARCHAR(8)", UserIdType::Text, "alice-and-bob"),
        ("VARCHAR(8) CHARACTER SET latin1", UserIdType::Text, "日本"),
        ("UUID", UserIdType::Uuid, uuid),
    ] {
        let database = MySql::create_database().await;
        let pool = database.pool::<MySql>().await;
        let create = format!("CREATE TABLE users (id {column_type} NOT NULL PRIMARY KEY)");
        MySql::run(&pool, &create).await;
        let store = MySqlTokenStore::options().user_id_type(id_type).from_pool(pool).await.unwrap();
        conformance::missing_user_is_reported(&store, &id.into()).await;
        store.set_browser_epoch(&id.into(), 7).await.unwrap();
        assert_eq!(store.remove(&id.into()).await.unwrap(), None, "{id}");
    }
}

#[tokio::test]
async fn other_id_type_is_explained() {
    for (column_type, id_type) in [
        ("VARCHAR(64)", UserIdType::Integer),
        ("INT", UserIdType::Text),
        ("BINARY(16)", UserIdType::Text),
        ("INT", UserIdType::Uuid),
    ] {
        let database = MySql::create_database().await;
        let pool = database.pool::<MySql>().await;
        MySql::run(&pool, &format!("CREATE TABLE users (id {column_type} PRIMARY KEY)")).await;
        let options = MySqlTokenStore::options().user_id_type(id_type);
        let error = options.from_pool(pool).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Other);
        let text = messages(&error);
        assert!(text.contains("set the type of the ids in the options"), "{text}");
    }
}
