//! Axum: the extractor, and the routes through which browsers log in and out.

mod client_ip;
mod confirm;
mod cookies;
mod cors;
mod extract;
mod forwarded;
mod next;
mod pages;
mod progress;
mod registration;
mod routes;
mod sessions;
#[cfg(feature = "ws")]
mod socket;
mod start;
#[cfg(unix)]
mod unix_peer;
mod verify;

pub use extract::ActiveSessionRejection;
#[cfg(feature = "ws")]
pub use socket::GuardedSocket;
#[cfg(unix)]
pub use unix_peer::UnixPeer;
