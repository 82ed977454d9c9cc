//! The Axum integration: the extractor, and the routes for login and logout.

mod client_ip;
mod confirm;
mod context;
mod cookies;
mod cors;
mod events;
mod extractor;
mod forwarded;
mod json;
mod locked;
mod login;
mod login_page;
mod logout;
mod origin_checks;
mod pages;
mod redirect;
mod registration;
mod routes;
mod sessions;
mod status;
mod status_events;
#[cfg(unix)]
mod unix_peer;
mod verify;
mod waiting;
#[cfg(feature = "ws")]
mod websocket;

pub use extractor::ActiveSessionRejection;
#[cfg(unix)]
pub use unix_peer::UnixPeer;
#[cfg(feature = "ws")]
pub use websocket::GuardedSocket;
