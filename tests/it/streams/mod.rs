//! What a session holds open: streams, sockets, shutdown.

mod shutdown;
#[cfg(feature = "ws")]
mod split_socket;
