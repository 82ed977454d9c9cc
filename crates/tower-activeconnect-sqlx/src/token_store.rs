use std::fmt;
use std::time::Duration;

use sqlx::error::ErrorKind;
use sqlx::pool::{Pool, PoolConnection};
use tower_activeconnect::store::{StoreError, StoreErrorKind};
use tower_activeconnect::{TokenStore, UserId, UserToken};

use crate::dialect::Dialect;
use crate::error;
use crate::options::TokenStoreOptions;
use crate::queries::Values;
use crate::statements::{Statement, Statements};
use crate::user_id::UserIdFormat;

/// The longest time of a call, with any pool: shorter than the engine's own deadlines for the token
/// store that are 5 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);
/// How often `assign` and `remove` begin again, because another writer came between two statements.
const MAX_TRIES: usize = 4;

/// A database that can hold the tables: PostgreSQL, MySQL with MariaDB, or SQLite. No other type can
/// implement it.
pub trait Backend: Dialect {}

impl<B: Dialect> Backend for B {}

/// A token store in the application's own SQL database: `PgTokenStore`, `MySqlTokenStore` and
/// `SqliteTokenStore` are aliases. The documentation of the crate shows how each is opened.
///
/// It adds two tables to the application's users table:
/// `activeconnect_token(id, user_id UNIQUE REFERENCES users(id) ON DELETE CASCADE, token UNIQUE)` and
/// `activeconnect_token_browser_epoch(user_id PRIMARY KEY REFERENCES users(id) ON DELETE CASCADE,
/// epoch)`, which records the users whose known browsers are invalidated. A third table has the
/// versions of these two. The store never changes the users table.
///
/// Enrolling a user without a row fails with [`StoreErrorKind::NoSuchUser`]. Deleting the row deletes
/// the token and the epoch (on SQLite if `PRAGMA foreign_keys` is on, as in every sqlx pool).
///
/// A call takes at most 4 s. Then it fails with [`StoreErrorKind::Unavailable`], as it does if the
/// server cannot be reached at the moment; the pool connects again by itself. Calls are not cancel
/// safe: a call whose future is dropped may or may not take effect.
pub struct SqlTokenStore<B: Backend> {
    pool: Pool<B>,
    format: UserIdFormat,
    statements: Statements,
}

impl<B: Backend> SqlTokenStore<B> {
    pub(crate) fn new(pool: Pool<B>, format: UserIdFormat, statements: Statements) -> Self {
        Self { pool, format, statements }
    }

    /// Options for other table names and types.
    pub fn options() -> TokenStoreOptions<B> {
        TokenStoreOptions::new()
    }

