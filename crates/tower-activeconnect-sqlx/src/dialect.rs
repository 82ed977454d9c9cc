//! What differs between the databases.

use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::{Connection, Error};
use tower_activeconnect::store::StoreErrorKind;

use crate::migrations::Migrations;
use crate::names::{Names, RawNames};
use crate::queries::Queries;
use crate::statements::Statements;
use crate::user_id::{UserIdFormat, UserIdType};

pub(crate) type ConnectOptions<B> = <<B as sqlx::Database>::Connection as Connection>::Options;

/// The column types of the tables.
#[derive(Clone, Debug)]
pub struct ColumnTypes {
    /// Of the number of a row, with the clause that makes it the primary key.
    pub(crate) row_id: &'static str,
    pub(crate) token: &'static str,
    /// Of the users' ids.
    pub(crate) user_id: String,
}

/// What a database tells about the users' ids.
#[derive(Debug)]
pub struct UserIdColumn {
    pub(crate) format: UserIdFormat,
    /// Its type, where a foreign key has to repeat it.
    pub(crate) sql_type: Option<String>,
}

/// A database that can hold the tables of a token store.
pub trait Dialect: Queries {
    /// The beginning of a URL, and an example.
    const URL_EXAMPLE: &'static str;
    /// Whether a server holds the data. Closing a connection of SQLite may end a database in memory.
    const IS_REMOTE: bool;
    /// The clause that creates a table in a migration.
    const CREATE_TABLE: &'static str;
    /// What follows the columns of a new table.
    const TABLE_OPTIONS: &'static str;

    /// Quotes a checked name.
    fn quote(name: &str) -> String;

    /// Whether the URL names a database of this kind.
    fn accepts_url(url: &str) -> bool;

    /// The database that the options name, for error messages: without user and password.
    fn location(options: &ConnectOptions<Self>) -> String;

    /// Adds what the store needs of a connection of its own.
    fn configure(options: ConnectOptions<Self>) -> ConnectOptions<Self> {
        options
    }

    /// Adds what the store needs of a pool of its own.
    fn configure_pool(
        pool: PoolOptions<Self>,
        _options: &ConnectOptions<Self>,
    ) -> PoolOptions<Self> {
        pool
    }

    /// Checks a connection of the application's pool.
    ///
    /// # Errors
    ///
    /// When the database fails, or the store cannot work with such connections.
    fn check_connection(
        _connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }

    /// The types of the columns, where ids have this type.
    fn column_types(id_type: UserIdType) -> ColumnTypes;

    /// The statements of the store, for ids as the column has them.
    fn statements(names: &Names, format: UserIdFormat) -> Statements;

    /// Reads the type of the users' ids, where it matters.
    ///
    /// # Errors
    ///
    /// When the database fails, or the column does not hold ids of this type.
    fn read_user_id_column(
        _connection: &mut Self::Connection,
        _raw: &RawNames,
        _names: &Names,
        id_type: UserIdType,
    ) -> impl Future<Output = Result<UserIdColumn, Error>> + Send {
        async move { Ok(UserIdColumn { format: id_type.into(), sql_type: None }) }
    }

    /// Applies the migrations that the history does not have, while no other process can.
    fn migrate(
        connection: PoolConnection<Self>,
        migrations: &Migrations,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The kind of a database's error and what an operator can do, where the code of the error says
    /// so.
    fn classify(error: &dyn sqlx::error::DatabaseError) -> Option<(StoreErrorKind, &'static str)>;

    /// Whether a table or schema does not exist.
    fn is_missing_table(error: &dyn sqlx::error::DatabaseError) -> bool;
}
