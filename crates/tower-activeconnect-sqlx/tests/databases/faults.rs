//! Faults of servers: each has a clear error, and the store works again afterwards.

use std::time::{Duration, Instant};

use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySql, Pool, Postgres, Sqlite};
use tokio::task::JoinSet;
use tower_activeconnect::store::{StoreError, StoreErrorKind};
use tower_activeconnect::{TokenStore as _, UserId};
use tower_activeconnect_sqlx::{MySqlTokenStore, PgTokenStore, SqlTokenStore, SqliteTokenStore};

use crate::support::{
    Proxy, TestBackend, address_of, messages, mysql_url, password_of, postgres_url, random_name,
    token, wait_until, with_address, with_user,
};

/// The promised bound of a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);
/// What scheduling may add to it.
const SLACK: Duration = Duration::from_secs(2);

fn assert_error(error: &StoreError, kind: StoreErrorKind, part: &str) {
    let text = messages(error);
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.contains(part), "{text}");
}

/// The databases with a server.
trait ServerBackend: TestBackend {
    /// A statement that makes reads of the token table wait, while its transaction is open.
    const LOCK: &'static str;
    const UNLOCK: &'static str;
    /// The number of statements that the server runs on the token table for other connections.
    const RUNNING: &'static str;

    fn url_of_database(name: &str) -> String;

    /// Ends the other connections that run a statement.
    async fn kill_running(pool: &Pool<Self>);
}

impl ServerBackend for Postgres {
    const LOCK: &'static str = "BEGIN; LOCK TABLE activeconnect_token";
    const UNLOCK: &'static str = "ROLLBACK";
    const RUNNING: &'static str = "SELECT COUNT(*) FROM pg_stat_activity WHERE state = 'active' \
        AND datname = current_database() AND pid <> pg_backend_pid()";

    fn url_of_database(name: &str) -> String {
        postgres_url(name)
    }

    async fn kill_running(pool: &Pool<Self>) {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE state = 'active' AND datname = current_database() \
                   AND pid <> pg_backend_pid()";
        Self::run(pool, sql).await;
    }
}

impl ServerBackend for MySql {
    const LOCK: &'static str = "LOCK TABLES activeconnect_token WRITE";
    const UNLOCK: &'static str = "UNLOCK TABLES";
    const RUNNING: &'static str = "SELECT COUNT(*) FROM information_schema.processlist \
        WHERE db = DATABASE() AND command <> 'Sleep' AND id <> CONNECTION_ID()";

    fn url_of_database(name: &str) -> String {
        mysql_url(name)
    }

    async fn kill_running(pool: &Pool<Self>) {
        let sql = "SELECT GROUP_CONCAT(id) FROM information_schema.processlist \
                   WHERE db = DATABASE() AND command <> 'Sleep' AND id <> CONNECTION_ID()";
        let ids: Option<String> = sqlx::query_scalar(sql).fetch_one(pool).await.unwrap();
        for id in ids.unwrap_or_default().split(',') {
            sqlx::raw_sql(AssertSqlSafe(format!("KILL {id}"))).execute(pool).await.ok();
        }
    }
}

async fn server_down_at_start_is_explained<B: ServerBackend>() {
    let url = B::url_of_database("app");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = with_address(&url, listener.local_addr().unwrap());
    drop(listener);
    let error = SqlTokenStore::<B>::connect(&url).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Unavailable, "cannot be opened");
    assert_error(&error, StoreErrorKind::Unavailable, "refused");
    assert!(!messages(&error).contains(password_of(&url)), "an error shows a password");
}

async fn server_that_returns_is_used_again<B: ServerBackend>() {
    let database = B::create_database().await;
    let direct = database.open::<B>().await;
    let (alice, first) = (UserId::from("alice"), token());
    direct.assign(&alice, &first).await.unwrap();
    let mut proxy = Proxy::start(address_of(&database.url)).await;
    let url = with_address(&database.url, proxy.address);
    let store = SqlTokenStore::<B>::connect(&url).await.unwrap();
    assert_eq!(store.token(&alice).await.unwrap().as_ref(), Some(&first));
    proxy.stop().await;
    let begun = Instant::now();
    let error = store.token(&alice).await.unwrap_err();
    assert!(begun.elapsed() < CALL_TIMEOUT + SLACK, "{:?}", begun.elapsed());
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{}", messages(&error));
    proxy.restart().await;
    assert_eq!(store.token(&alice).await.unwrap(), Some(first));
}

