//! What a session holds open: streams, sockets, shutdown.

mod event_source;
mod shutdown;
