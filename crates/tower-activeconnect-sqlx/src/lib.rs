//! Token stores of [`tower_activeconnect`] in the application's own SQL database.
//!
//! | database | store | feature | types of the users' ids |
//! | --- | --- | --- | --- |
//! | PostgreSQL 15 | [`PgTokenStore`] | `postgres` | `text`, `varchar`; `integer`, `bigint`; `uuid` |
//! | MySQL 8, MariaDB 10.11 | [`MySqlTokenStore`] | `mysql` | `varchar`, `char`; every integer; `binary(16)` and MariaDB's `uuid` |
//! | SQLite (bundled) | [`SqliteTokenStore`] | `sqlite` | `TEXT`; `INTEGER`; a `BLOB` of 16 bytes |
//!
//! All three are [`SqlTokenStore`] and have one builder, [`TokenStoreOptions`].
//!
//! # PostgreSQL
//!
#![cfg_attr(feature = "postgres", doc = "```no_run")]
#![cfg_attr(not(feature = "postgres"), doc = "```ignore")]
//! use tower_activeconnect_sqlx::PgTokenStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_activeconnect::store::StoreError> {
//! let store = PgTokenStore::options()
//!     .schema("app")
//!     .integer_user_ids()
//!     .connect("postgres://app:secret@db.example.com/app?sslmode=verify-full&sslrootcert=ca.pem")
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! # MySQL and MariaDB
//!
#![cfg_attr(feature = "mysql", doc = "```no_run")]
#![cfg_attr(not(feature = "mysql"), doc = "```ignore")]
//! use tower_activeconnect_sqlx::MySqlTokenStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_activeconnect::store::StoreError> {
//! let store = MySqlTokenStore::options()
//!     .users_table("user")
//!     .connect("mysql://app:secret@db.example.com/app?ssl-mode=VERIFY_IDENTITY&ssl-ca=ca.pem")
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! # SQLite
//!
#![cfg_attr(feature = "sqlite", doc = "```")]
#![cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
//! use tower_activeconnect::{TokenStore, UserToken};
//! use tower_activeconnect_sqlx::SqliteTokenStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = SqliteTokenStore::open("sqlite::memory:").await?;
//! sqlx::query("CREATE TABLE users (id TEXT PRIMARY KEY)").execute(store.pool()).await?;
//! sqlx::query("INSERT INTO users (id) VALUES ('alice')").execute(store.pool()).await?;
//!
//! let token = UserToken::random()?;
//! store.assign(&"alice".into(), &token).await?;
//! assert_eq!(store.token(&"alice".into()).await?, Some(token));
//! # Ok(())
//! # }
//! ```
//!
//! # Tables
//!
//! The store adds three tables: the tokens, the browser epochs (which record the users whose known
//! browsers are invalidated) and the history of its migrations. It never changes the users table.
//! [`SqlTokenStore::connect`] creates them. An application whose role may not create tables runs the
//! SQL of [`TokenStoreOptions::migrations`] by itself; then the store only checks the version. For
//! PostgreSQL with text ids:
//!
//! ```sql
#![doc = include_str!("../migrations/postgres.sql")]
//! ```
//!
//! For MySQL and MariaDB, `user_id` has the exact type, character set and collation of the users id:
//!
//! ```sql
#![doc = include_str!("../migrations/mysql.sql")]
//! ```
//!
//! For SQLite:
//!
//! ```sql
#![doc = include_str!("../migrations/sqlite.sql")]
//! ```
//!
//! # Privileges
//!
//! The role of the running application needs, after the migrations:
//!
//! | table | PostgreSQL | MySQL, MariaDB |
//! | --- | --- | --- |
//! | `activeconnect_token` | `SELECT, INSERT, DELETE` | `SELECT, INSERT, DELETE` |
//! | `activeconnect_token_browser_epoch` | `SELECT, INSERT, UPDATE` | `SELECT, INSERT, UPDATE` |
//! | `activeconnect_token_migrations` | `SELECT` | `SELECT` |
//! | `users` | none; `SELECT (id)` if its collation is not deterministic | `SELECT (id)` |
//!
//! On PostgreSQL it also needs `USAGE` on the schema. The role that migrates needs `USAGE` and `CREATE`
//! there and `REFERENCES` on the users table; on MySQL and MariaDB `CREATE`, `REFERENCES`, `SELECT`
//! and `INSERT` in the database.
//!
//! # MySQL 8
//!
//! The statements use what MySQL 8 and MariaDB 10.11 have in common, and the tests run on MariaDB
//! 10.11. On MySQL 8 the store would use `max_execution_time` in place of MariaDB's
//! `max_statement_time`. MySQL's `caching_sha2_password` needs TLS (`ssl-mode=REQUIRED` or
//! stricter) for the first login of a user.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod dialect;
mod error;
#[cfg_attr(
    not(any(feature = "mysql", feature = "postgres", feature = "sqlite")),
    allow(dead_code, reason = "only a database uses it")
)]
mod migrations;
#[cfg(feature = "mysql")]
mod mysql;
mod names;
mod options;
#[cfg(feature = "postgres")]
mod postgres;
mod queries;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg_attr(
    not(any(feature = "mysql", feature = "postgres", feature = "sqlite")),
    allow(dead_code, reason = "only a database uses it")
)]
mod statements;
mod token_store;
mod user_id;

pub use options::TokenStoreOptions;
pub use token_store::{Backend, SqlTokenStore};
pub use user_id::UserIdType;

/// A [`SqlTokenStore`] on PostgreSQL.
#[cfg(feature = "postgres")]
pub type PgTokenStore = SqlTokenStore<sqlx::Postgres>;

/// A [`SqlTokenStore`] on MySQL 8 or MariaDB 10.11.
#[cfg(feature = "mysql")]
pub type MySqlTokenStore = SqlTokenStore<sqlx::MySql>;

/// A [`SqlTokenStore`] on SQLite.
#[cfg(feature = "sqlite")]
pub type SqliteTokenStore = SqlTokenStore<sqlx::Sqlite>;
