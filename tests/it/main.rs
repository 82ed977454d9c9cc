//! The integration tests: one program, one folder for each part of the crate. A test of its own
//! program stays beside this folder only where the process itself is the subject.
#![cfg(all(feature = "axum", feature = "emulator"))]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

mod browser;
mod client;
mod emulator;
mod layer;
mod login;
mod pages;
mod polling;
mod proxies;
mod setup;
mod streams;

#[path = "../axe/mod.rs"]
mod axe;
#[cfg(feature = "demo")]
#[path = "../blog/mod.rs"]
mod blog;
#[path = "../chromium/mod.rs"]
mod chromium;
#[path = "../grpc/echo.rs"]
mod echo;
#[path = "../plain/mod.rs"]
mod plain;
#[path = "../raw/mod.rs"]
mod raw;
#[path = "../secure/mod.rs"]
mod secure;
#[path = "../support/mod.rs"]
mod support;
#[path = "../trace/mod.rs"]
mod trace;
#[path = "../webdriver/mod.rs"]
mod webdriver;
