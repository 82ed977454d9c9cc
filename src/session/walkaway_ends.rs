use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

/// Sessions that ended because the phone walked away and still have to be logged out at the
/// service.
///
/// A session only reports its end here. The poller takes the sessions out, so that a session knows
/// nothing of the engine.
#[derive(Debug)]
pub(crate) struct WalkawayEnds<T> {
    sessions: Mutex<Vec<Weak<T>>>,
    added: Notify,
}

impl<T> Default for WalkawayEnds<T> {
    fn default() -> Self {
        Self { sessions: Mutex::default(), added: Notify::new() }
    }
}

impl<T> WalkawayEnds<T> {
    pub(crate) fn push(&self, session: &Arc<T>) {
        self.lock().push(Arc::downgrade(session));
        self.added.notify_one();
    }

    pub(crate) fn take_all(&self) -> Vec<Arc<T>> {
        let sessions = std::mem::take(&mut *self.lock());
        sessions.iter().filter_map(Weak::upgrade).collect()
    }

    /// Waits until a session was added since the last call returned.
    ///
    /// Cancel safe: an addition is reported by the next call.
    pub(crate) async fn wait_added(&self) {
        self.added.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<T>>> {
        // Nothing that can panic runs under the lock, so a poisoned one holds a whole list.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
