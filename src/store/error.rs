use std::error::Error;
use std::fmt;

/// An error of a store. Opaque: it keeps its source and has a [`StoreError::kind`].
///
/// ```
/// use tower_activeconnect::store::{StoreError, StoreErrorKind};
///
/// let error = StoreError::new(std::io::Error::other("the disk is gone"));
/// assert_eq!(error.kind(), StoreErrorKind::Other);
/// ```
pub struct StoreError {
    kind: StoreErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The kind of a store's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store cannot be reached at the moment.
    Unavailable,
    /// The stored data is not valid.
    Corrupt,
    /// The store only reads.
    ReadOnly,
    /// There is no such user in the application's users table.
    NoSuchUser,
    /// Anything else; see the source.
    Other,
}

impl StoreError {
    /// Keeps any error as the source, of kind [`StoreErrorKind::Other`].
    pub fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: StoreErrorKind::Other, source: Some(source.into()) }
    }

    /// An error without a source.
    #[must_use]
    pub fn from_kind(kind: StoreErrorKind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn timed_out() -> Self {
        Self::new("the token store did not answer in time").with_kind(StoreErrorKind::Unavailable)
    }

    /// Sets the kind of the error.
    #[must_use]
    pub fn with_kind(mut self, kind: StoreErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

crate::error_debug::debug_as_message!(StoreError);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::Unavailable => "the store cannot be reached; try again later",
            StoreErrorKind::Corrupt => "the stored data is not valid",
            StoreErrorKind::ReadOnly => {
                "the store only reads, so no user can be enrolled; implement TokenStore::assign and \
                 TokenStore::remove, or connect to a database that accepts writes"
            }
            StoreErrorKind::NoSuchUser => {
                "the users table has no such user; insert the user's row before enrolling"
            }
            StoreErrorKind::Other => "the store failed",
        })
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
