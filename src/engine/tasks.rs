use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// The engine's own tasks. They outlive the requests that caused them, and end with the engine.
#[derive(Debug)]
pub(crate) struct Tasks {
    runtime: Handle,
    /// `None` once stopped: nothing begins after the end.
    running: Mutex<Option<JoinSet<()>>>,
}

impl Tasks {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { runtime, running: Mutex::new(Some(JoinSet::new())) }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tasks) = running.as_mut() else {
            // The future's own drop may spawn again; not under this lock.
            drop(running);
            drop(task);
            return;
        };
        // What has ended since is let go of here, so that the set stays as small as its work.
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the engine failed");
            }
        }
        #[cfg(test)]
        let task = super::unrest::unrest(task);
        tasks.spawn_on(task, &self.runtime);
    }

    pub(crate) fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(running);
    }
}
