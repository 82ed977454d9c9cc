//! Faults of the service and of the token store that keep users out: what the operator is told.

use std::collections::HashMap;
use std::fmt;
use std::mem::{Discriminant, discriminant};
use std::sync::Mutex;

use crate::client::ClientErrorKind;
use crate::events::warning_limiter::WarningLimiter;
use crate::store::StoreErrorKind;

/// What keeps users out though they did nothing wrong; [`EventKind::Fault`](crate::events::EventKind::Fault) tells.
///
/// ```
/// use tower_activeconnect::client::ClientErrorKind;
/// use tower_activeconnect::events::{Event, EventKind, Fault};
///
/// fn alert(event: &Event) -> Option<String> {
///     match event.kind {
///         EventKind::Fault(Fault::Service(ClientErrorKind::SignatureRejected)) => {
///             Some("is the application's secret still the right one?".to_owned())
///         }
///         EventKind::Fault(fault) => Some(format!("no user can log in: {fault}")),
///         _ => None,
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The service began no login: out of reach, a wrong secret, a clock that is off, or whatever else
    /// the kind says.
    Service(ClientErrorKind),
    /// The token store failed, or did not answer in time.
    TokenStore(StoreErrorKind),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum FaultKind {
    Service(Discriminant<ClientErrorKind>),
    TokenStore(Discriminant<StoreErrorKind>),
}

/// When each kind of fault was told last.
#[derive(Debug, Default)]
pub(crate) struct Faults(pub(crate) Mutex<HashMap<FaultKind, WarningLimiter>>);

impl fmt::Display for Fault {
    /// A name for logs and tables: `service: Unreachable`, `token store: Unavailable`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(kind) => write!(f, "service: {kind:?}"),
            Self::TokenStore(kind) => write!(f, "token store: {kind:?}"),
        }
    }
}

impl Fault {
    /// The numbers in a kind make no other kind: a clock that is off is so by another second each time.
    pub(crate) fn kind(self) -> FaultKind {
        match self {
            Self::Service(kind) => FaultKind::Service(discriminant(&kind)),
            Self::TokenStore(kind) => FaultKind::TokenStore(discriminant(&kind)),
        }
    }
}
