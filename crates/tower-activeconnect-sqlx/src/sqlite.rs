//! SQLite.

use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqliteQueryResult};
use sqlx::{Connection as _, Error};
use tower_activeconnect::store::StoreErrorKind;

use crate::dialect::{ColumnTypes, Dialect};
use crate::error::advice;
use crate::migrations::Migrations;
use crate::names::Names;
use crate::queries::RowsAffected;
use crate::statements::Statements;
use crate::user_id::{UserIdFormat, UserIdType};

/// The longest wait for the lock of another connection.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

impl RowsAffected for Sqlite {
    fn rows_affected(result: &SqliteQueryResult) -> u64 {
        result.rows_affected()
    }
}

impl Dialect for Sqlite {
    const URL_EXAMPLE: &'static str = "sqlite:PATH";
    const IS_REMOTE: bool = false;
    const CREATE_TABLE: &'static str = "CREATE TABLE";
    const TABLE_OPTIONS: &'static str = "";

    fn quote(name: &str) -> String {
        format!("\"{name}\"")
    }

    /// sqlx accepts any text as a file name, and an empty one as a temporary database.
    fn accepts_url(url: &str) -> bool {
        let Some(path) = url.strip_prefix("sqlite:") else { return false };
        let path = path.strip_prefix("//").unwrap_or(path);
        let file = path.split_once('?').map_or(path, |(file, _)| file);
        !file.is_empty() || path.contains("mode=memory")
    }

    fn location(options: &SqliteConnectOptions) -> String {
        format!("the file {:?}", options.get_filename())
    }

    fn configure(options: SqliteConnectOptions) -> SqliteConnectOptions {
        options.busy_timeout(BUSY_TIMEOUT).create_if_missing(true)
    }

    fn configure_pool(
        pool: PoolOptions<Self>,
        options: &SqliteConnectOptions,
    ) -> PoolOptions<Self> {
        let file = options.get_filename().to_string_lossy();
        if file.contains(":memory:") || file.contains("sqlx-in-memory") {
            // Each connection to `:memory:` opens a separate database.
            pool.max_connections(1).idle_timeout(None).max_lifetime(None)
        } else {
            pool
        }
    }

    fn column_types(id_type: UserIdType) -> ColumnTypes {
        let user_id = match id_type {
            UserIdType::Text => "TEXT",
            UserIdType::Integer => "INTEGER",
            UserIdType::Uuid => "BLOB",
        };
        ColumnTypes { row_id: "INTEGER PRIMARY KEY", token: "TEXT", user_id: user_id.to_owned() }
    }

    fn statements(names: &Names, format: UserIdFormat) -> Statements {
        let Names { users, users_id, .. } = names;
        // The foreign key compares by the collation of the users id, which may be NOCASE.
        let condition = match format {
            UserIdFormat::Text | UserIdFormat::LaxText => format!(
                "NOT EXISTS (SELECT 1 FROM {users} \
                 WHERE {users_id} = $1 AND {users_id} <> $1 COLLATE BINARY)"
            ),
            _ => "true".to_owned(),
        };
        Statements::with_on_conflict(names, &condition)
    }

    async fn migrate(
        mut connection: PoolConnection<Self>,
        migrations: &Migrations,
    ) -> Result<(), Error> {
        // Two processes that open a new file at once would both create the tables in a deferred
        // transaction.
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        migrations.apply_pending::<Self>(&mut transaction).await?;
        transaction.commit().await
    }

    /// By the extended result code (<https://sqlite.org/rescode.html>), which its lower eight bits
    /// determine.
    fn classify(error: &dyn DatabaseError) -> Option<(StoreErrorKind, &'static str)> {
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
        use StoreErrorKind::{Corrupt, Other, ReadOnly, Unavailable};
        if Self::is_missing_table(error) {
            return Some((Other, advice::TABLE));
        }
        Some(match error.code()?.parse::<u32>().ok()? & 0xff {
            BUSY | LOCKED => (Unavailable, advice::CONFLICT),
            NOMEM | INTERRUPT | IOERR | FULL | PROTOCOL => {
                (Unavailable, "the file cannot be read or written; look at the disk")
            }
            CANTOPEN => (Unavailable, "the file cannot be opened; check its path and permissions"),
            CORRUPT | NOTADB => (Corrupt, "the file is not a valid database; restore a backup"),
            READONLY => (ReadOnly, "the file can only be read; check its permissions"),
            _ => return None,
        })
    }

    fn is_missing_table(error: &dyn DatabaseError) -> bool {
        // It has no code of its own.
        error.message().starts_with("no such table")
    }
}
