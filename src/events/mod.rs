//! What happens in the engine, for audit logs.

pub(crate) mod event;
pub(crate) mod fault;
pub(crate) mod warning_limiter;
