use std::time::Duration;

use crate::verdict::{Denial, Verdict};

/// What a layer does when the phone walks away from a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Walkaway {
    /// Turns requests away, and cuts what is in flight, until the phone is back. The default.
    #[default]
    Suspend,
    /// Turns requests away; what is in flight waits for the phone this long, and is cut then. It counts
    /// from when the phone walked away; a status that is not known in between does not begin it anew.
    Hold(Duration),
    /// Ends the session, here and at the service, when a request or something in flight meets it
    /// suspended.
    End,
    /// Goes on as if the phone were there.
    Allow,
}

/// A [`Walkaway`] that takes little room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompactWalkaway {
    Suspend,
    Hold(MillisU32),
    End,
    Allow,
}

impl From<Walkaway> for CompactWalkaway {
    fn from(walkaway: Walkaway) -> Self {
        match walkaway {
            Walkaway::Suspend => Self::Suspend,
            Walkaway::Hold(limit) => Self::Hold(limit.into()),
            Walkaway::End => Self::End,
            Walkaway::Allow => Self::Allow,
        }
    }
}

/// What a layer does with what is in flight. Each request and each body has it, so that it takes
/// little room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) walkaway: CompactWalkaway,
    /// How long a handler that still runs when its session ends may go on, so that its work is
    /// whole.
    pub(crate) grace: MillisU32,
    /// How long what is held back waits for the next good poll.
    pub(crate) hold_limit: MillisU32,
}

/// A time in milliseconds, 49 days at most: more than any session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MillisU32(u32);

impl MillisU32 {
    pub(crate) fn duration(self) -> Duration {
        Duration::from_millis(self.0.into())
    }
}

impl From<Duration> for MillisU32 {
    fn from(limit: Duration) -> Self {
        Self(limit.as_millis().try_into().unwrap_or(u32::MAX))
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            walkaway: CompactWalkaway::Suspend,
            grace: Duration::from_secs(5).into(),
            hold_limit: Duration::from_secs(30).into(),
        }
    }
}

/// What a guard does at a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Let it through.
    Forward,
    /// Let nothing through, and wait; no longer than this in all.
    Hold(Duration, Denial),
    /// End it.
    Cut(Denial),
}

impl Policy {
    pub(crate) fn action_for(&self, verdict: Verdict) -> Action {
        match (verdict, self.walkaway) {
            (Verdict::Allow, _) | (Verdict::Suspended, CompactWalkaway::Allow) => Action::Forward,
            (Verdict::Unavailable, _) => {
                Action::Hold(self.hold_limit.duration(), Denial::Unavailable)
            }
            (Verdict::Suspended, CompactWalkaway::Hold(limit)) => {
                Action::Hold(limit.duration(), Denial::Suspended)
            }
            (Verdict::Suspended, CompactWalkaway::Suspend) => Action::Cut(Denial::Suspended),
            (Verdict::Suspended, CompactWalkaway::End) | (Verdict::Ended | Verdict::Pending, _) => {
                Action::Cut(Denial::Ended)
            }
        }
    }

    /// Why a request is turned away.
    pub(crate) fn denial(&self, verdict: Verdict) -> Option<Denial> {
        match (verdict, self.walkaway) {
            (Verdict::Suspended, CompactWalkaway::Allow) => None,
            (Verdict::Suspended, CompactWalkaway::End) => Some(Denial::Ended),
            (verdict, _) => Denial::from_verdict(verdict),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_walkaway_policy_has_its_action() {
        let limit = Duration::from_secs(7);
        for (walkaway, reaction, denial) in [
            (Walkaway::Suspend, Action::Cut(Denial::Suspended), Some(Denial::Suspended)),
            (
                Walkaway::Hold(limit),
                Action::Hold(limit, Denial::Suspended),
                Some(Denial::Suspended),
            ),
            (Walkaway::End, Action::Cut(Denial::Ended), Some(Denial::Ended)),
            (Walkaway::Allow, Action::Forward, None),
        ] {
            let policy = Policy { walkaway: walkaway.into(), ..Policy::default() };
            assert_eq!(policy.action_for(Verdict::Suspended), reaction);
            assert_eq!(policy.denial(Verdict::Suspended), denial);
            // Nothing else depends on it.
            assert_eq!(policy.action_for(Verdict::Allow), Action::Forward);
            assert_eq!(policy.action_for(Verdict::Ended), Action::Cut(Denial::Ended));
            let unknown = Action::Hold(Duration::from_secs(30), Denial::Unavailable);
            assert_eq!(policy.action_for(Verdict::Unavailable), unknown);
            for verdict in [Verdict::Ended, Verdict::Pending, Verdict::Unavailable] {
                assert_eq!(policy.denial(verdict), Denial::from_verdict(verdict));
            }
        }
    }
}
