use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::login::attempts::Attempts;
use crate::login::browser_epochs::BrowserEpochs;
use crate::login::browser_proofs::BrowserProofs;
use crate::login::device::Devices;
use crate::login::login_limits::LoginLimits;
use crate::login::login_rate_limiter::LoginRateLimiter;
use crate::login::push_budget::PushBudget;
use crate::login::unknown_browsers::SeenWarnings;
use crate::secret::Secret;

/// What one engine knows of logins: attempts, devices in use, limits, known browsers.
pub(crate) struct LoginState {
    pub(crate) attempts: Attempts,
    pub(crate) devices: Devices,
    limiter: Mutex<LoginRateLimiter>,
    pub(crate) browser_proofs: BrowserProofs,
    pub(crate) browser_epochs: BrowserEpochs,
    pub(crate) push_budget: PushBudget,
    pub(crate) seen_warnings: SeenWarnings,
}

impl LoginState {
    pub(crate) fn new(
        limits: &LoginLimits,
        push_budget: Option<u32>,
        application_secret: &Secret,
    ) -> Self {
        Self {
            attempts: Attempts::new(),
            devices: Devices::default(),
            limiter: Mutex::new(LoginRateLimiter::new(limits)),
            browser_proofs: BrowserProofs::new(application_secret),
            browser_epochs: BrowserEpochs::default(),
            push_budget: PushBudget::new(push_budget),
            seen_warnings: SeenWarnings::default(),
        }
    }

    pub(crate) fn lock_limiter(&self) -> MutexGuard<'_, LoginRateLimiter> {
        // Nothing that can panic runs under the lock, so a poisoned one holds whole counts.
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
