use std::time::Duration;

use crate::verdict::{Denial, Verdict};

/// How long a handler that still runs when its session ends may go on, so that its work is whole.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// How long what is held back waits for the next good poll.
pub(crate) const HOLD_LIMIT: Duration = Duration::from_secs(30);

/// What a guard does at a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Let it through.
    Forward,
    /// Let nothing through, and wait.
    Hold,
    /// End it.
    Cut(Denial),
}

impl From<Verdict> for Reaction {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Allow => Self::Forward,
            Verdict::Unavailable => Self::Hold,
            Verdict::Suspended => Self::Cut(Denial::Suspended),
            Verdict::Ended | Verdict::Pending => Self::Cut(Denial::Ended),
        }
    }
}
