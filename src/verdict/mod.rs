//! The verdict on a session. Pure: the caller passes the clocks.
//!
//! HTTP, gRPC, server-sent events, guards and the poller all use [`verdict`]; nothing else decides.

mod requirement;
mod state_machine;

use std::fmt;

use crate::clock::Millis;

pub(crate) use requirement::Requirement;
pub(crate) use state_machine::{PollOutcome, SessionStateMachine, UpstreamSnapshot};

/// What the present knowledge of a session allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// The user is authenticated, and that is fresh.
    Allow,
    /// The phone has not responded yet.
    Pending,
    /// The phone walked away; it may come back.
    Suspended,
    /// The session has ended for good.
    Ended,
    /// Unknown: the last status is too old or inconsistent.
    Unavailable,
}

/// Why a request was rejected, or why a response was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Denial {
    /// Beside another login: that login named no user.
    NoIdentity,
    /// The user is known but not enrolled at Activeconnect.
    NoToken,
    /// No session was named, or not unambiguously, or none of this user's.
    NoSession,
    /// A login is running.
    Pending,
    /// The phone walked away.
    Suspended,
    /// The session has ended.
    Ended,
    /// The session does not satisfy what the layer requires.
    StepUp,
    /// The status is not known at the moment.
    Unavailable,
}

impl Denial {
    /// The denial for a verdict, `None` for [`Verdict::Allow`].
    #[must_use]
    pub const fn from_verdict(verdict: Verdict) -> Option<Self> {
        match verdict {
            Verdict::Allow => None,
            Verdict::Pending => Some(Self::Pending),
            Verdict::Suspended => Some(Self::Suspended),
            Verdict::Ended => Some(Self::Ended),
            Verdict::Unavailable => Some(Self::Unavailable),
        }
    }

    /// The name for logs and problem types.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoIdentity => "no-identity",
            Self::NoToken => "no-token",
            Self::NoSession => "no-session",
            Self::Pending => "pending",
            Self::Suspended => "suspended",
            Self::Ended => "ended",
            Self::StepUp => "step-up",
            Self::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoIdentity => "no user is logged in",
            Self::NoToken => "the user is not enrolled",
            Self::NoSession => "no session",
            Self::Pending => "the login waits for the phone",
            Self::Suspended => "the phone is no longer nearby",
            Self::Ended => "the session ended",
            Self::StepUp => "more proof is needed",
            Self::Unavailable => "the session's status is not known at the moment",
        })
    }
}

/// The state after the last status, before its age counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum KnownState {
    Pending,
    Active,
    Suspended,
    /// The last well-formed status was inconsistent.
    Inconsistent,
    Ended,
}

impl KnownState {
    /// Reads what was stored as `self as u8`.
    pub(crate) const fn from_u8(number: u8) -> Self {
        match number {
            0 => Self::Pending,
            1 => Self::Active,
            2 => Self::Suspended,
            3 => Self::Inconsistent,
            _ => Self::Ended,
        }
    }
}

/// The input of a verdict; spans by the clock that says older.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VerdictInput {
    pub(crate) state: KnownState,
    /// Since the last good poll was sent; before the first one, since the creation of the session.
    pub(crate) staleness: Millis,
    /// Since the creation of the session.
    pub(crate) session_age: Millis,
}

/// How long knowledge and sessions last, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VerdictLimits {
    pub(crate) max_staleness: Millis,
    /// The longest life of a session, whatever the service says.
    pub(crate) lifetime: Millis,
}

/// The one rule: the verdict from the state, its age and the age of the session.
pub(crate) fn verdict(known: VerdictInput, limits: VerdictLimits) -> Verdict {
    if known.state == KnownState::Ended || known.session_age >= limits.lifetime {
        return Verdict::Ended;
    }
    if known.state == KnownState::Inconsistent || known.staleness >= limits.max_staleness {
        return Verdict::Unavailable;
    }
    match known.state {
        KnownState::Active => Verdict::Allow,
        KnownState::Suspended => Verdict::Suspended,
        KnownState::Pending => Verdict::Pending,
        KnownState::Inconsistent => Verdict::Unavailable,
        KnownState::Ended => Verdict::Ended,
    }
}
