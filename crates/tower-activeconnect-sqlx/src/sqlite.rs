use std::error::Error;
use std::fmt;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::error::ErrorKind;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::query::Query;
use sqlx::sqlite::{
    Sqlite, SqliteArguments, SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteRow,
};
use sqlx::{AssertSqlSafe, Row as _, SqlSafeStr as _};

use tower_activeconnect::store::{StoreError, StoreErrorKind};
use tower_activeconnect::{TokenStore, UserId, UserToken};

/// How long a statement waits for another connection's lock, here or in another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a statement waits for a free connection of the pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a call may take, whatever the pool's own timeouts are: less than the 5 s of the shortest
/// login.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);

type UserQuery = Query<'static, Sqlite, SqliteArguments>;

/// The lookup table on SQLite: the application's users table, and beside it
/// `activeconnect_token(id, user_id UNIQUE REFERENCES users(id) ON DELETE CASCADE, token UNIQUE)` and
/// `activeconnect_token_browser_epoch(user_id PRIMARY KEY REFERENCES users(id) ON DELETE CASCADE,
/// epoch)`, which keeps whose browsers are forgotten.
///
/// [`SqliteTokenStore::open`] makes the file and both tables; the users table is the
/// application's and never touched. Enrolling a user whose row does not exist is
/// [`StoreErrorKind::NoSuchUser`]; deleting the row takes the token and the epoch with it, if the
/// application has `PRAGMA foreign_keys` on, as the pool here and every sqlx pool has.
///
/// A call waits at most 2 s for a connection and 2 s for a lock that another connection holds (4 s in
/// all, with any pool); then it is [`StoreErrorKind::Unavailable`], as when the file cannot be read
/// or written at the moment. Dropping the future of a call leaves open whether it took effect.
///
/// ```
/// use tower_activeconnect::{TokenStore, UserToken};
/// use tower_activeconnect_sqlx::SqliteTokenStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = SqliteTokenStore::open("sqlite::memory:").await?;
/// sqlx::query("CREATE TABLE users (id TEXT PRIMARY KEY)").execute(store.pool()).await?;
/// sqlx::query("INSERT INTO users (id) VALUES ('alice')").execute(store.pool()).await?;
///
/// let token = UserToken::random()?;
/// store.assign(&"alice".into(), &token).await?;
/// assert_eq!(store.token(&"alice".into()).await?, Some(token));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SqliteTokenStore {
    pool: SqlitePool,
    options: SqliteTokenStoreOptions,
}

/// Names and types of the tables, for applications whose users table is not `users(id TEXT)`.
///
/// ```
/// use tower_activeconnect_sqlx::SqliteTokenStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = SqliteTokenStore::options()
///     .users_table("user")
///     .integer_user_ids()
///     .open("sqlite::memory:")
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SqliteTokenStoreOptions {
    users_table: String,
    users_id_column: String,
    token_table: String,
    integer_user_ids: bool,
}

impl SqliteTokenStore {
    /// Opens `sqlite:PATH`, making the file if there is none, and brings the token table up to
    /// date.
    ///
    /// # Errors
    ///
    /// When the URL is not SQLite's, or the database cannot be opened or written.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::options().open(url).await
    }

    /// Other table names and types than the usual ones.
    #[must_use]
    pub fn options() -> SqliteTokenStoreOptions {
        SqliteTokenStoreOptions {
            users_table: "users".to_owned(),
            users_id_column: "id".to_owned(),
            token_table: "activeconnect_token".to_owned(),
            integer_user_ids: false,
        }
    }

    /// The connections, for the application's own tables in the same file.
    #[must_use]
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Binds a user id as the type that the users table has; an id that is no such value is no
    /// row's.
    fn parse_integer_id(&self, user: &UserId) -> Option<i64> {
        let integer = user.as_str().parse::<i64>().ok()?;
        // "007" and "+7" are other users than "7" to everyone but a parser.
        (integer.to_string() == user.as_str()).then_some(integer)
    }

    /// A query whose first parameter is the user's id; `None` if no row can have that id.
    fn query(&self, sql: String, user: &UserId) -> Option<UserQuery> {
        let query = sqlx::query(AssertSqlSafe(sql));
        if self.options.integer_user_ids {
            Some(query.bind(self.parse_integer_id(user)?))
        } else {
            Some(query.bind(user.as_str().to_owned()))
        }
    }

    async fn fetch(&self, query: Option<UserQuery>) -> Result<Option<SqliteRow>, StoreError> {
        let Some(query) = query else { return Ok(None) };
        let fetched = tokio::time::timeout(CALL_TIMEOUT, query.fetch_optional(&self.pool)).await;
        let fetched = fetched.map_err(|_| {
            StoreError::new("the database did not answer in time")
                .with_kind(StoreErrorKind::Unavailable)
        })?;
        fetched.map_err(store_error)
    }

    async fn fetch_token(&self, query: Option<UserQuery>) -> Result<Option<UserToken>, StoreError> {
        let Some(row) = self.fetch(query).await? else { return Ok(None) };
        let token: String = row.try_get(0).map_err(store_error)?;
        UserToken::new(&token).map(Some).map_err(corrupt)
    }
}

