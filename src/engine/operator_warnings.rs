//! Log lines about mistakes in the application's setup, each limited so that clients cannot flood
//! the log.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::MonoTime;
use crate::events::event::Limit;
use crate::events::fault::{Fault, Faults};
use crate::events::warning_limiter::WarningLimiter;

/// The interval of errors about a login page that the gate itself rejects.
const GATED_LOGIN_INTERVAL: Duration = Duration::from_secs(60);
/// The interval of warnings about unread cookies: any client can send them.
const UNREAD_COOKIES_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// The interval of warnings about one limit: rejected clients try again.
const LIMIT_INTERVAL: Duration = Duration::from_secs(1);
/// The interval of reports of one kind of fault.
const FAULT_INTERVAL: Duration = Duration::from_secs(60);

/// Which warnings were logged, and when.
#[derive(Default)]
pub(crate) struct OperatorWarnings {
    missing_client_ip: AtomicBool,
    lost_cookie: AtomicBool,
    missing_runtime: AtomicBool,
    gated_login: WarningLimiter,
    unread_cookies: WarningLimiter,
    limits: [WarningLimiter; Limit::ALL],
    faults: Faults,
}

impl OperatorWarnings {
    /// Warns once that a login starts and the application names no client address.
    #[cfg(feature = "axum")]
    pub(crate) fn warn_missing_client_ip(&self) {
        if !self.missing_client_ip.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "logins are not counted by address; serve the application by \
                 into_make_service_with_connect_info::<SocketAddr>(), or, on a unix socket, by \
                 that of the type that ActiveconnectBuilder::trust_unix_peer was given"
            );
        }
    }

    /// Warns once that a browser on plain http has lost the cookie of its login.
    #[cfg(feature = "axum")]
    pub(crate) fn warn_lost_cookie(&self) {
        if !self.lost_cookie.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a browser that seems to be on plain http did not bring back the cookie of its \
                 login: browsers take no secure cookie from an http address that is not their own \
                 machine's; serve https, or for development set ActiveconnectBuilder::insecure_cookie_name"
            );
        }
    }

    /// Reports once that the engine has lost its runtime.
    pub(super) fn report_missing_runtime(&self) {
        if !self.missing_runtime.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "the tokio runtime that this engine was built on is shut down: no login starts and \
                 no session is polled; call build() on a runtime that lives as long as the server"
            );
        }
    }

    /// Reports that the gate rejected a page to which it sends users, so that none can log in.
    pub(crate) fn report_gated_login(&self, page: &str, reason: &str, now: MonoTime) {
        if let Some(suppressed) = self.gated_login.admit(now, GATED_LOGIN_INTERVAL) {
            tracing::error!(page, reason, suppressed, "the layer turns its own login page away");
        }
    }

    /// Warns that a request has more cookies than are read.
    pub(crate) fn warn_unread_cookies(&self, reason: &str, now: MonoTime) {
        if let Some(suppressed) = self.unread_cookies.admit(now, UNREAD_COOKIES_INTERVAL) {
            tracing::warn!(
                reason,
                suppressed,
                "a request without a session has more cookies than are read"
            );
        }
    }

    /// Whether to report now that this limit is reached; then how many reports were suppressed.
    pub(super) fn admit_limit(&self, limit: Limit, now: MonoTime) -> Option<u64> {
        self.limits[limit as usize].admit(now, LIMIT_INTERVAL)
    }

    /// Whether to report this fault now; then how many of its kind were suppressed.
    pub(super) fn admit_fault(&self, fault: Fault, now: MonoTime) -> Option<u64> {
        // A poisoned lock holds a whole map: an entry exists or does not.
        let mut faults = self.faults.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.entry(fault.kind()).or_default().admit(now, FAULT_INTERVAL)
    }
}
