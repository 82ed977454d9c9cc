use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Those who wait for a change: wakers only, no state of their own. Whoever waits registers first
/// and looks at the state after, so that no change falls between.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    count: AtomicUsize,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// Something that can be watched.
pub(crate) trait Watched {
    fn watchers(&self) -> &Watchers;
}

impl Watchers {
    /// How many [`Watch`]es exist.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Wakes everyone who waits.
    pub(crate) fn wake(&self) {
        let woken: Vec<Waker> = self.slots().wakers.iter_mut().filter_map(Option::take).collect();
        // Outside the lock: waking runs other people's code.
        woken.into_iter().for_each(Waker::wake);
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        // Nothing that can panic runs under the lock, so what a poisoned one holds is whole.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the watchers, taken from its making to its drop; waits for nothing until
/// [`Watch::register`].
#[derive(Debug)]
pub(crate) struct Watch<T: Watched> {
    watched: T,
    slot: Option<usize>,
}

impl<T: Watched> Watch<T> {
    pub(crate) fn new(watched: T) -> Self {
        watched.watchers().count.fetch_add(1, Ordering::SeqCst);
        Self { watched, slot: None }
    }

    pub(crate) fn get(&self) -> &T {
        &self.watched
    }

    /// Has this task woken at the next change.
    pub(crate) fn register(&mut self, cx: &Context<'_>) {
        // Cloned before the lock and dropped after it: both run other people's code.
        let waker = cx.waker().clone();
        let mut slots = self.watched.watchers().slots();
        let slot = *self.slot.get_or_insert_with(|| {
            slots.free.pop().unwrap_or_else(|| {
                slots.wakers.push(None);
                slots.wakers.len() - 1
            })
        });
        let before = slots.wakers[slot].replace(waker);
        drop(slots);
        drop(before);
    }

    /// Waits until `look` finds what it looks for; it is asked again after each change.
    ///
    /// Cancel safe: nothing is consumed.
    pub(crate) async fn until<R>(&mut self, mut look: impl FnMut(&T) -> Option<R>) -> R {
        std::future::poll_fn(|cx| {
            if let Some(found) = look(&self.watched) {
                return Poll::Ready(found);
            }
            self.register(cx);
            look(&self.watched).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl<T: Watched> Drop for Watch<T> {
    fn drop(&mut self) {
        let watchers = self.watched.watchers();
        if let Some(slot) = self.slot {
            let mut slots = watchers.slots();
            let waker = slots.wakers[slot].take();
            slots.free.push(slot);
            drop(slots);
            drop(waker);
        }
        watchers.count.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<T: Watched> Unpin for Watch<T> {}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Default)]
    struct Flag {
        set: AtomicUsize,
        watchers: Watchers,
    }

    impl Watched for Arc<Flag> {
        fn watchers(&self) -> &Watchers {
            &self.watchers
        }
    }

    /// T081: the change falls between the look that found nothing and the registration.
    #[test]
    fn a_change_while_registering_is_seen() {
        let mut watch = Watch::new(Arc::new(Flag::default()));
        let mut seen = std::pin::pin!(watch.until(|flag| {
            let was_set = flag.set.swap(1, Ordering::SeqCst) == 1;
            flag.watchers.wake();
            was_set.then_some(())
        }));
        // Polled once: nobody would wake it for a second time.
        assert!(seen.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }

    #[tokio::test]
    async fn all_are_woken_and_leave_nothing_behind() {
        let flag = Arc::new(Flag::default());
        let waiters: Vec<_> = (0..100)
            .map(|_| {
                let mut watch = Watch::new(flag.clone());
                tokio::spawn(async move {
                    watch.until(|flag| (flag.set.load(Ordering::SeqCst) == 1).then_some(())).await;
                })
            })
            .collect();
        while flag.watchers.slots().wakers.iter().flatten().count() < 100 {
            tokio::task::yield_now().await;
        }
        flag.watchers.wake();
        flag.set.store(1, Ordering::SeqCst);
        flag.watchers.wake();
        for waiter in waiters {
            waiter.await.unwrap();
        }
        assert_eq!(flag.watchers.count(), 0);
        assert_eq!(flag.watchers.slots().free.len(), 100);
        // Places are used again.
        let mut again = Watch::new(flag.clone());
        again.register(&Context::from_waker(Waker::noop()));
        assert_eq!(flag.watchers.slots().wakers.len(), 100);
    }
}
