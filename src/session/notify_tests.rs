//! Unit tests in a separate file, because loom tests compile the tested file, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use crate::session::notify::{Notifies, WakerList, Watcher};

#[derive(Default)]
struct Flag {
    set: AtomicUsize,
    watchers: WakerList,
}

impl Notifies for Arc<Flag> {
    fn watchers(&self) -> &WakerList {
        &self.watchers
    }
}

/// T081: the value changes between the check and the registration of the waker.
#[test]
fn change_while_registering_is_seen() {
    let mut watch = Watcher::new(Arc::new(Flag::default()));
    let mut seen = std::pin::pin!(watch.wait_for(|flag| {
        let was_set = flag.set.swap(1, Ordering::SeqCst) == 1;
        flag.watchers.wake();
        was_set.then_some(())
    }));
    // The first poll must be ready: no wake follows.
    assert!(seen.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
}

#[tokio::test]
async fn wake_reaches_all_watchers_and_frees_slots() {
    let flag = Arc::new(Flag::default());
    let waiters: Vec<_> = (0..100)
        .map(|_| {
            let mut watch = Watcher::new(flag.clone());
            tokio::spawn(async move {
                watch.wait_for(|flag| (flag.set.load(Ordering::SeqCst) == 1).then_some(())).await;
            })
        })
        .collect();
    while flag.watchers.waiting() < 100 {
        tokio::task::yield_now().await;
    }
    flag.watchers.wake();
    flag.set.store(1, Ordering::SeqCst);
    flag.watchers.wake();
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert_eq!(flag.watchers.places(), 0);
    // Freed slots are reused.
    let mut watches: Vec<_> = (0..3).map(|_| Watcher::new(flag.clone())).collect();
    for watch in &mut watches {
        watch.register(&Context::from_waker(Waker::noop()));
    }
    watches.pop();
    let mut again = Watcher::new(flag.clone());
    again.register(&Context::from_waker(Waker::noop()));
    assert_eq!((flag.watchers.waiting(), flag.watchers.places()), (3, 3));
}
