//! Sessions: their ids, verdicts and guards, and the ways to end them.

pub(crate) mod client_details;
pub(crate) mod guard;
pub(crate) mod hold_timer;
pub(crate) mod idle_state;
pub(crate) mod key_ring;
pub(crate) mod lifecycle;
pub(crate) mod live;
#[cfg(test)]
pub(crate) mod model_tests;
pub(crate) mod notify;
#[cfg(test)]
pub(crate) mod notify_tests;
pub(crate) mod owner_id;
pub(crate) mod policy;
pub(crate) mod poll_state;
mod polls;
mod read_verdict;
pub(crate) mod record;
pub(crate) mod registry;
pub(crate) mod request_number;
pub(crate) mod session_id;
pub(crate) mod session_info;
pub(crate) mod snapshot;
#[cfg(test)]
pub(crate) mod test_session;
pub(crate) mod upgrade_stats;
pub(crate) mod walkaway_ends;

pub use crate::engine::{EndAllSessions, EndSessionError, LogoutOutcome, SessionGuard};
pub use crate::verdict::Verdict;
pub use owner_id::OwnerId;
pub use session_id::{InvalidSessionIdError, SessionId};
pub use session_info::SessionInfo;