    /// Opens a pool of five connections and the store. Creates the tables that do not exist, unless
    /// the history of the migrations says that they are there: many processes may start at once, and
    /// a role that may not create tables can open a migrated database.
    ///
    /// The URL of PostgreSQL has the parameters `sslmode` and `sslrootcert`, that of MySQL and
    /// MariaDB `ssl-mode` and `ssl-ca`: with `verify-full` or `VERIFY_IDENTITY`, and the file of a CA,
    /// the store connects only to a server with a certificate of that CA for its host name. These
    /// servers cancel a statement of the store after 4 s, unless the URL, the role or the server sets
    /// another limit.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Unavailable`] if the server cannot be reached within a minute;
    /// [`StoreErrorKind::ReadOnly`] if tables have to be created and the server only reads;
    /// [`StoreErrorKind::Other`] if the server rejects the user or the database, or a table cannot be
    /// created. The sources of the error say what to do. No error contains the URL.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::options().connect(url).await
    }

    /// Uses the application's existing pool, as [`TokenStoreOptions::from_pool`].
    ///
    /// # Errors
    ///
    /// Those of [`SqlTokenStore::connect`].
    pub async fn from_pool(pool: Pool<B>) -> Result<Self, StoreError> {
        Self::options().from_pool(pool).await
    }

    /// The connection pool, for the application's own tables in the same database.
    #[must_use]
    pub fn pool(&self) -> &Pool<B> {
        &self.pool
    }

    /// The parameters of a user's statements; `None` if no row can have that id.
    fn values(&self, user: &UserId) -> Option<Values<'static>> {
        self.format.store(user).map(Values::of_user)
    }

    async fn acquire(&self) -> Result<CallConnection<B>, StoreError> {
        let connection = self.pool.acquire().await.map_err(error::store_error::<B>)?;
        Ok(CallConnection { connection, is_busy: false })
    }

    async fn select_token(
        &self,
        connection: &mut CallConnection<B>,
        values: &Values<'_>,
    ) -> Result<Option<UserToken>, StoreError> {
        let token = connection.fetch_text(&self.statements.select_token, values).await;
        let token = row_of_user(token.map_err(error::store_error::<B>))?;
        token.map(|token| UserToken::new(&token).map_err(error::corrupt)).transpose()
    }

    async fn assign_token(
        &self,
        connection: &mut CallConnection<B>,
        values: &Values<'_>,
        token: &UserToken,
    ) -> Result<UserToken, StoreError> {
        let mut is_token_taken = false;
        for _ in 0..MAX_TRIES {
            if let Some(assigned) = self.select_token(connection, values).await? {
                return Ok(assigned);
            }
            let statement = &self.statements.insert_token;
            match connection.execute(statement, values).await {
                // Another writer was first, or the id is that of a user in another spelling.
                Ok(0) => is_token_taken = false,
                Ok(_) => return Ok(token.clone()),
                // MySQL has no `ON CONFLICT`: another writer was first, or the token is taken.
                Err(sqlx::Error::Database(error)) if error.kind() == ErrorKind::UniqueViolation => {
                    is_token_taken = true;
                }
                Err(error) => return Err(error::store_error::<B>(error)),
            }
        }
        // The database's own message may contain the token.
        Err(if is_token_taken {
            StoreError::new("the token belongs to another user")
        } else {
            StoreError::from_kind(StoreErrorKind::NoSuchUser)
        })
    }

    async fn remove_token(
        &self,
        connection: &mut CallConnection<B>,
        values: &Values<'_>,
    ) -> Result<Option<UserToken>, StoreError> {
        for _ in 0..MAX_TRIES {
            let token = self.select_token(connection, values).await?;
            let Some(token) = token else { return Ok(None) };
            let values = Values { token: token.as_str(), ..values.clone() };
            let statement = &self.statements.delete_token;
            let deleted = connection.execute(statement, &values).await;
            if deleted.map_err(error::store_error::<B>)? > 0 {
                return Ok(Some(token));
            }
        }
        let error = StoreError::new("other writers changed the token at the same time; try again");
        Err(error.with_kind(StoreErrorKind::Unavailable))
    }

    async fn select_epoch(
        &self,
        connection: &mut CallConnection<B>,
        values: &Values<'_>,
    ) -> Result<Option<u64>, StoreError> {
        let epoch = connection.fetch_integer(&self.statements.select_epoch, values).await;
        let epoch = row_of_user(epoch.map_err(error::store_error::<B>))?;
        epoch.map(|epoch| epoch.try_into().map_err(error::corrupt)).transpose()
    }

    async fn raise_epoch(
        &self,
        connection: &mut CallConnection<B>,
        values: &Values<'_>,
    ) -> Result<(), StoreError> {
        let raised = connection.execute(&self.statements.raise_epoch, values).await;
        match raised.map_err(error::store_error::<B>) {
            // A user without a row has no token, so no known browsers.
            Err(error) if error.kind() == StoreErrorKind::NoSuchUser => Ok(()),
            // To the engine, a store that only reads keeps no epochs, and needs none to be kept.
            Err(error) if error.kind() == StoreErrorKind::ReadOnly => {
                Err(error.with_kind(StoreErrorKind::Unavailable))
            }
            result => result.map(drop),
        }
    }
}

