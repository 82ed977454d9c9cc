//! What is known of a session, and what follows from it. Pure: the clocks are handed in.
//!
//! HTTP, gRPC, server-sent events, guards and the poller all ask [`verdict`]; nothing else
//! decides.

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
    /// The phone has not answered yet.
    Pending,
    /// The phone walked away; it may come back.
    Suspended,
    /// Over for good.
    Ended,
    /// Cannot tell: what is known is too old, or makes no sense.
    Unavailable,
}

/// Why a request was turned away, or why what it held open ended.
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
    /// The session is over.
    Ended,
    /// The session does not satisfy what the layer requires.
    StepUp,
    /// Cannot tell at the moment.
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

    /// A word for logs and problem types.
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

/// What the last statement leaves a session at, before its age is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum KnownState {
    Pending,
    Active,
    Suspended,
    /// The last well-formed answer made no sense.
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

/// Everything a verdict is made of; times in milliseconds, by the clock that says older.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VerdictInput {
    pub(crate) state: KnownState,
    /// Since the last good poll was sent; since the session was asked for until there is one.
    pub(crate) staleness: Millis,
    /// Since the session was asked for.
    pub(crate) session_age: Millis,
}

/// How long knowledge and sessions last, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VerdictLimits {
    pub(crate) max_staleness: Millis,
    /// Of a session, whatever the service says.
    pub(crate) lifetime: Millis,
}

/// The one rule: from what is known, how old it is and how long the session has lived.
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
