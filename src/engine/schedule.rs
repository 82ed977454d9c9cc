use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use super::session::Session;
use crate::clock::Timestamp;

/// The `due` of a session that the poller need not look at.
pub(crate) const UNSCHEDULED: u64 = u64::MAX;

/// Which session the poller looks at when. Parked sessions are not in it.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    heap: Mutex<BinaryHeap<Entry>>,
    head_changed: Notify,
}

#[derive(Debug)]
struct Entry {
    at: u64,
    session: Weak<Session>,
}

impl Schedule {
    /// Looks at the session when it next needs it, and at no other time.
    ///
    /// When that is, is asked under the lock: of two callers the one that knows more is the last.
    pub(crate) fn reschedule(&self, session: &Arc<Session>, now: Timestamp) {
        let mut heap = self.heap();
        let Some(at) = session.schedule_next(now) else { return };
        let is_first = heap.peek().is_none_or(|first| at < first.at);
        heap.push(Entry { at, session: Arc::downgrade(session) });
        drop(heap);
        if is_first {
            self.head_changed.notify_one();
        }
    }

    /// A session that is due, or when the next will be.
    pub(crate) fn pop(&self, now: Timestamp) -> Result<Arc<Session>, Option<u64>> {
        let mut heap = self.heap();
        loop {
            match heap.peek() {
                None => return Err(None),
                Some(first) if first.at > now.mono => return Err(Some(first.at)),
                Some(_) => {}
            }
            let Some(Entry { at, session }) = heap.pop() else { return Err(None) };
            // An entry whose session was reset since is void.
            if let Some(session) = session.upgrade().filter(|session| session.is_due(at)) {
                return Ok(session);
            }
        }
    }

    fn heap(&self) -> MutexGuard<'_, BinaryHeap<Entry>> {
        // Nothing that can panic runs under the lock, so what a poisoned one holds is whole.
        self.heap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many entries there are, void ones too.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap().len()
    }

    /// Waits until something is due earlier than what was first before.
    pub(crate) async fn wait_head_changed(&self) {
        self.head_changed.notified().await;
    }
}

impl Ord for Entry {
    /// The earliest is the greatest: `BinaryHeap` gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}
