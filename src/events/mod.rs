//! Events, faults and health figures of the engine, for audit logs and metrics.

pub(crate) mod event;
pub(crate) mod fault;
pub(crate) mod warning_limiter;

pub use event::{EndReason, Event, EventKind, Events, Health, Limit};
pub use fault::Fault;
