//! How faults of the service and of the token store are told.

use std::sync::PoisonError;
use std::time::Duration;

use crate::client::ClientErrorKind;
use crate::engine::state::Engine;
use crate::events::event::EventKind;
use crate::events::fault::Fault;
use crate::login::attempts::LoginError;
use crate::store::StoreError;

/// How often each kind of fault is told.
const FAULT_INTERVAL: Duration = Duration::from_secs(60);

impl Engine {
    /// A login came to nothing. What only its user has to do with, such as a phone that is not
    /// registered, is no fault.
    pub(super) fn report_failed_login(&self, error: &LoginError) {
        match error {
            LoginError::Service(error) if error.kind() != ClientErrorKind::NoMobileDevice => {
                if let Some(suppressed) = self.report_fault(Fault::Service(error.kind())) {
                    tracing::warn!(
                        ?error,
                        suppressed,
                        "the service began no login; the user sees a phone that does not ring"
                    );
                }
            }
            LoginError::Store(error) => self.report_store_fault(error),
            _ => {}
        }
    }

    /// The token store failed.
    pub(crate) fn report_store_fault(&self, error: &StoreError) {
        if let Some(suppressed) = self.report_fault(Fault::TokenStore(error.kind())) {
            tracing::warn!(
                ?error,
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