/// A server that falls silent in the midst of statements, and keeps its connections: calls end in
/// time, and the next ones use new connections.
async fn silent_server_exceeds_no_deadline<B: ServerBackend>() {
    // As many as the pool has connections.
    const CALLS: usize = 5;
    let database = B::create_database().await;
    drop(database.open::<B>().await);
    let proxy = Proxy::start(address_of(&database.url)).await;
    let url = with_address(&database.url, proxy.address);
    let store = SqlTokenStore::<B>::connect(&url).await.unwrap();
    let (admin, blocker) = (database.pool_of_one::<B>().await, database.pool_of_one::<B>().await);
    B::run(&blocker, B::LOCK).await;
    let begun = Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let store = store.clone();
        calls.spawn(async move { store.token(&"alice".into()).await.unwrap_err().kind() });
    }
    wait_until(async || B::count(&admin, B::RUNNING).await >= CALLS.try_into().unwrap()).await;
    proxy.silence_all();
    for kind in calls.join_all().await {
        assert_eq!(kind, StoreErrorKind::Unavailable);
    }
    assert!(begun.elapsed() < CALL_TIMEOUT + SLACK, "{:?}", begun.elapsed());
    B::run(&blocker, B::UNLOCK).await;
    // The connections of these calls stay silent. The pool must not keep them.
    proxy.silence_open_connections();
    wait_until(async || store.token(&"alice".into()).await.is_ok()).await;
}

async fn rejected_login_is_explained<B: ServerBackend>() {
    let database = B::create_database().await;
    let right = database.url.as_str();
    let wrong = with_user(right, "postgres", "wrong-password");
    let wrong = if B::NAME == "MySQL" { wrong.replace("postgres", "test") } else { wrong };
    let error = SqlTokenStore::<B>::connect(&wrong).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Other, "rejected the user");
    assert!(!messages(&error).contains("wrong-password"), "an error shows a password");
}

async fn missing_database_is_explained<B: ServerBackend>() {
    let url = B::url_of_database("no_such_database");
    let error = SqlTokenStore::<B>::connect(&url).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Other, "create it or correct the URL");
    assert_error(&error, StoreErrorKind::Other, "no_such_database");
}

async fn pool_without_free_connection_meets_the_deadline<B: TestBackend>() {
    let database = B::create_database().await;
    drop(database.open::<B>().await);
    // The application's own pool: it would wait for a minute.
    let pool = sqlx::pool::PoolOptions::<B>::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(60))
        .connect(&database.url)
        .await
        .unwrap();
    let store = SqlTokenStore::<B>::from_pool(pool.clone()).await.unwrap();
    let held = pool.acquire().await.unwrap();
    let begun = Instant::now();
    let error = store.token(&"alice".into()).await.unwrap_err();
    let elapsed = begun.elapsed();
    assert!(elapsed >= CALL_TIMEOUT && elapsed < CALL_TIMEOUT + SLACK, "{elapsed:?}");
    assert_error(&error, StoreErrorKind::Unavailable, "did not respond in time");
    drop(held);
    assert_eq!(store.token(&"alice".into()).await.unwrap(), None);
}

async fn slow_statement_ends_on_the_server<B: ServerBackend>() {
    let database = B::create_database().await;
    let store = database.open::<B>().await;
    let pool = database.pool::<B>().await;
    let blocker = database.pool_of_one::<B>().await;
    B::run(&blocker, B::LOCK).await;
    let begun = Instant::now();
    let error = store.token(&"alice".into()).await.unwrap_err();
    assert!(begun.elapsed() < CALL_TIMEOUT + SLACK, "{:?}", begun.elapsed());
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{}", messages(&error));
    // The server gives up, too: statements do not pile up behind a lock.
    wait_until(async || B::count(&pool, B::RUNNING).await == 0).await;
    B::run(&blocker, B::UNLOCK).await;
    assert_eq!(store.token(&"alice".into()).await.unwrap(), None);
}

