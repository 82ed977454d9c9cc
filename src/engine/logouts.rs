//! Logouts at the service: limited in number, those with a waiting caller first.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, Semaphore, watch};

use crate::polling::rate_limiter::PollRateLimiter;

/// The maximum number of logouts in flight.
const MAX_LOGOUTS_IN_FLIGHT: usize = 64;
/// The maximum number of background logouts in flight: the other places are for prompt ones.
const MAX_BACKGROUND_IN_FLIGHT: usize = 48;
/// One background logout starts, at most, for this many polls of `max_polls_per_second`.
const POLLS_PER_BACKGROUND_LOGOUT: u32 = 4;
/// The priority of a logout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogoutPriority {
    /// A user or the application waits for it, or a push must not precede it.
    Prompt,
    /// The session ended by itself; many may end at one moment.
    Background,
}

/// The limits and the count of an engine's logouts.
#[derive(Debug)]
pub(super) struct Logouts {
    pub(super) in_flight: Semaphore,
    pub(super) background_in_flight: Semaphore,
    /// Held by the background logout that is next.
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

    /// How many logouts are neither confirmed nor abandoned.
    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// Stores whether polls wait for a place; the poller calls it.
    pub(super) fn set_polls_wait(&self, wait: bool) {
        self.polls_wait.send_if_modified(|waits| std::mem::replace(waits, wait) != wait);
    }
}
