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
pub(crate) enum AtWalkaway {
    Suspend,
    Hold(Millis),
    End,
    Allow,
}

impl From<Walkaway> for AtWalkaway {
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
    pub(crate) walkaway: AtWalkaway,
    /// How long a handler that still runs when its session ends may go on, so that its work is
    /// whole.
    pub(crate) grace: Millis,
    /// How long what is held back waits for the next good poll.
    pub(crate) hold_limit: Millis,
}

/// A time in milliseconds, 49 days at most: more than any session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Millis(u32);

impl Millis {
    pub(crate) fn duration(self) -> Duration {
        Duration::from_millis(self.0.into())
    }
}

impl From<Duration> for Millis {
    fn from(limit: Duration) -> Self {
        Self(limit.as_millis().try_into().unwrap_or(u32::MAX))
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            walkaway: AtWalkaway::Suspend,
            grace: Duration::from_secs(5).into(),
            hold_limit: Duration::from_secs(30).into(),
        }
    }
}

/// What a guard does at a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Let it through.
    Forward,
    /// Let nothing through, and wait; no longer than this in all.
    Hold(Duration, Denial),
    /// End it.
    Cut(Denial),
}

impl Policy {
    pub(crate) fn react(&self, verdict: Verdict) -> Reaction {
        match (verdict, self.walkaway) {
            (Verdict::Allow, _) | (Verdict::Suspended, AtWalkaway::Allow) => Reaction::Forward,
            (Verdict::Unavailable, _) => {
                Reaction::Hold(self.hold_limit.duration(), Denial::Unavailable)
            }
            (Verdict::Suspended, AtWalkaway::Hold(limit)) => {
                Reaction::Hold(limit.duration(), Denial::Suspended)
            }
            (Verdict::Suspended, AtWalkaway::Suspend) => Reaction::Cut(Denial::Suspended),
            (Verdict::Suspended, AtWalkaway::End) | (Verdict::Ended | Verdict::Pending, _) => {
                Reaction::Cut(Denial::Ended)
            }
        }
    }

    /// Why a request is turned away.
    pub(crate) fn denial(&self, verdict: Verdict) -> Option<Denial> {
        match (verdict, self.walkaway) {
            (Verdict::Suspended, AtWalkaway::Allow) => None,
            (Verdict::Suspended, AtWalkaway::End) => Some(Denial::Ended),
            (verdict, _) => Denial::of(verdict),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_walkaway_does_what_it_says() {
        let limit = Duration::from_secs(7);
        for (walkaway, reaction, denial) in [
            (Walkaway::Suspend, Reaction::Cut(Denial::Suspended), Some(Denial::Suspended)),
            (
                Walkaway::Hold(limit),
                Reaction::Hold(limit, Denial::Suspended),
                Some(Denial::Suspended),
            ),
            (Walkaway::End, Reaction::Cut(Denial::Ended), Some(Denial::Ended)),
            (Walkaway::Allow, Reaction::Forward, None),
        ] {
            let policy = Policy { walkaway: walkaway.into(), ..Policy::default() };
            assert_eq!(policy.react(Verdict::Suspended), reaction);
            assert_eq!(policy.denial(Verdict::Suspended), denial);
            // Nothing else depends on it.
            assert_eq!(policy.react(Verdict::Allow), Reaction::Forward);
            assert_eq!(policy.react(Verdict::Ended), Reaction::Cut(Denial::Ended));
            let unknown = Reaction::Hold(Duration::from_secs(30), Denial::Unavailable);
            assert_eq!(policy.react(Verdict::Unavailable), unknown);
            for verdict in [Verdict::Ended, Verdict::Pending, Verdict::Unavailable] {
                assert_eq!(policy.denial(verdict), Denial::of(verdict));
            }
        }
    }
}
