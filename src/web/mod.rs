//! Axum: the extractor, and the routes through which browsers log in and out.

mod client_ip;
mod confirm;
mod cookies;
mod cors;
mod extractor;
mod forwarded;
mod login;
mod pages;
mod redirect;
mod registration;
mod routes;
mod sessions;
mod status_events;
#[cfg(unix)]
mod unix_peer;
mod verify;
#[cfg(feature = "ws")]
mod websocket;

pub use extractor::ActiveSessionRejection;
#[cfg(unix)]
pub use unix_peer::UnixPeer;
#[cfg(feature = "ws")]
pub use websocket::GuardedSocket;
