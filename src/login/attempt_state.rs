use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The outcome of an attempt: a result that becomes one session, or none. The first end stays.
#[derive(Debug)]
pub(crate) struct AttemptState<T, E>(Mutex<State<T, E>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State<T, E> {
    /// Being started; then ringing.
    Pending,
    /// Superseded or cancelled: to be ended at the service as soon as there is a session.
    Cancelled,
    /// The user approved.
    Approved(T),
    /// The browser has its session, or a response with it is on its way.
    Claimed(T),
    /// Came to nothing.
    Failed(E),
}

impl<T: Clone, E: Clone> AttemptState<T, E> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State::Pending))
    }

    pub(crate) fn stage(&self) -> State<T, E> {
        self.lock().clone()
    }

    /// Stores an approved result; false if no client waits for one any more.
    pub(crate) fn approve(&self, result: T) -> bool {
        let mut stage = self.lock();
        let waits = matches!(*stage, State::Pending);
        if waits {
            *stage = State::Approved(result);
        }
        waits
    }

    /// Claims the result. `first` runs for one claim only, until it returns a value; `again` runs
    /// for each later claim. Both run under the lock.
    pub(crate) fn claim<R>(
        &self,
        first: impl FnOnce(&T) -> Option<R>,
        again: impl FnOnce(&T) -> Option<R>,
    ) -> Option<R> {
        let mut stage = self.lock();
        match &*stage {
            State::Approved(result) => {
                let result = result.clone();
                let claimed = first(&result)?;
                *stage = State::Claimed(result);
                Some(claimed)
            }
            State::Claimed(result) => again(result),
            State::Pending | State::Cancelled | State::Failed(_) => None,
        }
    }

    /// Cancels. Returns a result that was claimed already: the caller has to end it.
    pub(crate) fn cancel(&self) -> Option<T> {
        let mut stage = self.lock();
        match &*stage {
            State::Claimed(result) => return Some(result.clone()),
            State::Failed(_) => {}
            State::Pending | State::Approved(_) | State::Cancelled => *stage = State::Cancelled,
        }
        None
    }

    /// Fails the attempt unless it is settled already; returns whether it did.
    pub(crate) fn end(&self, error: E) -> bool {
        let mut stage = self.lock();
        let open = !matches!(*stage, State::Claimed(_) | State::Failed(_));
        if open {
            *stage = State::Failed(error);
        }
        open
    }

    fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        // Nothing that can panic runs under the lock, so a poisoned one holds a whole value.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
