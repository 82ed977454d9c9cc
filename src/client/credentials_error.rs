//! Errors of credentials.

use std::fmt;

use crate::protocol::UnknownDialect;

/// Why credentials were rejected; the message says what to change.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialsError {
    /// An environment variable is not set.
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// An environment variable is not UTF-8.
    NotUnicode {
        /// Its name.
        name: &'static str,
    },
    /// `ACTIVE_CONNECT_…` and `IAMPASS_…` are both set.
    ConflictingEnv,
    /// The application id is empty.
    EmptyId,
    /// The application id could split a header.
    InvalidId,
    /// The application secret is empty.
    EmptySecret,
    /// The server is not a URL.
    ServerNotAUrl {
        /// What was given.
        server: String,
        /// What is wrong with it.
        source: url::ParseError,
    },
    /// The server is a URL, but not one to trust with signed calls.
    InvalidServer {
        /// What was given.
        server: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file of certificate authorities cannot be read.
    CaFileUnreadable {
        /// Its path.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// The file of certificate authorities holds none, or one that is malformed.
    CaFileInvalid {
        /// Its path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No dialect has this name.
    UnknownDialect(UnknownDialect),
}

crate::error_debug::debug_as_message!(CredentialsError);

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name } => write!(
                f,
                "{name} is not set; set the application's id and secret as \
                 ACTIVE_CONNECT_APPLICATION_ID and ACTIVE_CONNECT_APPLICATION_SECRET (or the \
                 IAMPASS_… names)"
            ),
            Self::NotUnicode { name } => write!(f, "{name} is not UTF-8 text"),
            Self::ConflictingEnv => f.write_str(
                "variables of both ACTIVE_CONNECT_… and IAMPASS_… are set; use one of the two, \
                 since it also chooses the dialect",
            ),
            Self::EmptyId => f.write_str("the application id is empty"),
            Self::InvalidId => f.write_str(
                "the application id has a character that could split a header; it is printable \
                 ASCII without spaces and colons",
            ),
            Self::EmptySecret => f.write_str("the application secret is empty"),
            Self::ServerNotAUrl { server, .. } => {
                write!(f, "the server {server:?} is not a URL; write https://HOST")
            }
            Self::InvalidServer { server, reason } => {
                write!(f, "the server {server:?} is rejected: {reason}")
            }
            Self::CaFileUnreadable { path, reason } => {
                write!(f, "the CA file {path:?} cannot be read: {reason}")
            }
            Self::CaFileInvalid { path, reason } => write!(
                f,
                "the CA file {path:?} is rejected: {reason}; give certificates in PEM form \
                 (-----BEGIN CERTIFICATE-----)"
            ),
            Self::UnknownDialect(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CredentialsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::ServerNotAUrl { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<UnknownDialect> for CredentialsError {
    fn from(error: UnknownDialect) -> Self {
        Self::UnknownDialect(error)
    }
}
