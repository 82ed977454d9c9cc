//! How faults of the service and of the token store are reported.

use crate::client::ClientErrorKind;
use crate::engine::state::Engine;
use crate::events::event::EventKind;
use crate::events::fault::Fault;
use crate::login::login_error::LoginError;
use crate::store::StoreError;

impl Engine {
    /// Reports a failed login. A failure that concerns only its user, such as a phone that is not
    /// registered, is not a fault.
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

    /// Reports a failed call to the token store.
    pub(crate) fn report_store_fault(&self, error: &StoreError) {
        if let Some(suppressed) = self.report_fault(Fault::TokenStore(error.kind())) {
            tracing::warn!(
                ?error,
                suppressed,
                "the token store failed: logins, and sessions that were not used for a minute, are \
                 rejected; check the database that it asks"
            );
        }
    }

    /// Sends the event of the fault if it is time; then also returns how many were suppressed.
    fn report_fault(&self, fault: Fault) -> Option<u64> {
        let suppressed = self.warnings.admit_fault(fault, self.now().mono)?;
        self.send_event(EventKind::Fault(fault));
        Some(suppressed)
    }
}