async fn killed_connection_is_replaced<B: ServerBackend>() {
    let database = B::create_database().await;
    let store = database.open::<B>().await;
    let admin = database.pool_of_one::<B>().await;
    let blocker = database.pool_of_one::<B>().await;
    B::run(&blocker, B::LOCK).await;
    let (alice, first) = (UserId::from("alice"), token());
    let call = tokio::spawn({
        let (store, alice, first) = (store.clone(), alice.clone(), first.clone());
        async move { store.assign(&alice, &first).await }
    });
    wait_until(async || B::count(&admin, B::RUNNING).await > 0).await;
    B::kill_running(&admin).await;
    let error = call.await.unwrap().unwrap_err();
    B::run(&blocker, B::UNLOCK).await;
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{}", messages(&error));
    assert_eq!(store.assign(&alice, &first).await.unwrap(), first);
    assert_eq!(store.token(&alice).await.unwrap(), Some(first));
}

async fn dropped_table_is_explained<B: TestBackend>() {
    let database = B::create_database().await;
    let store = database.open::<B>().await;
    B::run(store.pool(), "DROP TABLE activeconnect_token").await;
    let error = store.token(&"alice".into()).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Other, "run its migrations");
}

macro_rules! on_each_server {
    ($($test:ident),+ $(,)?) => {
        mod postgres {
            $(#[tokio::test] async fn $test() { super::$test::<super::Postgres>().await })+
        }
        mod mysql {
            $(#[tokio::test] async fn $test() { super::$test::<super::MySql>().await })+
        }
    };
}

on_each_server!(
    server_down_at_start_is_explained,
    server_that_returns_is_used_again,
    silent_server_exceeds_no_deadline,
    rejected_login_is_explained,
    missing_database_is_explained,
    pool_without_free_connection_meets_the_deadline,
    slow_statement_ends_on_the_server,
    killed_connection_is_replaced,
    dropped_table_is_explained,
);

/// A limit that the URL sets stays.
#[tokio::test]
async fn postgres_statement_timeout_of_the_url_stays() {
    let database = Postgres::create_database().await;
    drop(database.open::<Postgres>().await);
    let url = format!("{}?options=-c%20statement_timeout%3D700", database.url);
    let store = PgTokenStore::connect(&url).await.unwrap();
    let timeout = "SELECT setting::bigint FROM pg_settings WHERE name = 'statement_timeout'";
    assert_eq!(Postgres::count(store.pool(), timeout).await, 700);
}

/// Without strict mode, MySQL would cut an id to that of another user.
#[tokio::test]
async fn mysql_pool_without_strict_mode_is_rejected() {
    let database = MySql::create_database().await;
    let store = database.open::<MySql>().await;
    let long = format!("alice{}", " ".repeat(200));
    assert_eq!(store.token(&long.as_str().into()).await.unwrap(), None);
    for long in [long, "alice".repeat(50)] {
        let error = store.assign(&long.as_str().into(), &token()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::NoSuchUser, "{error:?}");
    }
    let pool = sqlx::pool::PoolOptions::<MySql>::new().after_connect(|connection, _| {
        Box::pin(async move { connection.execute("SET sql_mode = ''").await.map(drop) })
    });
    let pool = pool.connect(&database.url).await.unwrap();
    let error = MySqlTokenStore::from_pool(pool).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Other, "add STRICT_ALL_TABLES");
}

#[tokio::test]
async fn sqlite_pool_without_free_connection_meets_the_deadline() {
    pool_without_free_connection_meets_the_deadline::<Sqlite>().await;
}

#[tokio::test]
async fn sqlite_dropped_table_is_explained() {
    dropped_table_is_explained::<Sqlite>().await;
}

/// SQLite reports the lock of another connection, also on a connection that was opened before the
/// tables were there.
#[tokio::test]
async fn sqlite_lock_of_another_connection_is_explained() {
    let database = Sqlite::create_database().await;
    let store = database.open::<Sqlite>().await;
    let blocker = database.pool_of_one::<Sqlite>().await;
    Sqlite::run(&blocker, "BEGIN EXCLUSIVE").await;
    let error = store.assign(&"alice".into(), &token()).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Unavailable, "another transaction was in the way");
    Sqlite::run(&blocker, "ROLLBACK").await;
    store.assign(&"alice".into(), &token()).await.unwrap();
}

