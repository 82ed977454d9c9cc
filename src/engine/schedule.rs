use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

use super::session::Session;

/// Which session the poller looks at when. Parked sessions are not in it.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    heap: Mutex<BinaryHeap<Entry>>,
    earlier: Notify,
}

#[derive(Debug)]
struct Entry {
    at: u64,
    session: Weak<Session>,
}

impl Schedule {
    /// Looks at the session at this time, and at no other.
    pub(crate) fn set(&self, session: &Arc<Session>, at: u64) {
        session.due.store(at, SeqCst);
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = heap.peek().is_none_or(|first| at < first.at);
        heap.push(Entry { at, session: Arc::downgrade(session) });
        drop(heap);
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// A session that is due, or when the next will be.
    pub(crate) fn pop(&self, now: u64) -> Result<Arc<Session>, Option<u64>> {
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match heap.peek() {
                None => return Err(None),
                Some(first) if first.at > now => return Err(Some(first.at)),
                Some(_) => {}
            }
            let Some(Entry { at, session }) = heap.pop() else { return Err(None) };
            // An entry that was set again since is void.
            if let Some(session) =
                session.upgrade().filter(|session| session.due.load(SeqCst) == at)
            {
                session.due.store(u64::MAX, SeqCst);
                return Ok(session);
            }
        }
    }

    /// Waits until something is due earlier than what was first before.
    pub(crate) async fn earlier(&self) {
        self.earlier.notified().await;
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
