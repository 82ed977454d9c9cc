use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::plan;
use crate::clock::{Stamp, millis};
use crate::verdict::Others;

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
    /// Good answers count for two polls at this interval, or one after the breaker's longest
    /// pause; each may take its 3 s.
    pub(crate) fn new(poll_interval: Duration) -> Self {
        let fresh = (poll_interval * 2).max(plan::LONGEST) + Duration::from_secs(6);
        Self { fresh, state: Mutex::default() }
    }

    /// A call sent at this moment was answered well.
    pub(crate) fn answered(&self, sent: Stamp) {
        self.state().good = Some(sent);
    }

    pub(crate) fn others(&self, now: Stamp) -> Others {
        let answered = self.state().good;
        let lately = answered.is_some_and(|good| good.age(now) < millis(self.fresh));
        Others { answered, lately }
    }

    /// Whether to ask now; whoever is told so, asks. `since` is the moment from which an answer to
    /// others would say something.
    pub(crate) fn wants_probe(&self, now: Stamp, since: Stamp) -> bool {
        let mut state = self.state();
        let is_known = state.good.is_some_and(|good| good.mono >= since.mono);
        let is_asked = state.probed.is_some_and(|probed| probed.age(now) < millis(PROBE));
        if is_known || is_asked {
            return false;
        }
        state.probed = Some(now);
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock, so what a poisoned one holds is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
