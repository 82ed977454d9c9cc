use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::session::notify::{Notifies, WakerList, Watcher};

/// Whether the engine shuts down or has stopped, and the tasks that wait for that.
#[derive(Debug, Default)]
pub(crate) struct Shutdown {
    is_started: AtomicBool,
    watchers: WakerList,
}

impl Shutdown {
    /// Starts the shutdown: no login starts from now on.
    pub(super) fn start(&self) {
        self.is_started.store(true, Ordering::Release);
        self.watchers.wake();
    }

    /// Whether no attempt and no session goes on.
    pub(crate) fn is_started(&self) -> bool {
        self.is_started.load(Ordering::Acquire)
    }

    /// Waits until the shutdown starts.
    ///
    /// Cancel safe: nothing is consumed.
    pub(crate) async fn wait(self: &Arc<Self>) {
        let mut watcher = Watcher::new(self.clone());
        watcher.wait_for(|shutdown| shutdown.is_started().then_some(())).await;
    }
}

impl Notifies for Arc<Shutdown> {
    fn watchers(&self) -> &WakerList {
        &self.watchers
    }
}
