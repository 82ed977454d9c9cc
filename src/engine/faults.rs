//! Faults of the service and of the token store that keep users out: what the operator is told.

use std::collections::HashMap;
use std::fmt;
use std::mem::{Discriminant, discriminant};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Engine;
use super::attempts::LoginError;
use super::events::EventKind;
use super::warning_limiter::WarningLimiter;
use crate::client::ClientErrorKind;
use crate::store::{StoreError, StoreErrorKind};

/// How often each kind of fault is told.
const FAULT_INTERVAL: Duration = Duration::from_secs(60);

/// What keeps users out though they did nothing wrong; [`EventKind::Fault`] tells.
///
/// ```
/// use tower_activeconnect::{ClientErrorKind, Event, EventKind, Fault};
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
enum FaultKind {
    Service(Discriminant<ClientErrorKind>),
    TokenStore(Discriminant<StoreErrorKind>),
}

/// When each kind of fault was told last.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<HashMap<FaultKind, WarningLimiter>>);

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
    fn kind(self) -> FaultKind {
        match self {
            Self::Service(kind) => FaultKind::Service(discriminant(&kind)),
            Self::TokenStore(kind) => FaultKind::TokenStore(discriminant(&kind)),
        }
    }
}

impl Engine {
    /// A login came to nothing. What only its user has to do with, such as a phone that is not
    /// registered, is no fault.
    pub(super) fn report_failed_login(&self, error: &LoginError) {
        match error {
            LoginError::Service(error) if error.kind() != ClientErrorKind::NoMobileDevice => {
                if let Some(suppressed) = self.report_fault(Fault::Service(error.kind())) {
                    tracing::warn!(
                        %error,
                        suppressed,
                        "the service began no login; the user sees a phone that does not ring"
                    );
                }
            }
            LoginError::Store(error) => self.report_store_fault(error.as_ref()),
            _ => {}
        }
    }

    /// The token store failed, or without an error did not answer in time.
    pub(crate) fn report_store_fault(&self, error: Option<&StoreError>) {
        let kind = error.map_or(StoreErrorKind::Unavailable, StoreError::kind);
        if let Some(suppressed) = self.report_fault(Fault::TokenStore(kind)) {
            let in_time = "it did not answer in time";
            let error = error.map_or_else(|| in_time.to_owned(), StoreError::to_string);
            tracing::warn!(
                %error,
                suppressed,
                "the token store failed: logins, and sessions that were not used for a minute, are \
                 refused; check the database that it asks"
            );
        }
    }

    /// Tells of the fault if it is time; then also how many of its kind were suppressed.
    fn report_fault(&self, fault: Fault) -> Option<u64> {
        let suppressed = {
            // What a poisoned one holds is whole: an entry is there or not.
            let mut faults = self.faults.0.lock().unwrap_or_else(PoisonError::into_inner);
            faults.entry(fault.kind()).or_default().admit(self.now().mono, FAULT_INTERVAL)?
        };
        self.send_event(EventKind::Fault(fault));
        Some(suppressed)
    }
}
