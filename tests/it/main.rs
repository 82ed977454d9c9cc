//! The integration tests: one program, with a folder for each part of the crate. A test has its own
//! program if it measures or changes the process. `threats` has one, too, because it builds all
//! programs and would disturb tests that measure time.
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
