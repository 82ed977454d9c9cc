//! The token store on SQLite.

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

/// How long a statement waits for the lock of another connection, in this or another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a statement waits for a free connection of the pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a call may take, whatever the pool's timeouts are. It is less than the shortest login
/// timeout of 5 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);

type UserQuery = Query<'static, Sqlite, SqliteArguments>;

/// A token store on SQLite. It adds two tables to the application's users table:
/// `activeconnect_token(id, user_id UNIQUE REFERENCES users(id) ON DELETE CASCADE, token UNIQUE)` and
/// `activeconnect_token_browser_epoch(user_id PRIMARY KEY REFERENCES users(id) ON DELETE CASCADE,
/// epoch)`, which records the users whose known browsers are invalidated.
///
/// [`SqliteTokenStore::open`] creates the file and both tables. It never changes the users table.
/// Enrolling a user without a row fails with [`StoreErrorKind::NoSuchUser`]. Deleting the row deletes
/// the token and the epoch, if `PRAGMA foreign_keys` is on, as in every sqlx pool.
///
/// A call waits at most 2 s for a connection and 2 s for the lock of another connection (4 s in all,
/// with any pool). Then it fails with [`StoreErrorKind::Unavailable`], as it does if the file cannot
/// be read or written at the moment. Calls are not cancel safe: a call whose future is dropped may or
/// may not take effect.
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

/// The names and types of the tables, for applications whose users table is not `users(id TEXT)`.
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
    /// Opens `sqlite:PATH`, creates the file if it does not exist, and migrates the tables.
    ///
    /// # Errors
    ///
    /// When the URL is not an SQLite URL, or the database cannot be opened or written.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::options().open(url).await
    }

    /// Options for other table names and types.
    #[must_use]
    pub fn options() -> SqliteTokenStoreOptions {
        SqliteTokenStoreOptions {
            users_table: "users".to_owned(),
            users_id_column: "id".to_owned(),
            token_table: "activeconnect_token".to_owned(),
            integer_user_ids: false,
        }
    }

    /// The connection pool, for the application's own tables in the same file.
    #[must_use]
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// The user id as an integer; `None` if it is not the canonical text of one, so no row has it.
    fn parse_integer_id(&self, user: &UserId) -> Option<i64> {
        let integer = user.as_str().parse::<i64>().ok()?;
        // The ids "007" and "+7" parse as 7, but are not the user "7".
        (integer.to_string() == user.as_str()).then_some(integer)
    }

    /// A query with the user's id as its first parameter; `None` if no row can have that id.
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
            StoreError::new("the database did not respond in time")
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
    /// Sets the name of the application's users table. The default is `users`.
    #[must_use]
    pub fn users_table(mut self, name: impl Into<String>) -> Self {
        self.users_table = name.into();
        self
    }

    /// Sets the primary key column of the users table. The default is `id`.
    #[must_use]
    pub fn users_id_column(mut self, name: impl Into<String>) -> Self {
        self.users_id_column = name.into();
        self
    }

    /// Sets the name of the token table. The table of the epochs has the same name with the suffix
    /// `_browser_epoch`. The default is `activeconnect_token`.
    #[must_use]
    pub fn token_table(mut self, name: impl Into<String>) -> Self {
        self.token_table = name.into();
        self
    }

    /// Sets the type of the users' ids to `INTEGER`. The default is `TEXT`.
    #[must_use]
    pub fn integer_user_ids(mut self) -> Self {
        self.integer_user_ids = true;
        self
    }

    /// Opens the store like [`SqliteTokenStore::open`], with these options.
    ///
    /// # Errors
    ///
    /// Those of [`SqliteTokenStore::open`]; also when a name is not a plain identifier.
    pub async fn open(self, url: &str) -> Result<SqliteTokenStore, StoreError> {
        if !is_sqlite_url(url) {
            return Err(StoreError::new(format!("{url:?} is not an SQLite URL; use sqlite:PATH")));
        }
        let connect = SqliteConnectOptions::from_str(url).map_err(store_error)?;
        let connect = connect.busy_timeout(BUSY_TIMEOUT);
        let mut pool = SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT);
        if url.contains(":memory:") || url.contains("mode=memory") {
            // Each connection to `:memory:` opens a separate database.
            pool = pool.max_connections(1).idle_timeout(None).max_lifetime(None);
        }
        let pool = pool.connect_with(connect.create_if_missing(true)).await;
        let pool = pool.map_err(|source| {
            let kind = store_error_kind(&source);
            StoreError::new(CannotOpen { url: url.to_owned(), source }).with_kind(kind)
        })?;
        self.from_pool(pool).await
    }

    /// Uses the application's existing connection pool.
    ///
    /// # Errors
    ///
    /// Those of [`SqliteTokenStoreOptions::open`].
    pub async fn from_pool(self, pool: SqlitePool) -> Result<SqliteTokenStore, StoreError> {
        for name in [&self.users_table, &self.users_id_column, &self.token_table] {
            let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !is_plain || name.is_empty() {
                return Err(StoreError::new(format!(
                    "{name:?} is not a table or column name; use letters, digits and _"
                )));
            }
        }
        // sqlx's migrations take no lock on SQLite. Without this transaction, two processes that open
        // a new file at once would both create the table. (The future of `run` is not `Send` here.)
        let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)?;
        self.migrations().run_direct(None, &mut *transaction, false).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(SqliteTokenStore { pool, options: self })
    }

    fn browser_epoch_table(&self) -> String {
        format!("{}_browser_epoch", self.token_table)
    }

    /// The migrations of both tables. A released migration never changes; new ones are appended.
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
        // A separate history, because the application may use sqlx's migrations on the same file.
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
        // The no-op update makes RETURNING return the existing row.
        let sql = format!(
            "INSERT INTO \"{table}\" (user_id, token) VALUES (?, ?)
             ON CONFLICT (user_id) DO UPDATE SET token = token RETURNING token"
        );
        let query = self.query(sql, user).map(|query| query.bind(token.as_str().to_owned()));
        let assigned = self.fetch_token(query).await?;
        assigned.ok_or_else(|| StoreError::from_kind(StoreErrorKind::NoSuchUser))
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
            // A user without a row has no token, so no known browsers.
            Err(error) if error.kind() == StoreErrorKind::NoSuchUser => Ok(()),
            result => result.map(drop),
        }
    }
}

/// Whether the URL is `sqlite:` with a path. sqlx accepts any text as a file name, and an empty one as
/// a temporary database.
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

/// The database of the URL cannot be opened. SQLite's message does not name the database.
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

/// The kind of an extended SQLite result code (<https://sqlite.org/rescode.html>), which its lower eight
/// bits determine.
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
