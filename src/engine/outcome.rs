use crate::sync::{Mutex, MutexGuard, PoisonError};

/// What becomes of an attempt: a result that is taken once, or none. The first end stays.
#[derive(Debug)]
pub(crate) struct Outcome<T, E>(Mutex<Stage<T, E>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage<T, E> {
    /// Being started; then ringing.
    Waiting,
    /// Superseded or given up: to be ended at the service as soon as there is something to end.
    Cancelled,
    /// The user said yes.
    Approved(T),
    /// The browser has its session, or the answer that brings it is on its way.
    Taken(T),
    /// Came to nothing.
    Over(E),
}

impl<T: Clone, E: Clone> Outcome<T, E> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Stage::Waiting))
    }

    pub(crate) fn stage(&self) -> Stage<T, E> {
        self.lock().clone()
    }

    /// There is a result to take; false if nobody waits for one any more.
    pub(crate) fn approve(&self, result: T) -> bool {
        let mut stage = self.lock();
        let waits = matches!(*stage, Stage::Waiting);
        if waits {
            *stage = Stage::Approved(result);
        }
        waits
    }

    /// Takes the result if `hand_over`, which runs under the lock, does. One caller gets it.
    pub(crate) fn take<R>(&self, hand_over: impl FnOnce(&T) -> Option<R>) -> Option<R> {
        let mut stage = self.lock();
        let Stage::Approved(result) = &*stage else { return None };
        let result = result.clone();
        let handed_over = hand_over(&result)?;
        *stage = Stage::Taken(result);
        Some(handed_over)
    }

    /// Gives up. What was taken before is returned: it is the caller's to end.
    pub(crate) fn cancel(&self) -> Option<T> {
        let mut stage = self.lock();
        match &*stage {
            Stage::Taken(result) => return Some(result.clone()),
            Stage::Over(_) => {}
            Stage::Waiting | Stage::Approved(_) | Stage::Cancelled => *stage = Stage::Cancelled,
        }
        None
    }

    /// Ends it unless it is settled already, by its result being taken or otherwise; says whether
    /// it did.
    pub(crate) fn end(&self, why: E) -> bool {
        let mut stage = self.lock();
        let open = !matches!(*stage, Stage::Taken(_) | Stage::Over(_));
        if open {
            *stage = Stage::Over(why);
        }
        open
    }

    fn lock(&self) -> MutexGuard<'_, Stage<T, E>> {
        // Nothing that can panic runs under the lock, so what a poisoned one holds is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
