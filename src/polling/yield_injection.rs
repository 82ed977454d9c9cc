//! Random task orders, for what loom cannot model: tasks yield at random wherever they could have
//! waited, so that tasks which are ready at one moment run in another order each time.

use std::cell::Cell;
use std::pin::pin;
use std::task::Poll;

thread_local! {
    /// State of the generator (xorshift); zero while nothing yields.
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// Seeds the yields of this thread's tasks from now on; zero turns them off.
pub(crate) fn seed_yields(seed: u64) {
    STATE.set(seed);
}

/// The next random number; zero while nothing yields.
pub(crate) fn next() -> u64 {
    let mut state = STATE.get();
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    STATE.set(state);
    state
}

/// Runs `task`, with random yields before it continues.
pub(crate) async fn with_random_yields<T>(task: impl Future<Output = T>) -> T {
    let mut task = pin!(task);
    std::future::poll_fn(|cx| {
        if next() & 7 > 4 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        task.as_mut().poll(cx)
    })
    .await
}
