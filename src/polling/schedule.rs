use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::clock::{MonoTime, Timestamp};

/// An item of a schedule: it says itself when it is due next.
pub(crate) trait Scheduled {
    /// Sets when the item is due next; returns the time if it has changed.
    fn schedule_next(&self, now: Timestamp) -> Option<MonoTime>;

    /// Whether the item was due at this time; it no longer is after this call.
    fn is_due(&self, at: MonoTime) -> bool;
}

/// The times at which items are due. A parked session has no entry.
#[derive(Debug)]
pub(crate) struct Schedule<T> {
    heap: Mutex<BinaryHeap<Entry<T>>>,
    head_changed: Notify,
}

#[derive(Debug)]
struct Entry<T> {
    at: MonoTime,
    item: Weak<T>,
}

impl<T> Default for Schedule<T> {
    fn default() -> Self {
        Self { heap: Mutex::default(), head_changed: Notify::new() }
    }
}

impl<T: Scheduled> Schedule<T> {
    /// Sets the item's entry to the time at which it is due next.
    ///
    /// The item is asked under the lock: of two callers, the one with the newer knowledge is the
    /// last.
    pub(crate) fn reschedule(&self, item: &Arc<T>, now: Timestamp) {
        let mut heap = self.heap();
        let Some(at) = item.schedule_next(now) else { return };
        let is_first = heap.peek().is_none_or(|first| at < first.at);
        heap.push(Entry { at, item: Arc::downgrade(item) });
        drop(heap);
        if is_first {
            self.head_changed.notify_one();
        }
    }

    /// An item that is due, or the time of the next one.
    pub(crate) fn pop(&self, now: Timestamp) -> Result<Arc<T>, Option<MonoTime>> {
        let mut heap = self.heap();
        loop {
            match heap.peek() {
                None => return Err(None),
                Some(first) if first.at > now.mono => return Err(Some(first.at)),
                Some(_) => {}
            }
            let Some(Entry { at, item }) = heap.pop() else { return Err(None) };
            // An entry is void if its item was rescheduled since.
            if let Some(item) = item.upgrade().filter(|item| item.is_due(at)) {
                return Ok(item);
            }
        }
    }

    fn heap(&self) -> MutexGuard<'_, BinaryHeap<Entry<T>>> {
        // Nothing that can panic runs under the lock, so a poisoned one holds a whole value.
        self.heap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of entries, void ones too.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap().len()
    }

    /// Waits until an item is due earlier than the first one before.
    pub(crate) async fn wait_head_changed(&self) {
        self.head_changed.notified().await;
    }
}

impl<T> Ord for Entry<T> {
    /// Reversed: `BinaryHeap` returns the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl<T> Eq for Entry<T> {}
