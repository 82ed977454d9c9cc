//! What is in flight when a session changes: real sockets, real clients, HTTP/1.1 and HTTP/2.
#![cfg(all(feature = "axum", feature = "emulator", feature = "ws"))]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

#[path = "../it/support/mod.rs"]
mod support;

mod browser;
mod cut;
mod grace;
mod load;
mod matrix;
mod methods;
mod sockets;
mod stack;
mod stage;
