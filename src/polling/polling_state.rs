use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::MonoTime;
use crate::polling::circuit_breaker::CircuitBreaker;
use crate::polling::concurrency_limiter::ConcurrencyLimiter;
use crate::polling::poll_stats::PollStats;
use crate::polling::token_checks::TokenChecks;
use crate::polling::upstream_health::UpstreamHealth;

/// What the poller of one engine shares with requests, polls in flight and the health report.
pub(crate) struct PollingState {
    pub(crate) upstream_health: UpstreamHealth,
    pub(crate) breaker: CircuitBreaker,
    pub(crate) limiter: Arc<ConcurrencyLimiter>,
    stats: Mutex<PollStats>,
    /// When the first poll in the queue became due, in milliseconds of the monotonic clock;
    /// `u64::MAX` if none waits.
    oldest_queued_ms: AtomicU64,
    /// A poll has ended, so that the next one may be sent.
    pub(crate) slot_freed: Notify,
    pub(crate) token_checks: TokenChecks,
}

impl PollingState {
    pub(crate) fn new(poll_interval: Duration, max_in_flight: usize) -> Self {
        Self {
            upstream_health: UpstreamHealth::new(poll_interval),
            breaker: CircuitBreaker::new(),
            limiter: Arc::new(ConcurrencyLimiter::new(max_in_flight)),
            stats: Mutex::new(PollStats::new(poll_interval)),
            oldest_queued_ms: AtomicU64::new(u64::MAX),
            slot_freed: Notify::new(),
            token_checks: TokenChecks::new(),
        }
    }

    /// Stores when the first poll in the queue became due.
    pub(crate) fn set_oldest_queued(&self, due_at: Option<MonoTime>) {
        let due_at = due_at.unwrap_or(MonoTime::NEVER);
        self.oldest_queued_ms.store(due_at.as_millis(), Ordering::Relaxed);
    }

    /// How long the first poll in the queue has waited; zero if none waits.
    pub(crate) fn oldest_wait(&self, now: MonoTime) -> Duration {
        let due_at = MonoTime::from_millis(self.oldest_queued_ms.load(Ordering::Relaxed));
        now.since(due_at).into()
    }

    pub(crate) fn lock_stats(&self) -> MutexGuard<'_, PollStats> {
        // Nothing that can panic runs under the lock, so a poisoned one holds whole figures.
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
