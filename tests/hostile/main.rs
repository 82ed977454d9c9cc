//! Pages of other origins in the victim's own browser, a real one, and what they get: nothing.
#![cfg(all(feature = "axum", feature = "emulator", feature = "ws"))]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

#[path = "../it/support/mod.rs"]
mod support;

mod cookies;
mod forgery;
mod honest;
mod reading;
mod stage;