#[cfg(feature = "sqlite")]
impl SqlTokenStore<sqlx::Sqlite> {
    /// Opens `sqlite:PATH`, creates the file if it does not exist, and migrates the tables.
    ///
    /// # Errors
    ///
    /// When the URL is not an SQLite URL, or the database cannot be opened or written.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::connect(url).await
    }
}

/// No row, where MySQL reports that its column cannot have such an id.
fn row_of_user<T>(row: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match row {
        Err(error) if error.kind() == StoreErrorKind::NoSuchUser => Ok(None),
        row => row,
    }
}

/// Runs a call with the deadline of the store.
async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| Err(error::timed_out()))
}

impl<B: Backend> TokenStore for SqlTokenStore<B> {
    async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        let Some(values) = self.values(user) else { return Ok(None) };
        in_time(async { self.select_token(&mut self.acquire().await?, &values).await }).await
    }

    async fn assign(&self, user: &UserId, token: &UserToken) -> Result<UserToken, StoreError> {
        let Some(values) = self.values(user) else {
            return Err(StoreError::from_kind(StoreErrorKind::NoSuchUser));
        };
        let values = Values { token: token.as_str(), ..values };
        in_time(async { self.assign_token(&mut self.acquire().await?, &values, token).await }).await
    }

    async fn remove(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        let Some(values) = self.values(user) else { return Ok(None) };
        in_time(async { self.remove_token(&mut self.acquire().await?, &values).await }).await
    }

    async fn browser_epoch(&self, user: &UserId) -> Result<Option<u64>, StoreError> {
        let Some(values) = self.values(user) else { return Ok(None) };
        in_time(async { self.select_epoch(&mut self.acquire().await?, &values).await }).await
    }

    async fn set_browser_epoch(&self, user: &UserId, epoch: u64) -> Result<(), StoreError> {
        let Some(values) = self.values(user) else { return Ok(()) };
        let values = Values { epoch: i64::try_from(epoch).unwrap_or(i64::MAX), ..values };
        in_time(async { self.raise_epoch(&mut self.acquire().await?, &values).await }).await
    }
}

/// The connection of a call. The pool closes it if the call is dropped in the middle of a statement:
/// a silent server would keep the pool waiting for the end of that statement.
struct CallConnection<B: Backend> {
    connection: PoolConnection<B>,
    is_busy: bool,
}

impl<B: Backend> CallConnection<B> {
    async fn execute(
        &mut self,
        statement: &Statement,
        values: &Values<'_>,
    ) -> Result<u64, sqlx::Error> {
        self.is_busy = true;
        let result = B::execute(&mut self.connection, statement, values).await;
        self.is_busy = false;
        result
    }

    async fn fetch_text(
        &mut self,
        statement: &Statement,
        values: &Values<'_>,
    ) -> Result<Option<String>, sqlx::Error> {
        self.is_busy = true;
        let result = B::fetch_text(&mut self.connection, statement, values).await;
        self.is_busy = false;
        result
    }

    async fn fetch_integer(
        &mut self,
        statement: &Statement,
        values: &Values<'_>,
    ) -> Result<Option<i64>, sqlx::Error> {
        self.is_busy = true;
        let result = B::fetch_integer(&mut self.connection, statement, values).await;
        self.is_busy = false;
        result
    }
}

impl<B: Backend> Drop for CallConnection<B> {
    fn drop(&mut self) {
        if self.is_busy && B::IS_REMOTE {
            self.connection.close_on_drop();
        }
    }
}

impl<B: Backend> Clone for SqlTokenStore<B> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), format: self.format, statements: self.statements.clone() }
    }
}

impl<B: Backend> fmt::Debug for SqlTokenStore<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlTokenStore").field("pool", &self.pool).finish_non_exhaustive()
    }
}
