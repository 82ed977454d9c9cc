//! The primitives of the small concurrent types, from one place: their schedules are checked with
//! loom's in place of these (`tests/loom.rs`).

pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError, atomic};
