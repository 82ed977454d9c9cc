use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tower_activeconnect::Secret;

use super::AcceptedDialects;
use super::state::State;
use crate::clock::unix_millis;

/// The settings of the emulator.
pub(super) struct Settings {
    pub(super) application_id: String,
    pub(super) application_secret: Secret,
    pub(super) dialects: AcceptedDialects,
    pub(super) pending_timeout_ms: u64,
    pub(super) clock_tolerance_s: u64,
    pub(super) flat_status: bool,
}

/// The state that all requests share.
pub(super) struct AppState {
    pub(super) settings: Settings,
    state: Mutex<State>,
    clock_offset_s: AtomicI64,
}

/// The last time that a `Date` can express: the end of the year 9999.
const LAST_DATE_S: u64 = 253_402_300_799;

impl AppState {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, state: Mutex::default(), clock_offset_s: AtomicI64::new(0) }
    }

    /// Locks the state. After a panic in another thread, counters and statuses are still readable.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The real time in Unix milliseconds, for everything but signatures. A test that measures can
    /// compare it with its own clock.
    pub(super) fn now(&self) -> u64 {
        unix_millis()
    }

    /// The time of the service's clock in Unix seconds, which timestamps of signatures are compared
    /// with.
    pub(super) fn now_s(&self) -> u64 {
        let offset_s = self.clock_offset_s.load(Ordering::Relaxed);
        (self.now() / 1000).saturating_add_signed(offset_s).min(LAST_DATE_S)
    }

    pub(super) fn set_clock_offset(&self, offset_s: i64) {
        self.clock_offset_s.store(offset_s, Ordering::Relaxed);
    }
}
