//! When and how often the service is polled.

pub(crate) mod backoff;
pub(crate) mod circuit_breaker;
pub(crate) mod concurrency_limiter;
pub(crate) mod poll_queue;
pub(crate) mod poll_stats;
pub(crate) mod polling_state;
pub(crate) mod rate_limiter;
pub(crate) mod schedule;
pub(crate) mod token_checks;
pub(crate) mod upstream_health;
#[cfg(test)]
pub(crate) mod yield_injection;
