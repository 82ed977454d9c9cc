//! Unit tests in a separate file, because loom tests compile the tested file, too.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::login::attempt_state::{AttemptState, State};

/// T078: a caller's closure panics under the lock; the state stays usable.
#[test]
fn poisoned_lock_is_recovered() {
    let state = AttemptState::<u8, ()>::new();
    assert!(state.approve(7));
    let repeat = |result: &u8| Some(*result);
    let panics = AssertUnwindSafe(|| state.claim(|_| panic!("injected panic"), repeat));
    assert!(catch_unwind(panics).is_err());
    assert_eq!(state.stage(), State::Approved(7), "the attempt is not claimed");
    assert_eq!(state.claim(|result| Some(*result), |_| None), Some(7));
}
