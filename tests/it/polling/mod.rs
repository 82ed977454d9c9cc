//! The poller: freshness, outages, load.

mod asked_pauses;
mod fixture;
mod idle_sessions;
mod logouts;
mod poll_outcomes;
mod slow_service;
mod token_store;
