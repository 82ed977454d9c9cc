//! Kept apart from what it tests: that file is also compiled by the schedule checker.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::login::attempt_state::{AttemptState, State};

/// T078: other people's code panics under a lock, and the next caller finds what is whole.
#[test]
fn poisoned_lock_is_recovered() {
    let outcome = AttemptState::<u8, ()>::new();
    assert!(outcome.approve(7));
    let again = |result: &u8| Some(*result);
    let panics = AssertUnwindSafe(|| outcome.claim(|_| panic!("in the middle"), again));
    assert!(catch_unwind(panics).is_err());
    assert_eq!(outcome.stage(), State::Approved(7), "it is not claimed");
    assert_eq!(outcome.claim(|result| Some(*result), |_| None), Some(7));
}
