//! A database of its own for each test.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::mysql::{MySql, MySqlConnection};
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::sqlite::Sqlite;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Pool};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tower_activeconnect::UserToken;
use tower_activeconnect::store::StoreError;
use tower_activeconnect_sqlx::{Backend, SqlTokenStore};

/// How the tests use each database.
pub(crate) trait TestBackend: Backend {
    /// The types of the users' ids as text with exact comparison, as integer and as UUID.
    const ID_TYPES: [&'static str; 3];
    /// A text type that takes several spellings for one, as far as the database has one.
    const LAX_TEXT: &'static str;
    /// What creates its collation.
    const LAX_COLLATION: &'static str = "SELECT 1";

    /// Creates an empty database.
    async fn create_database() -> TestDatabase;

    /// Runs statements.
    async fn run(pool: &Pool<Self>, sql: &str);

    /// The value of the first column of the first row.
    async fn count(pool: &Pool<Self>, sql: &str) -> i64;

    /// The SQL literal of a UUID.
    fn uuid_literal(uuid: &str) -> String;
}

/// A database, which a test has for itself.
pub(crate) struct TestDatabase {
    pub(crate) url: String,
    /// SQLite's file goes with it.
    _folder: Option<tempfile::TempDir>,
}

pub(crate) const ALICE_UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";
pub(crate) const BOB_UUID: &str = "00000000-0000-4000-8000-00000000b0b0";

impl TestDatabase {
    /// Creates `users(id)` with alice and bob, and opens the store with text ids.
    pub(crate) async fn open<B: TestBackend>(&self) -> SqlTokenStore<B> {
        let pool = self.pool::<B>().await;
        let id_type = B::ID_TYPES[0];
        B::run(&pool, &format!("CREATE TABLE users (id {id_type} NOT NULL PRIMARY KEY)")).await;
        B::run(&pool, "INSERT INTO users (id) VALUES ('alice'), ('bob')").await;
        pool.close().await;
        SqlTokenStore::connect(&self.url).await.unwrap()
    }

    /// A pool whose statements all run on one connection.
    pub(crate) async fn pool_of_one<B: TestBackend>(&self) -> Pool<B> {
        sqlx::pool::PoolOptions::new().max_connections(1).connect(&self.url).await.unwrap()
    }

    pub(crate) async fn pool<B: TestBackend>(&self) -> Pool<B> {
        sqlx::pool::PoolOptions::new().max_connections(4).connect(&self.url).await.unwrap()
    }
}

pub(crate) fn random_name(prefix: &str) -> String {
    let token = UserToken::random().unwrap();
    format!("{prefix}_{}", &token.as_str().to_lowercase()[..16])
}

pub(crate) fn token() -> UserToken {
    UserToken::random().unwrap()
}

fn server_url(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set; run scripts/databases cargo test …, or set it to a server")
    })
}

/// The URL of the server of PostgreSQL with another database.
pub(crate) fn postgres_url(database: &str) -> String {
    let url = server_url("TEST_POSTGRES_URL");
    let (server, _) = url.rsplit_once('/').unwrap();
    format!("{server}/{database}")
}

/// The URL of the server of MySQL or MariaDB with another database.
pub(crate) fn mysql_url(database: &str) -> String {
    let url = server_url("TEST_MYSQL_URL");
    let (server, _) = url.rsplit_once('/').unwrap();
    format!("{server}/{database}")
}

/// The URL with other credentials.
pub(crate) fn with_user(url: &str, user: &str, password: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (_, host) = rest.rsplit_once('@').unwrap();
    format!("{scheme}://{user}:{password}@{host}")
}

/// The URL with another host and port.
pub(crate) fn with_address(url: &str, address: SocketAddr) -> String {
    let (credentials, rest) = url.rsplit_once('@').unwrap();
    let (_, database) = rest.split_once('/').unwrap();
    format!("{credentials}@{address}/{database}")
}

pub(crate) fn address_of(url: &str) -> String {
    let (_, rest) = url.rsplit_once('@').unwrap();
    rest.split('/').next().unwrap().to_owned()
}

pub(crate) fn password_of(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap();
    let (credentials, _) = rest.rsplit_once('@').unwrap();
    credentials.split_once(':').unwrap().1
}

