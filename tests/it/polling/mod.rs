//! The poller: freshness, outages, load.

mod fixture;
mod idle_sessions;
mod logouts;
mod poll_outcomes;
mod retry_after;
mod slow_service;
mod token_store;
