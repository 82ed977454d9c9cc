//! What happened in a run, told by somebody who knows: nothing of it is the engine's word but the
//! answers to requests. All moments are Unix milliseconds.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

/// How often the engine polls.
pub(crate) const INTERVAL: u64 = 1_000;
/// How old what it knows may be.
pub(crate) const MAX_STALENESS: u64 = 6_000;
/// How long a poll may take.
pub(crate) const TIMEOUT: u64 = 3_000;
/// How long after its last use a session is still polled.
pub(crate) const KEEP: u64 = 60_000;
/// How long after the last `walkaway` an `active` says nothing.
pub(crate) const DWELL: u64 = 3_000;
/// What the design allows for handling on top.
pub(crate) const PROCESSING_MARGIN: u64 = 1_000;

/// What the engine needs for a good poll once nothing hinders it.
pub(crate) const RECOVERY: u64 = INTERVAL + PROCESSING_MARGIN;
/// How long after a fault a 503 may still be its doing: the engine spares a service that failed,
/// and comes back to it slowly.
pub(crate) const AFTERMATH: u64 = MAX_STALENESS + TIMEOUT + PROCESSING_MARGIN;

/// The outage of a machine that is too slow for anything.
pub(crate) const OVERLOAD: &str = "overload";

pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// From before something was begun until after it was done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) until: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) lives: Vec<Life>,
    pub(crate) answers: Vec<Answer>,
    /// The earliest first.
    pub(crate) outages: Vec<Outage>,
    pub(crate) seconds: u64,
}

/// One session.
#[derive(Debug, Default)]
pub(crate) struct Life {
    pub(crate) user: usize,
    pub(crate) began: u64,
    /// The emulator's word.
    pub(crate) ended_at: Option<u64>,
    /// The emulator's word.
    pub(crate) first_told_at: Option<u64>,
    /// Somebody asked again and again from the end on, until the first refusal.
    pub(crate) watched: bool,
    pub(crate) logout: Option<Span>,
    pub(crate) walks: Vec<Walk>,
}

/// The phone was away.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) left: Span,
    /// When the emulator first said so, if it was seen to.
    pub(crate) told_at: Option<u64>,
    pub(crate) back: Option<Span>,
}

/// The status of an answer that was cut before its first byte.
pub(crate) const CUT: u16 = 0;

/// A request and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) life: usize,
    /// From before it was sent until its last byte was there.
    pub(crate) span: Span,
    /// When it had left the gate: what the way takes is no matter of the gate's.
    pub(crate) left: u64,
    pub(crate) status: u16,
    /// Asked to see when an end is noticed.
    pub(crate) watching: bool,
}

/// A time in which polls went wrong.
#[derive(Debug)]
pub(crate) struct Outage {
    pub(crate) kind: String,
    pub(crate) on: Span,
    /// `None`: everybody's.
    pub(crate) users: Option<BTreeSet<usize>>,
}

impl Outage {
    /// From then on a good poll takes no longer than it should.
    pub(crate) fn over(&self) -> u64 {
        self.on.until.saturating_add(AFTERMATH - RECOVERY)
    }

    fn meets(&self, span: Span) -> bool {
        self.on.from <= span.until && span.from <= self.over()
    }
}

impl Story {
    pub(crate) fn outages_of(&self, user: usize) -> impl Iterator<Item = &Outage> {
        let strikes =
            move |outage: &&Outage| outage.users.as_ref().is_none_or(|users| users.contains(&user));
        self.outages.iter().filter(strikes)
    }

    /// Whether a fault can have touched a poll of this user in the span.
    pub(crate) fn is_disturbed(&self, user: usize, span: Span) -> bool {
        self.outages_of(user).any(|outage| outage.meets(span))
    }

    /// Whether the machine was too slow in the span.
    pub(crate) fn is_overloaded(&self, span: Span) -> bool {
        self.outages.iter().any(|outage| outage.kind == OVERLOAD && outage.meets(span))
    }

    /// The longest stretch of the span in which no fault can have touched a poll of this user.
    pub(crate) fn longest_calm(&self, user: usize, span: Span) -> u64 {
        let (mut longest, mut calm_since) = (0, span.from);
        for outage in self.outages_of(user) {
            let until = outage.on.from.min(span.until);
            longest = longest.max(until.saturating_sub(calm_since));
            calm_since = calm_since.max(outage.over());
        }
        longest.max(span.until.saturating_sub(calm_since))
    }
}
