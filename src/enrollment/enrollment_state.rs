use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::enrollment::grants::Grants;
#[cfg(feature = "axum")]
use crate::enrollment::pending_registrations::PendingRegistrations;
use crate::enrollment::sms_rate_limiter::SmsRateLimiter;

/// What one engine knows of enrollments: grants, SMS limits, pages that wait for a phone.
pub(crate) struct EnrollmentState {
    pub(crate) grants: Grants,
    sms_limiter: Mutex<SmsRateLimiter>,
    #[cfg(feature = "axum")]
    pub(crate) registrations: PendingRegistrations,
}

impl EnrollmentState {
    pub(crate) fn new() -> Self {
        Self {
            grants: Grants::default(),
            sms_limiter: Mutex::new(SmsRateLimiter::new()),
            #[cfg(feature = "axum")]
            registrations: PendingRegistrations::new(),
        }
    }

    pub(crate) fn lock_sms_limiter(&self) -> MutexGuard<'_, SmsRateLimiter> {
        // Nothing that can panic runs under the lock, so a poisoned one holds whole counts.
        self.sms_limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