async fn check_read_only<B: TestBackend>(
    store: &SqlTokenStore<B>,
    first: &tower_activeconnect::UserToken,
) {
    // Reads work, and writes say why they do not.
    assert_eq!(store.token(&"alice".into()).await.unwrap().as_ref(), Some(first));
    let error = store.assign(&"bob".into(), &token()).await.unwrap_err();
    assert_error(&error, StoreErrorKind::ReadOnly, "read");
    let error = store.remove(&"alice".into()).await.unwrap_err();
    assert_error(&error, StoreErrorKind::ReadOnly, "read");
    assert_eq!(store.token(&"alice".into()).await.unwrap().as_ref(), Some(first));
}

#[tokio::test]
async fn postgres_read_only_server_is_explained() {
    let database = Postgres::create_database().await;
    let (store, first) = (database.open::<Postgres>().await, token());
    store.assign(&"alice".into(), &first).await.unwrap();
    let (_, name) = database.url.rsplit_once('/').unwrap();
    let mut admin = PgConnection::connect(&postgres_url("postgres")).await.unwrap();
    let sql = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    admin.execute(AssertSqlSafe(sql)).await.unwrap();
    // A migrated database can be opened.
    let store = PgTokenStore::connect(&database.url).await.unwrap();
    check_read_only(&store, &first).await;
    // One that is not cannot.
    let error =
        PgTokenStore::options().token_table("new").connect(&database.url).await.unwrap_err();
    assert_error(&error, StoreErrorKind::ReadOnly, "read-only");
}

#[tokio::test]
async fn mysql_read_only_server_is_explained() {
    let database = MySql::create_database().await;
    let (owner, first) = (database.open::<MySql>().await, token());
    owner.assign(&"alice".into(), &first).await.unwrap();
    let user = random_name("reader");
    let role = format!("'{user}'@'127.0.0.1'");
    let (_, name) = database.url.rsplit_once('/').unwrap();
    MySql::run(owner.pool(), &format!("CREATE USER {role} IDENTIFIED BY 'secret'")).await;
    MySql::run(owner.pool(), &format!("GRANT ALL ON {name}.* TO {role}")).await;
    let url = with_user(&database.url, &user, "secret");
    let store = MySqlTokenStore::connect(&url).await.unwrap();
    // For the whole server, but not for the users of the other tests: they may write all the same.
    let mut admin = MySqlConnection::connect(&mysql_url("mysql")).await.unwrap();
    admin.execute("SET GLOBAL read_only = ON").await.unwrap();
    check_read_only(&store, &first).await;
    let error = MySqlTokenStore::options().token_table("new").connect(&url).await.unwrap_err();
    assert_error(&error, StoreErrorKind::ReadOnly, "read-only");
    admin.execute("SET GLOBAL read_only = OFF").await.unwrap();
    store.assign(&"bob".into(), &token()).await.unwrap();
}

#[tokio::test]
async fn sqlite_read_only_file_is_explained() {
    let database = Sqlite::create_database().await;
    let (store, first) = (database.open::<Sqlite>().await, token());
    store.assign(&"alice".into(), &first).await.unwrap();
    let url = database.url.replace("mode=rwc", "mode=ro");
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let store = SqliteTokenStore::from_pool(pool).await.unwrap();
    check_read_only(&store, &first).await;
}

#[tokio::test]
async fn unusable_url_is_explained() {
    let secret = "postgres-password";
    for (url, part) in [
        ("", "sqlite:PATH"),
        ("sqlite:", "sqlite:PATH"),
        ("app.db", "sqlite:PATH"),
        ("sqlite:/no/such/folder/app.db", "cannot be opened"),
    ] {
        let error = SqliteTokenStore::open(url).await.unwrap_err();
        assert!(messages(&error).contains(part), "{url}: {}", messages(&error));
    }
    for url in [format!("mysql://u:{secret}@host/db"), format!("postgres://u:{secret}@host:x/db")] {
        let error = PgTokenStore::connect(&url).await.unwrap_err();
        assert!(!messages(&error).contains(secret), "{}", messages(&error));
    }
}
