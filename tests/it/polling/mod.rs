//! The poller: freshness, outages, load.
