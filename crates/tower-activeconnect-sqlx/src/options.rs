use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::pool::{Pool, PoolOptions};
use tower_activeconnect::store::StoreError;

use crate::dialect::ConnectOptions;
use crate::error;
use crate::migrations::Migrations;
use crate::names::RawNames;
use crate::token_store::{Backend, SqlTokenStore};
use crate::user_id::UserIdType;

/// The longest wait for a connection of a pool that the store opens.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest time for connecting, for the migrations and for the wait for another process that
/// migrates.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// The connections of a pool that the store opens. A gate sends few statements: one per login, and
/// one a minute for each session in use.
const MAX_CONNECTIONS: u32 = 5;

/// The names and types of the tables, for applications whose users table is not `users(id TEXT)`.
/// Names may be reserved words, as the store quotes them.
///
#[cfg_attr(feature = "sqlite", doc = "```")]
#[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
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
#[must_use]
pub struct TokenStoreOptions<B> {
    names: RawNames,
    id_type: UserIdType,
    backend: PhantomData<fn() -> B>,
}

impl<B: Backend> TokenStoreOptions<B> {
    pub(crate) fn new() -> Self {
        Self { names: RawNames::default(), id_type: UserIdType::Text, backend: PhantomData }
    }

    /// Sets the name of the application's users table. The default is `users`.
    pub fn users_table(mut self, name: impl Into<String>) -> Self {
        self.names.users_table = name.into();
        self
    }

    /// Sets the name of the users table's id column, which is its primary key or unique. The default
    /// is `id`.
    pub fn users_id_column(mut self, name: impl Into<String>) -> Self {
        self.names.users_id_column = name.into();
        self
    }

    /// Sets the name of the token table, at most 40 bytes. The tables of the epochs and of the
    /// history have the same name with the suffixes `_browser_epoch` and `_migrations`. The default
    /// is `activeconnect_token`.
    pub fn token_table(mut self, name: impl Into<String>) -> Self {
        self.names.token_table = name.into();
        self
    }

    /// Sets the type of the users' ids. The default is [`UserIdType::Text`].
    pub fn user_id_type(mut self, id_type: UserIdType) -> Self {
        self.id_type = id_type;
        self
    }

    /// Sets the type of the users' ids to [`UserIdType::Integer`].
    pub fn integer_user_ids(self) -> Self {
        self.user_id_type(UserIdType::Integer)
    }

    /// Sets the type of the users' ids to [`UserIdType::Uuid`].
    pub fn uuid_user_ids(self) -> Self {
        self.user_id_type(UserIdType::Uuid)
    }

    /// All migrations as SQL, for applications that migrate their database by themselves. The store
    /// then only compares the version.
    ///
    /// On MySQL and MariaDB replace the type of `user_id` by the exact type of the users id.
    ///
    /// # Errors
    ///
    /// When a name is not valid.
    pub fn migrations(&self) -> Result<String, StoreError> {
        let names = self.names.quoted::<B>()?;
        Ok(Migrations::new::<B>(&names, &B::column_types(self.id_type)).script())
    }

    /// Opens a pool of five connections and the store, as [`SqlTokenStore::connect`].
    ///
    /// # Errors
    ///
    /// Those of [`SqlTokenStore::connect`]; also when a name is not valid.
    pub async fn connect(self, url: &str) -> Result<SqlTokenStore<B>, StoreError> {
        // A URL may carry a password, so no error shows it.
        if !B::accepts_url(url) {
            let example = B::URL_EXAMPLE;
            return Err(StoreError::new(format!("the URL is not of the form {example}")));
        }
        self.names.quoted::<B>()?;
        let options: ConnectOptions<B> = url.parse().map_err(error::store_error::<B>)?;
        let options = B::configure(options);
        let location = B::location(&options);
        let pool = PoolOptions::new().max_connections(MAX_CONNECTIONS);
        let pool = B::configure_pool(pool.acquire_timeout(ACQUIRE_TIMEOUT), &options);
        let connect = async {
            // The pool's error would not say why it has no connection.
            let connection = options.connect().await?;
            sqlx::Connection::close(connection).await?;
            pool.connect_with(options).await
        };
        let pool = tokio::time::timeout(OPEN_TIMEOUT, connect).await;
        let pool = pool.map_err(|_| error::timed_out())?;
        let pool = pool.map_err(|error| error::cannot_open::<B>(&location, error))?;
        self.from_pool(pool).await
    }

    /// Uses the application's existing pool. Its settings stay: a statement timeout of the server is
    /// the application's choice. A call of the store takes at most 4 s with any pool.
    ///
    /// # Errors
    ///
    /// Those of [`SqlTokenStore::connect`]; also when a name is not valid.
    pub async fn from_pool(self, pool: Pool<B>) -> Result<SqlTokenStore<B>, StoreError> {
        let opened = tokio::time::timeout(OPEN_TIMEOUT, self.open_tables(pool)).await;
        opened.map_err(|_| error::timed_out())?
    }

    async fn open_tables(self, pool: Pool<B>) -> Result<SqlTokenStore<B>, StoreError> {
        let names = self.names.quoted::<B>()?;
        let to_store_error = error::store_error::<B>;
        let mut connection = pool.acquire().await.map_err(to_store_error)?;
        B::check_connection(&mut connection).await.map_err(to_store_error)?;
        let column =
            B::read_user_id_column(&mut connection, &self.names, &names, self.id_type).await;
        let column = column.map_err(to_store_error)?;
        let mut types = B::column_types(self.id_type);
        types.user_id = column.sql_type.unwrap_or(types.user_id);
        let migrations = Migrations::new::<B>(&names, &types);
        let applied = match migrations.applied::<B>(&mut connection).await {
            Err(error) if error::is_missing_table::<B>(&error) => Ok(0),
            applied => applied,
        };
        let (applied, newest) = (applied.map_err(to_store_error)?, migrations.newest());
        if applied > newest {
            return Err(StoreError::new(format!(
                "the tables have version {applied}, and this release knows {newest}; update the \
                 application"
            )));
        }
        if applied < newest {
            // On this connection: SQLite's others may remember that there were no tables.
            B::migrate(connection, &migrations).await.map_err(|error| {
                // The migrations create every other table.
                match error::is_missing_table::<B>(&error) {
                    true => error::missing_users_table(error),
                    false => to_store_error(error),
                }
            })?;
        }
        Ok(SqlTokenStore::new(pool, column.format, B::statements(&names, column.format)))
    }
}

#[cfg(feature = "postgres")]
impl TokenStoreOptions<sqlx::Postgres> {
    /// Sets the schema of all tables, the users table included. The default is the first schema of
    /// the connection's `search_path` that has or can have them.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.names.schema = Some(name.into());
        self
    }
}

#[cfg(feature = "sqlite")]
impl TokenStoreOptions<sqlx::Sqlite> {
    /// Opens the store like [`SqlTokenStore::open`], with these options.
    ///
    /// # Errors
    ///
    /// Those of [`SqlTokenStore::open`]; also when a name is not valid.
    pub async fn open(self, url: &str) -> Result<SqlTokenStore<sqlx::Sqlite>, StoreError> {
        self.connect(url).await
    }
}

impl<B> Clone for TokenStoreOptions<B> {
    fn clone(&self) -> Self {
        Self { names: self.names.clone(), id_type: self.id_type, backend: PhantomData }
    }
}

impl<B> fmt::Debug for TokenStoreOptions<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenStoreOptions")
            .field("names", &self.names)
            .field("id_type", &self.id_type)
            .finish()
    }
}
