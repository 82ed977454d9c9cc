//! Logouts at the service: few at a time, those that are waited for before the others, and each
//! tried again until the service confirms it.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, Semaphore, watch};

use crate::polling::rate_limiter::PollRateLimiter;

/// How many logouts are in flight at most.
const MAX_LOGOUTS_IN_FLIGHT: usize = 64;
/// How many of these are background ones: the other places are kept for prompt ones.
const MAX_BACKGROUND_IN_FLIGHT: usize = 48;
/// The share of the ceiling of polls a second at which background logouts begin, beside the polls.
const POLLS_PER_BACKGROUND_LOGOUT: u32 = 4;
/// Which logouts go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogoutPriority {
    /// A user or the application asked for it, or a phone must not ring before it.
    Prompt,
    /// The session ended by itself; many may at one moment.
    Background,
}

/// The logouts of an engine.
#[derive(Debug)]
pub(super) struct Logouts {
    pub(super) in_flight: Semaphore,
    pub(super) background_in_flight: Semaphore,
    /// Held by the one background logout whose turn is next.
    pub(super) background_pace: Mutex<PollRateLimiter>,
    /// Whether polls wait for their turn.
    pub(super) polls_wait: watch::Sender<bool>,
    pub(super) pending: AtomicUsize,
}

impl Logouts {
    pub(super) fn new(max_polls_per_second: u32) -> Self {
        let rate = (max_polls_per_second / POLLS_PER_BACKGROUND_LOGOUT).max(1);
        Self {
            in_flight: Semaphore::new(MAX_LOGOUTS_IN_FLIGHT),
            background_in_flight: Semaphore::new(MAX_BACKGROUND_IN_FLIGHT),
            background_pace: Mutex::new(PollRateLimiter::new(rate)),
            polls_wait: watch::Sender::new(false),
            pending: AtomicUsize::new(0),
        }
    }

    /// How many are neither confirmed nor given up.
    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// The poller tells whether polls wait for their turn.
    pub(super) fn set_polls_wait(&self, wait: bool) {
        self.polls_wait.send_if_modified(|waits| std::mem::replace(waits, wait) != wait);
    }
}
