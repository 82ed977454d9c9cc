//! The client against a server that sends every byte wrong: each ends in a typed error, in time.
#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

#[path = "../it/support/mod.rs"]
mod support;

mod answers;
mod broken;
mod deadline;
mod identity;
mod json;
mod once;
mod origin;
mod pool;
mod rate;
mod redirect;
mod refusal;
mod size;
