use std::num::NonZeroU32;
use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The wakers of tasks that wait for a change. A waiter registers first and reads the state after,
/// so that no change falls between.
///
/// Without waiters the list is an empty pointer.
#[derive(Debug, Default)]
pub(crate) struct WakerList {
    slots: Mutex<Option<Box<WakerSlots>>>,
}

#[derive(Debug, Default)]
struct WakerSlots {
    wakers: Vec<Option<Waker>>,
    free: Vec<NonZeroU32>,
}

/// A value that can be watched.
pub(crate) trait Notifies {
    fn watchers(&self) -> &WakerList;

    /// Called when a watcher is dropped.
    fn on_watcher_dropped(&self) {}
}

impl WakerList {
    /// Wakes all waiters.
    pub(crate) fn wake(&self) {
        let woken: Vec<Waker> = match self.slots().as_mut() {
            Some(slots) => slots.wakers.iter_mut().filter_map(Option::take).collect(),
            None => return,
        };
        // Outside the lock: waking runs other people's code.
        woken.into_iter().for_each(Waker::wake);
    }

    /// How many tasks wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.slots().iter().flat_map(|slots| &slots.wakers).flatten().count()
    }

    /// How many slots exist, free ones too.
    #[cfg(test)]
    pub(crate) fn places(&self) -> usize {
        self.slots().as_ref().map_or(0, |slots| slots.wakers.len())
    }

    fn slots(&self) -> MutexGuard<'_, Option<Box<WakerSlots>>> {
        // Nothing that can panic runs under the lock, so a poisoned one holds a whole value.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot among the watchers, from its creation to its drop; it waits for nothing until
/// [`Watcher::register`].
#[derive(Debug)]
pub(crate) struct Watcher<T: Notifies> {
    watched: T,
    /// The number of the slot, counted from one.
    slot: Option<NonZeroU32>,
}

impl<T: Notifies> Watcher<T> {
    pub(crate) fn new(watched: T) -> Self {
        Self { watched, slot: None }
    }

    pub(crate) fn get(&self) -> &T {
        &self.watched
    }

    /// Registers this task to be woken at the next change.
    pub(crate) fn register(&mut self, cx: &Context<'_>) {
        // Cloned before the lock and dropped after it: both run code of the executor.
        let waker = cx.waker().clone();
        let mut guard = self.watched.watchers().slots();
        let slots = guard.get_or_insert_default();
        let slot = *self.slot.get_or_insert_with(|| {
            slots.free.pop().unwrap_or_else(|| {
                slots.wakers.push(None);
                let number = slots.wakers.len().try_into().ok().and_then(NonZeroU32::new);
                number.unwrap_or(NonZeroU32::MAX)
            })
        });
        let before = slots.wakers[place(slot)].replace(waker);
        drop(guard);
        drop(before);
    }

    /// Waits until `read` returns a value; it is called again after each change.
    ///
    /// Cancel safe: nothing is consumed.
    pub(crate) async fn wait_for<R>(&mut self, mut read: impl FnMut(&T) -> Option<R>) -> R {
        std::future::poll_fn(|cx| {
            if let Some(found) = read(&self.watched) {
                return Poll::Ready(found);
            }
            self.register(cx);
            read(&self.watched).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// The index of a slot.
fn place(slot: NonZeroU32) -> usize {
    slot.get() as usize - 1
}

impl<T: Notifies> Drop for Watcher<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            let mut guard = self.watched.watchers().slots();
            let mut waker = None;
            if let Some(slots) = guard.as_mut() {
                waker = slots.wakers[place(slot)].take();
                slots.free.push(slot);
                if slots.free.len() == slots.wakers.len() {
                    *guard = None;
                }
            }
            drop(guard);
            drop(waker);
        }
        self.watched.on_watcher_dropped();
    }
}

impl<T: Notifies> Unpin for Watcher<T> {}
