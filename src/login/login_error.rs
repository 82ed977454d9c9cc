use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::client::ClientError;
use crate::events::event::Limit;
use crate::protocol::SessionStatus;
use crate::store::StoreError;

/// Why a login failed. The browser does not learn it; [`Activeconnect::log_in`] returns it to its
/// caller.
///
/// [`Activeconnect::log_in`]: crate::Activeconnect::log_in
#[derive(Clone)]
#[non_exhaustive]
pub enum LoginError {
    /// The token store has no token for this user.
    NotEnrolled,
    /// The token store failed, or did not respond in time.
    Store(Arc<StoreError>),
    /// The service did not start the login.
    Service(Arc<ClientError>),
    /// The user declined, or the phone could not authenticate the user; the status says which.
    Rejected(SessionStatus),
    /// The phone did not respond in time.
    TimedOut,
    /// Another attempt for the same user waits, or took this one's place.
    AlreadyPending,
    /// Too many logins of this user since the last that succeeded; try again after this time.
    RateLimited(Duration),
    /// The builder's maximum of sessions or logins is reached.
    LimitReached(Limit),
    /// The engine was dropped or shut down, or the runtime that it was built on was.
    Aborted,
    /// An anonymous client started it, and this month's
    /// [`ActiveconnectBuilder::push_budget`](crate::ActiveconnectBuilder::push_budget) is spent.
    /// Never from [`Activeconnect::log_in`](crate::Activeconnect::log_in).
    PushBudgetSpent,
    /// The operating system has no randomness to give.
    Rng,
}

crate::error_debug::debug_as_message!(LoginError);

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEnrolled => f.write_str("the user is not enrolled; call enroll first"),
            Self::Store(error) => error.fmt(f),
            Self::Service(error) => error.fmt(f),
            Self::Rejected(status) => write!(f, "the phone did not let the user in: {status}"),
            Self::TimedOut => f.write_str("the phone did not answer in time"),
            Self::AlreadyPending => {
                f.write_str("another login of the same user is waiting for the phone")
            }
            Self::RateLimited(after) => {
                write!(f, "too many logins; try again in {} s", after.as_secs().max(1))
            }
            Self::LimitReached(limit) => write!(f, "as many as {limit} allows; wait, or raise it"),
            Self::Aborted => f.write_str("the login was interrupted; try again"),
            Self::PushBudgetSpent => f.write_str("this month's push budget is spent; reset it"),
            Self::Rng => f.write_str("the operating system has no randomness to give"),
        }
    }
}

impl std::error::Error for LoginError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // The message is the inner error's own, and so is the source.
            Self::Store(error) => error.source(),
            Self::Service(error) => error.source(),
            _ => None,
        }
    }
}

impl LoginError {
    /// Whether an anonymous browser sees the end: the deadline, or the time for the claim of an
    /// approved result, is over. Any other failure looks as if the phone did not respond.
    pub(super) fn is_reported(&self) -> bool {
        matches!(self, Self::TimedOut)
    }
}
