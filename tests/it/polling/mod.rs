//! The poller: freshness, outages, load.

mod logouts;
