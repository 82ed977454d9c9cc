//! Errors of sqlx as errors of a store.

use std::error::Error as StdError;
use std::fmt;

use sqlx::error::{DatabaseError, ErrorKind};
use tower_activeconnect::store::{StoreError, StoreErrorKind};

use crate::dialect::Dialect;

/// Advice for messages that several databases share.
#[cfg_attr(
    not(all(feature = "mysql", feature = "postgres", feature = "sqlite")),
    allow(dead_code, reason = "each database uses some of them")
)]
pub(crate) mod advice {
    pub(crate) const LOGIN: &str =
        "the database rejected the user or the password, or it requires TLS; correct the URL";
    pub(crate) const DATABASE: &str = "the database does not exist; create it or correct the URL";
    pub(crate) const TABLE: &str =
        "a table of the token store is missing; run its migrations and start again";
    pub(crate) const PRIVILEGE: &str =
        "the role lacks a privilege; grant what the documentation of the store lists";
    pub(crate) const READ_ONLY: &str =
        "the server or the session is read-only; connect to one that accepts writes";
    pub(crate) const TIMEOUT: &str =
        "the server cancelled a statement that took too long; look for locks and load";
    pub(crate) const RESTART: &str =
        "the server ended the connection; the next call connects again";
    pub(crate) const TLS: &str =
        "TLS with the database failed; check the certificate, the CA's file and the host name";
    pub(crate) const CONNECTIONS: &str =
        "the server has no connection left; raise its limit or make pools smaller";
    pub(crate) const CONFLICT: &str =
        "another transaction was in the way; the next call can succeed";
    pub(crate) const USERS_TABLE: &str =
        "the users table has no such id column; create it first, or set its name and type";
}

/// An error of sqlx with advice for the operator.
#[derive(Debug)]
struct SqlError {
    advice: String,
    source: sqlx::Error,
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.advice)
    }
}

impl StdError for SqlError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.source)
    }
}

/// The store's error for an error of the database.
pub(crate) fn store_error<B: Dialect>(error: sqlx::Error) -> StoreError {
    // A message of this crate or of a URL's parser, without sqlx's words before it.
    if let sqlx::Error::Configuration(error) = error {
        return StoreError::new(error);
    }
    let (kind, advice) = classify::<B>(&error);
    match advice {
        Some(advice) => with_advice(kind, advice, error),
        None => StoreError::new(error).with_kind(kind),
    }
}

/// As [`store_error`], for a database that could not be opened.
pub(crate) fn cannot_open<B: Dialect>(location: &str, error: sqlx::Error) -> StoreError {
    let (kind, advice) = classify::<B>(&error);
    let advice = advice.unwrap_or("check that it runs and that the URL is right");
    with_advice(kind, &format!("{location} cannot be opened: {advice}"), error)
}

/// The error of a migration that refers to a users table which does not exist.
pub(crate) fn missing_users_table(error: sqlx::Error) -> StoreError {
    with_advice(StoreErrorKind::Other, advice::USERS_TABLE, error)
}

pub(crate) fn corrupt(error: impl Into<Box<dyn StdError + Send + Sync>>) -> StoreError {
    StoreError::new(error).with_kind(StoreErrorKind::Corrupt)
}

pub(crate) fn timed_out() -> StoreError {
    StoreError::new("the database did not respond in time").with_kind(StoreErrorKind::Unavailable)
}

fn with_advice(kind: StoreErrorKind, advice: &str, source: sqlx::Error) -> StoreError {
    StoreError::new(SqlError { advice: advice.to_owned(), source }).with_kind(kind)
}

pub(crate) fn is_missing_table<B: Dialect>(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(B::is_missing_table)
}

fn classify<B: Dialect>(error: &sqlx::Error) -> (StoreErrorKind, Option<&'static str>) {
    use sqlx::Error;
    match error {
        Error::Database(error) => classify_code::<B>(error.as_ref()),
        Error::PoolTimedOut => {
            let advice = "no connection became free in time: the server is down, or other tasks \
                          hold all connections of the pool";
            (StoreErrorKind::Unavailable, Some(advice))
        }
        Error::PoolClosed => {
            (StoreErrorKind::Unavailable, Some("the application has closed the pool"))
        }
        // sqlx has no other sign of a certificate that rustls rejects.
        Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            (StoreErrorKind::Unavailable, Some(advice::TLS))
        }
        Error::Io(_) => {
            (StoreErrorKind::Unavailable, Some("the connection to the database failed"))
        }
        Error::Tls(_) => (StoreErrorKind::Unavailable, Some(advice::TLS)),
        Error::WorkerCrashed => (StoreErrorKind::Unavailable, None),
        Error::Protocol(_) => (StoreErrorKind::Unavailable, Some(advice::RESTART)),
        Error::Decode(_) | Error::ColumnDecode { .. } => (StoreErrorKind::Corrupt, None),
        _ => (StoreErrorKind::Other, None),
    }
}

fn classify_code<B: Dialect>(error: &dyn DatabaseError) -> (StoreErrorKind, Option<&'static str>) {
    if error.kind() == ErrorKind::ForeignKeyViolation {
        return (StoreErrorKind::NoSuchUser, None);
    }
    match B::classify(error) {
        Some((kind, advice)) => (kind, Some(advice)),
        None => (StoreErrorKind::Other, None),
    }
}
