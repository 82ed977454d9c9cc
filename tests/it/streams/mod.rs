//! Open streams and sockets of a session, and shutdown.

#[cfg(feature = "ws")]
mod browser;
#[cfg(feature = "ws")]
mod cut;
mod event_source;
#[cfg(feature = "ws")]
mod fixture;
#[cfg(feature = "ws")]
mod grace;
mod graceful_shutdown;
#[cfg(feature = "ws")]
mod load;
#[cfg(feature = "ws")]
mod matrix;
#[cfg(feature = "ws")]
mod methods;
mod session_end;
mod shutdown;
#[cfg(feature = "ws")]
mod sockets;
#[cfg(feature = "ws")]
mod split_socket;
#[cfg(feature = "ws")]
mod stack;
