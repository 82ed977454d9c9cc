//! What a session holds open: streams, sockets, shutdown.

mod shutdown;
