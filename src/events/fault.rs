//! Faults of the service and of the token store that lock users out, for the operator.

use std::collections::HashMap;
use std::fmt;
use std::mem::{Discriminant, discriminant};
use std::sync::Mutex;

use crate::client::ClientErrorKind;
use crate::events::warning_limiter::WarningLimiter;
use crate::store::StoreErrorKind;

/// A fault that locks users out, in [`EventKind::Fault`](crate::events::EventKind::Fault).
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
    /// The service started no login: it is out of reach, the secret is wrong, the clock is off, or
    /// as the kind says.
    Service(ClientErrorKind),
    /// The token store failed, or did not respond in time.
    TokenStore(StoreErrorKind),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum FaultKind {
    Service(Discriminant<ClientErrorKind>),
    TokenStore(Discriminant<StoreErrorKind>),
}

/// When each kind of fault was reported last.
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
    /// Ignores the numbers in a kind: a clock skew differs by a second each time.
    pub(crate) fn kind(self) -> FaultKind {
        match self {
            Self::Service(kind) => FaultKind::Service(discriminant(&kind)),
            Self::TokenStore(kind) => FaultKind::TokenStore(discriminant(&kind)),
        }
    }
}