/// The message of an error and of all its sources.
pub(crate) fn messages(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// The same statements for each database, whose pools are types of their own.
macro_rules! run_and_count {
    () => {
        async fn run(pool: &Pool<Self>, sql: &str) {
            sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(pool).await.unwrap();
        }

        async fn count(pool: &Pool<Self>, sql: &str) -> i64 {
            sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(pool).await.unwrap()
        }
    };
}

impl TestBackend for Postgres {
    const ID_TYPES: [&'static str; 3] = ["VARCHAR(64)", "INTEGER", "UUID"];
    const LAX_TEXT: &'static str = "TEXT COLLATE lax";
    const LAX_COLLATION: &'static str = "CREATE COLLATION lax \
        (provider = icu, locale = 'und-u-ks-level1', deterministic = false)";

    async fn create_database() -> TestDatabase {
        let name = random_name("test");
        let mut admin = PgConnection::connect(&postgres_url("postgres")).await.unwrap();
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        TestDatabase { url: postgres_url(&name), _folder: None }
    }

    run_and_count!();

    fn uuid_literal(uuid: &str) -> String {
        format!("'{uuid}'")
    }
}

impl TestBackend for MySql {
    const ID_TYPES: [&'static str; 3] =
        ["VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin", "INTEGER", "BINARY(16)"];
    const LAX_TEXT: &'static str = "VARCHAR(64)";

    async fn create_database() -> TestDatabase {
        let name = random_name("test");
        let mut admin = MySqlConnection::connect(&mysql_url("mysql")).await.unwrap();
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        TestDatabase { url: mysql_url(&name), _folder: None }
    }

    run_and_count!();

    fn uuid_literal(uuid: &str) -> String {
        format!("x'{}'", uuid.replace('-', ""))
    }
}

impl TestBackend for Sqlite {
    const ID_TYPES: [&'static str; 3] = ["TEXT", "INTEGER", "BLOB"];
    const LAX_TEXT: &'static str = "TEXT COLLATE NOCASE";

    async fn create_database() -> TestDatabase {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?mode=rwc", folder.path().join("app.db").display());
        TestDatabase { url, _folder: Some(folder) }
    }

    run_and_count!();

    fn uuid_literal(uuid: &str) -> String {
        format!("x'{}'", uuid.replace('-', ""))
    }
}

/// Runs a generic test on each database.
macro_rules! on_each_database {
    ($($test:ident),+ $(,)?) => {
        mod postgres {
            $(#[tokio::test] async fn $test() { super::$test::<super::Postgres>().await })+
        }
        mod mysql {
            $(#[tokio::test] async fn $test() { super::$test::<super::MySql>().await })+
        }
        mod sqlite {
            $(#[tokio::test] async fn $test() { super::$test::<super::Sqlite>().await })+
        }
    };
}
pub(crate) use on_each_database;

/// A TCP proxy in front of a server, which a test can stop, start again and silence.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    server: String,
    accepting: AbortHandle,
    /// As many of the first connections stay open but carry nothing.
    silent: watch::Sender<usize>,
    accepted: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (silent, accepted) = (watch::Sender::new(0), Arc::default());
        let accepting = accept(listener, server.clone(), silent.clone(), Arc::clone(&accepted));
        Self { address, accepting, server, silent, accepted }
    }

    /// Ends all connections and accepts none.
    pub(crate) async fn stop(&self) {
        self.accepting.abort();
        while !self.accepting.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (silent, accepted) = (self.silent.clone(), self.accepted.clone());
        self.accepting = accept(listener, self.server.clone(), silent, accepted);
    }

    /// All connections carry nothing, the next ones too.
    pub(crate) fn silence_all(&self) {
        self.silent.send_replace(usize::MAX);
    }

    /// The connections so far carry nothing; the next ones work.
    pub(crate) fn silence_open_connections(&self) {
        self.silent.send_replace(self.accepted.load(Ordering::Relaxed));
    }
}

fn accept(
    listener: TcpListener,
    server: String,
    silent: watch::Sender<usize>,
    accepted: Arc<AtomicUsize>,
) -> AbortHandle {
    let accepting = async move {
        // Aborted together with the task that owns it.
        let mut connections = JoinSet::new();
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let number = accepted.fetch_add(1, Ordering::Relaxed);
            let server = TcpStream::connect(server.as_str()).await.unwrap();
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            connections.spawn(forward(from_client, to_server, silent.subscribe(), number));
            connections.spawn(forward(from_server, to_client, silent.subscribe(), number));
        }
    };
    tokio::spawn(accepting).abort_handle()
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut silent: watch::Receiver<usize>,
    number: usize,
) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        silent.wait_for(|silent| number >= *silent).await.ok();
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Waits until the condition holds.
pub(crate) async fn wait_until(mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("in 20 s");
}
