use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tower_activeconnect::Secret;

use super::AcceptedDialects;
use super::state::State;
use crate::clock::unix_millis;

/// What the emulator was started with.
pub(super) struct Settings {
    pub(super) application_id: String,
    pub(super) application_secret: Secret,
    pub(super) dialects: AcceptedDialects,
    pub(super) pending_timeout_ms: u64,
    pub(super) clock_tolerance_s: u64,
    pub(super) flat_status: bool,
}

/// What all requests share.
pub(super) struct AppState {
    pub(super) settings: Settings,
    state: Mutex<State>,
    clock_offset_s: AtomicI64,
}

/// The last moment that a `Date` can name: the end of the year 9999.
const LAST_DATE_S: u64 = 253_402_300_799;

impl AppState {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, state: Mutex::default(), clock_offset_s: AtomicI64::new(0) }
    }

    /// A panic elsewhere leaves counters and statuses that are still worth reading.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The moment of everything but signatures, in Unix milliseconds: comparable with the clock of
    /// a test that measures.
    pub(super) fn now(&self) -> u64 {
        unix_millis()
    }

    /// The moment by the service's own clock, in Unix seconds: timestamps of signatures are held
    /// against it.
    pub(super) fn now_s(&self) -> u64 {
        let offset_s = self.clock_offset_s.load(Ordering::Relaxed);
        (self.now() / 1000).saturating_add_signed(offset_s).min(LAST_DATE_S)
    }

    pub(super) fn set_clock_offset(&self, offset_s: i64) {
        self.clock_offset_s.store(offset_s, Ordering::Relaxed);
    }
}
