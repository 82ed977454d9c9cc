use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};

/// The engine's own tasks. They outlive the requests that caused them, and end with the engine.
#[derive(Debug)]
pub(crate) struct Tasks {
    runtime: Handle,
    /// A task that ends with the runtime or with the engine, never by itself.
    sentinel: AbortHandle,
    /// `None` once stopped: no task starts after that.
    running: Mutex<Option<RunningTasks>>,
}

#[derive(Debug, Default)]
struct RunningTasks {
    tasks: JoinSet<()>,
    /// Tasks that have to reach the service: a shutdown waits for them for a while.
    shutdown_tasks: JoinSet<()>,
}

impl Tasks {
    pub(crate) fn new(runtime: Handle) -> Self {
        let mut running = RunningTasks::default();
        let sentinel = running.tasks.spawn_on(std::future::pending(), &runtime);
        Self { runtime, sentinel, running: Mutex::new(Some(running)) }
    }

    /// Whether the runtime is shut down, so that no task ever runs again. Also true once the engine
    /// has stopped its tasks.
    pub(crate) fn is_runtime_gone(&self) -> bool {
        self.sentinel.is_finished()
    }

    /// The runtime of the tasks.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_in(|running| &mut running.tasks, task);
    }

    /// Spawns a task that ends something at the service; a shutdown waits for it.
    pub(crate) fn spawn_awaited(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_in(|running| &mut running.shutdown_tasks, task);
    }

    fn spawn_in(
        &self,
        set: impl FnOnce(&mut RunningTasks) -> &mut JoinSet<()>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let mut running = self.running();
        let Some(tasks) = running.as_mut().map(set) else {
            // The future's own drop may spawn again; not under this lock.
            drop(running);
            drop(task);
            return;
        };
        // Ended tasks are removed here, so that the set stays as small as its work.
        while let Some(ended) = tasks.try_join_next() {
            // A cancelled task has not failed: its runtime was shut down.
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(%error, "a task of the engine failed");
            }
        }
        #[cfg(test)]
        let task = crate::polling::yield_injection::with_random_yields(task);
        tasks.spawn_on(task, &self.runtime);
    }

    /// Aborts all.
    pub(crate) fn stop(&self) {
        let running = self.running().take();
        drop(running);
    }

    /// Waits, at most for `within`, for the tasks of the shutdown and for those that they spawn;
    /// then aborts all tasks and waits until they are gone.
    pub(crate) async fn join_awaited(&self, within: Duration) {
        let shutdown_tasks = async {
            while let Some(mut set) = self.take_shutdown_tasks() {
                while set.join_next().await.is_some() {}
            }
        };
        tokio::time::timeout(within, shutdown_tasks).await.ok();
        let running = self.running().take();
        if let Some(RunningTasks { mut tasks, mut shutdown_tasks }) = running {
            tasks.shutdown().await;
            shutdown_tasks.shutdown().await;
        }
    }

    /// The tasks that a shutdown waits for; `None` if there are none.
    fn take_shutdown_tasks(&self) -> Option<JoinSet<()>> {
        let shutdown_tasks = std::mem::take(&mut self.running().as_mut()?.shutdown_tasks);
        (!shutdown_tasks.is_empty()).then_some(shutdown_tasks)
    }

    fn running(&self) -> MutexGuard<'_, Option<RunningTasks>> {
        // A poisoned lock holds whole sets of tasks.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
