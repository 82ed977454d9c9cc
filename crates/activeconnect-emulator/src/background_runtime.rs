use std::io;
use std::ops::Deref;

use tokio::runtime::{Builder, Runtime};

/// A runtime that can be dropped anywhere. Dropping it ends its tasks and closes their connections.
/// tokio's own `Drop` waits for them, and panics in asynchronous code.
pub(super) struct BackgroundRuntime(Option<Runtime>);

impl BackgroundRuntime {
    /// A runtime with one thread: the emulator computes its responses under one lock anyway.
    pub(super) fn new() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(1).thread_name("activeconnect-emulator").enable_all();
        builder.build().map(Some).map(Self)
    }
}

impl Deref for BackgroundRuntime {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        // Only `drop` takes the runtime.
        self.0.as_ref().unwrap_or_else(|| unreachable!())
    }
}

impl Drop for BackgroundRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
