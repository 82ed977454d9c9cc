//! Runs work on the engine's runtime, and finds timers where the caller's runtime may have none.

#[cfg(feature = "layer")]
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Sleep;

/// Why work on another runtime gave no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoResult {
    /// The work took too long by the caller's timer: its runtime may not be driven.
    TimedOut,
    /// Its runtime has ended, or the work has panicked.
    Lost,
}

/// Runs `work` on this runtime, whichever runtime the caller awaits it on, so that what it opens or
/// spawns lives there. Dropping the future drops the work.
///
/// If the caller is on another runtime, at most `limit` by that runtime's timer; a caller outside
/// any runtime, or on one without a timer, waits for as long as the work takes.
pub(crate) async fn run_on<T: Send + 'static>(
    runtime: &Handle,
    limit: Duration,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, NoResult> {
    if is_current(runtime) {
        return Ok(work.await);
    }
    let mut task = AbortOnDrop(runtime.spawn(work));
    let joined = within(runtime, limit, &mut task.0).await.ok_or(NoResult::TimedOut)?;
    joined.map_err(|_| NoResult::Lost)
}

/// Waits for a result of tasks of this runtime, at most `limit` by its timer. A caller on another
/// runtime waits at most `limit` by its own, if that has a timer; then `None`.
pub(crate) async fn within<F: Future>(
    runtime: &Handle,
    limit: Duration,
    waiting: F,
) -> Option<F::Output> {
    let timer = if is_current(runtime) { None } else { sleep(limit) };
    let Some(timer) = timer else { return Some(waiting.await) };
    tokio::select! {
        biased;
        output = waiting => Some(output),
        () = timer => None,
    }
}

fn is_current(runtime: &Handle) -> bool {
    Handle::try_current().is_ok_and(|current| current.id() == runtime.id())
}

/// The driver that the current runtime lacks and the engine needs; `None` if it has a timer and io.
#[cfg(feature = "layer")]
pub(crate) fn missing_driver() -> Option<&'static str> {
    if sleep(Duration::ZERO).is_none() {
        return Some("time");
    }
    (!has_io()).then_some("io")
}

/// A timer of the caller's runtime, if there is one. tokio has no other way to find out than to
/// panic, and its message, which says what to enable, reaches the panic hook.
fn sleep(duration: Duration) -> Option<Sleep> {
    Handle::try_current().ok()?;
    catch_unwind(|| tokio::time::sleep(duration)).ok()
}

#[cfg(feature = "layer")]
fn has_io() -> bool {
    let bound = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0));
    let socket = bound.and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
    // Without a socket this cannot be checked; the first call will fail.
    let Ok(socket) = socket else { return true };
    catch_unwind(AssertUnwindSafe(|| tokio::net::UdpSocket::from_std(socket).map(drop))).is_ok()
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
