use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that no other allowed request of the process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestNumber(u64);

/// How many numbers a thread takes at a time, so that threads seldom contend.
const BLOCK_SIZE: u64 = 1 << 20;

static NEXT_BLOCK: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The next number of this thread; the first of a block means that it has none.
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

impl RequestNumber {
    pub(crate) fn next() -> Self {
        NEXT.with(|next| {
            let mut number = next.get();
            if number.is_multiple_of(BLOCK_SIZE) {
                number = NEXT_BLOCK.fetch_add(BLOCK_SIZE, Ordering::Relaxed) + 1;
            }
            next.set(number + 1);
            Self(number)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_number_is_given_twice() {
        let take = || (0..5_000).map(|_| RequestNumber::next().0).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(take)).collect();
        let all = threads.into_iter().flat_map(|thread| thread.join().unwrap());
        assert_eq!(all.collect::<HashSet<_>>().len(), 20_000);
        // A thread takes another block at the end of one.
        NEXT.with(|next| next.set(next.get() / BLOCK_SIZE * BLOCK_SIZE + BLOCK_SIZE - 1));
        let numbers: HashSet<_> = (0..3).map(|_| RequestNumber::next().0).collect();
        assert_eq!(numbers.len(), 3);
    }
}