impl SqliteTokenStoreOptions {
    /// The application's users table. Default `users`.
    #[must_use]
    pub fn users_table(mut self, name: impl Into<String>) -> Self {
        self.users_table = name.into();
        self
    }

    /// Its primary key. Default `id`.
    #[must_use]
    pub fn users_id_column(mut self, name: impl Into<String>) -> Self {
        self.users_id_column = name.into();
        self
    }

    /// The table of tokens; that of the epochs is called the same with `_browser_epoch` after it. Default
    /// `activeconnect_token`.
    #[must_use]
    pub fn token_table(mut self, name: impl Into<String>) -> Self {
        self.token_table = name.into();
        self
    }

    /// The users' ids are `INTEGER`. Default `TEXT`.
    #[must_use]
    pub fn integer_user_ids(mut self) -> Self {
        self.integer_user_ids = true;
        self
    }

    /// As [`SqliteTokenStore::open`].
    ///
    /// # Errors
    ///
    /// As [`SqliteTokenStore::open`]; also when a name is not a plain identifier.
    pub async fn open(self, url: &str) -> Result<SqliteTokenStore, StoreError> {
        if !is_sqlite_url(url) {
            return Err(StoreError::new(format!("{url:?} is no SQLite URL; write sqlite:PATH")));
        }
        let connect = SqliteConnectOptions::from_str(url).map_err(store_error)?;
        let connect = connect.busy_timeout(BUSY_TIMEOUT);
        let mut pool = SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT);
        if url.contains(":memory:") || url.contains("mode=memory") {
            // Each connection to `:memory:` would be a database of its own.
            pool = pool.max_connections(1).idle_timeout(None).max_lifetime(None);
        }
        let pool = pool.connect_with(connect.create_if_missing(true)).await;
        let pool = pool.map_err(|source| {
            let kind = store_error_kind(&source);
            StoreError::new(CannotOpen { url: url.to_owned(), source }).with_kind(kind)
        })?;
        self.from_pool(pool).await
    }

    /// Uses connections that the application has already.
    ///
    /// # Errors
    ///
    /// As [`SqliteTokenStoreOptions::open`].
    pub async fn from_pool(self, pool: SqlitePool) -> Result<SqliteTokenStore, StoreError> {
        for name in [&self.users_table, &self.users_id_column, &self.token_table] {
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !plain || name.is_empty() {
                return Err(StoreError::new(format!(
                    "{name:?} is not a table or column name; use letters, digits and _"
                )));
            }
        }
        // One at a time: on SQLite sqlx's migrations take no lock, so that two who open a new file
        // at once would both make the table. (`run` would do, were its future `Send` here.)
        let mut alone = pool.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)?;
        self.migrations().run_direct(None, &mut *alone, false).await.map_err(store_error)?;
        alone.commit().await.map_err(store_error)?;
        Ok(SqliteTokenStore { pool, options: self })
    }

    fn browser_epoch_table(&self) -> String {
        format!("{}_browser_epoch", self.token_table)
    }

    /// Every version of both tables. What has been released is never changed, only added to.
    fn migrations(&self) -> Migrator {
        let Self { users_table, users_id_column: users_id, token_table, integer_user_ids } = self;
        let user_id_type = if *integer_user_ids { "INTEGER" } else { "TEXT" };
        let first = format!(
            "CREATE TABLE \"{token_table}\" (
                id INTEGER PRIMARY KEY,
                user_id {user_id_type} NOT NULL UNIQUE
                    REFERENCES \"{users_table}\" (\"{users_id}\") ON DELETE CASCADE,
                token TEXT NOT NULL UNIQUE
            )"
        );
        let second = format!(
            "CREATE TABLE \"{}\" (
                user_id {user_id_type} NOT NULL PRIMARY KEY
                    REFERENCES \"{users_table}\" (\"{users_id}\") ON DELETE CASCADE,
                epoch INTEGER NOT NULL
            )",
            self.browser_epoch_table()
        );
        let migrations = [(1, "token table", first), (2, "browser epoch table", second)];
        let migrations = migrations.map(|(version, name, sql)| {
            let sql = AssertSqlSafe(sql).into_sql_str();
            Migration::new(version, name.into(), MigrationType::Simple, sql, false)
        });
        let mut migrator = Migrator::with_migrations(migrations.into());
        // A history of its own: the application may use sqlx's migrations on the same file.
        migrator.dangerous_set_table_name(format!("{token_table}_migrations"));
        migrator
    }
}

