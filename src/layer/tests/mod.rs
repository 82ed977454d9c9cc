//! Tests of the engine and its layer in paused time, with a scripted service.

mod boundary;
#[cfg(feature = "axum")]
mod buffered_body;
mod claim;
mod fault_injection;
mod guard;
pub(crate) mod harness;
mod hold;
mod idle_timeout;
mod lifecycle;
mod login;
mod logout;
mod model;
mod step_up;
mod upstream_outage;
