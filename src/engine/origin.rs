use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Stamp, millis};

/// How often the service is asked whether it answers at all.
const PROBE: Duration = Duration::from_secs(10);

/// Whether the service answers anybody: what a session's own silence is held against.
#[derive(Debug)]
pub(crate) struct Origin {
    /// As long as a good answer counts.
    fresh: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    good: Option<Stamp>,
    probed: Option<Stamp>,
}

impl Origin {
    /// Good answers count for two polls at this interval, each of which may take its 3 s.
    pub(crate) fn new(poll_interval: Duration) -> Self {
        Self { fresh: poll_interval * 2 + Duration::from_secs(6), state: Mutex::default() }
    }

    /// A call sent at this moment was answered well.
    pub(crate) fn answered(&self, sent: Stamp) {
        self.state().good = Some(sent);
    }

    pub(crate) fn answers(&self, now: Stamp) -> bool {
        self.state().good.is_some_and(|good| good.age(now) < millis(self.fresh))
    }

    /// Whether to ask now; whoever is told so, asks.
    pub(crate) fn wants_probe(&self, now: Stamp) -> bool {
        if self.answers(now) {
            return false;
        }
        let mut state = self.state();
        let wants = state.probed.is_none_or(|probed| probed.age(now) >= millis(PROBE));
        if wants {
            state.probed = Some(now);
        }
        wants
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock, so what a poisoned one holds is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