impl TokenStore for SqliteTokenStore {
    async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        let table = &self.options.token_table;
        let sql = format!("SELECT token FROM \"{table}\" WHERE user_id = ?");
        self.fetch_token(self.query(sql, user)).await
    }

    async fn assign(&self, user: &UserId, token: &UserToken) -> Result<UserToken, StoreError> {
        let table = &self.options.token_table;
        // The no-op update makes RETURNING give the row that was there.
        let sql = format!(
            "INSERT INTO \"{table}\" (user_id, token) VALUES (?, ?)
             ON CONFLICT (user_id) DO UPDATE SET token = token RETURNING token"
        );
        let query = self.query(sql, user).map(|query| query.bind(token.as_str().to_owned()));
        let winner = self.fetch_token(query).await?;
        winner.ok_or_else(|| StoreError::from_kind(StoreErrorKind::NoSuchUser))
    }

    async fn remove(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        let table = &self.options.token_table;
        let sql = format!("DELETE FROM \"{table}\" WHERE user_id = ? RETURNING token");
        self.fetch_token(self.query(sql, user)).await
    }

    async fn browser_epoch(&self, user: &UserId) -> Result<Option<u64>, StoreError> {
        let table = self.options.browser_epoch_table();
        let sql = format!("SELECT epoch FROM \"{table}\" WHERE user_id = ?");
        let Some(row) = self.fetch(self.query(sql, user)).await? else { return Ok(None) };
        let epoch: i64 = row.try_get(0).map_err(store_error)?;
        epoch.try_into().map(Some).map_err(corrupt)
    }

    async fn set_browser_epoch(&self, user: &UserId, epoch: u64) -> Result<(), StoreError> {
        let table = self.options.browser_epoch_table();
        let sql = format!(
            "INSERT INTO \"{table}\" (user_id, epoch) VALUES (?, ?)
             ON CONFLICT (user_id) DO UPDATE SET epoch = max(epoch, excluded.epoch)"
        );
        let epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
        let query = self.query(sql, user).map(|query| query.bind(epoch));
        match self.fetch(query).await {
            // A user without a row has no token, and so no browsers.
            Err(error) if error.kind() == StoreErrorKind::NoSuchUser => Ok(()),
            kept => kept.map(drop),
        }
    }
}

/// sqlx takes any text for a file name, and none for a file that is deleted when it is closed.
fn is_sqlite_url(url: &str) -> bool {
    let Some(path) = url.strip_prefix("sqlite:") else { return false };
    let path = path.strip_prefix("//").unwrap_or(path);
    let file = path.split_once('?').map_or(path, |(file, _)| file);
    !file.is_empty() || path.contains("mode=memory")
}

fn corrupt(error: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::new(error).with_kind(StoreErrorKind::Corrupt)
}

fn store_error(error: impl Into<sqlx::Error>) -> StoreError {
    let error = error.into();
    let kind = store_error_kind(&error);
    StoreError::new(error).with_kind(kind)
}

fn store_error_kind(error: &sqlx::Error) -> StoreErrorKind {
    match error {
        sqlx::Error::Database(database) => match database.kind() {
            ErrorKind::ForeignKeyViolation => StoreErrorKind::NoSuchUser,
            _ => database.code().map_or(StoreErrorKind::Other, |code| kind_of_code(&code)),
        },
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Io(_) => StoreErrorKind::Unavailable,
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Other,
    }
}

/// The database that the URL names cannot be opened. SQLite's own message does not say which.
#[derive(Debug)]
struct CannotOpen {
    url: String,
    source: sqlx::Error,
}

impl fmt::Display for CannotOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} cannot be opened", self.url)
    }
}

impl Error for CannotOpen {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// What an extended result code of SQLite means (<https://sqlite.org/rescode.html>): its lower eight
/// bits say what kind it is.
fn kind_of_code(code: &str) -> StoreErrorKind {
    const BUSY: u32 = 5;
    const LOCKED: u32 = 6;
    const NOMEM: u32 = 7;
    const READONLY: u32 = 8;
    const INTERRUPT: u32 = 9;
    const IOERR: u32 = 10;
    const CORRUPT: u32 = 11;
    const FULL: u32 = 13;
    const CANTOPEN: u32 = 14;
    const PROTOCOL: u32 = 15;
    const NOTADB: u32 = 26;
    match code.parse::<u32>().map(|code| code & 0xff) {
        Ok(BUSY | LOCKED | NOMEM | INTERRUPT | IOERR | FULL | CANTOPEN | PROTOCOL) => {
            StoreErrorKind::Unavailable
        }
        Ok(CORRUPT | NOTADB) => StoreErrorKind::Corrupt,
        Ok(READONLY) => StoreErrorKind::ReadOnly,
        _ => StoreErrorKind::Other,
    }
}
