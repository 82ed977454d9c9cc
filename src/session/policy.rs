use std::time::Duration;

use crate::verdict::{Denial, Verdict};

/// How a layer treats a session whose phone walked away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Walkaway {
    /// Rejects requests and cuts responses in flight until the phone is back. The default.
    #[default]
    Suspend,
    /// Rejects requests; responses in flight wait this long for the phone and are cut then. The
    /// time counts from the moment at which the phone walked away; an unknown status in between
    /// does not restart it.
    Hold(Duration),
    /// Ends the session, here and at the service, when a request or a response in flight finds it
    /// suspended.
    End,
    /// Allows, as if the phone were there.
    Allow,
}

/// A [`Walkaway`] in 8 bytes.
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

/// How a layer treats responses in flight. Each request and each body has a copy, so it is small.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) walkaway: CompactWalkaway,
    /// The longest time that a handler which still runs when its session ends may take to finish
    /// its work.
    pub(crate) grace: MillisU32,
    /// The longest time that a held response waits for the next good poll.
    pub(crate) hold_limit: MillisU32,
}

/// A span of whole milliseconds, at most 49 days, longer than any session lives.
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

/// The action of a guard at a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Forward the next frame.
    Forward,
    /// Forward nothing and wait, no longer than this in all.
    Hold(Duration, Denial),
    /// End the response.
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

    /// The denial of a request at this verdict.
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
        for (walkaway, action, denial) in [
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
            assert_eq!(policy.action_for(Verdict::Suspended), action);
            assert_eq!(policy.denial(Verdict::Suspended), denial);
            // Other verdicts do not depend on it.
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
