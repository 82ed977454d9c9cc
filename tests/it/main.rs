//! The integration tests: one program, one folder for each part of the crate. A test of its own
//! program stays beside this folder only where the process itself is the subject. `threats` does,
//! too: it builds all programs, which tests that measure time must not run beside.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

mod browser;
mod client;
mod emulator;
mod enrollment;
mod example_microblog;
mod examples;
mod feature_isolation;
mod grpc;
mod layer;
mod login;
mod pages;
mod polling;
mod process_faults;
mod proxies;
mod setup;
mod stores;
mod streams;
mod support;
