//! The poller: freshness, outages, load.

mod asked_pauses;
mod fixture;
mod logouts;
mod slow_service;
#[cfg(feature = "sqlite")]
mod token_store;
