//! What a session holds open: streams, sockets, shutdown.

mod event_source;
mod shutdown;
#[cfg(feature = "ws")]
mod split_socket;
