//! The events of a run, recorded by the driver and the emulator. Only the responses come from the
//! engine. All times are Unix milliseconds.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

/// The engine's poll interval.
pub(crate) const INTERVAL: u64 = 1_000;
/// The engine's staleness limit.
pub(crate) const MAX_STALENESS: u64 = 6_000;
/// The poll timeout.
pub(crate) const POLL_TIMEOUT: u64 = 3_000;
/// The time after its last use for which a session is still polled.
pub(crate) const IDLE_TIMEOUT: u64 = 60_000;
/// The time after the last `walkaway` for which `active` is ignored.
pub(crate) const WALKAWAY_DEBOUNCE: u64 = 3_000;
/// The design's allowance for processing.
pub(crate) const PROCESSING_MARGIN: u64 = 1_000;

/// The time that the engine needs for a good poll without a fault.
pub(crate) const RECOVERY: u64 = INTERVAL + PROCESSING_MARGIN;
/// The time after a fault for which it may still cause a 503: the engine polls a failed service
/// less often, and recovers slowly.
pub(crate) const AFTERMATH: u64 = MAX_STALENESS + POLL_TIMEOUT + PROCESSING_MARGIN;

/// The kind of an outage in which the machine is too slow to poll.
pub(crate) const OVERLOAD: &str = "overload";

pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// The time from before an action starts until after it is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) until: u64,
}

#[derive(Debug, Default)]
pub(crate) struct EventLog {
    pub(crate) records: Vec<SessionRecord>,
    pub(crate) responses: Vec<Outcome>,
    /// Sorted by start.
    pub(crate) outages: Vec<Outage>,
    pub(crate) seconds: u64,
}

/// The record of a session.
#[derive(Debug, Default)]
pub(crate) struct SessionRecord {
    pub(crate) user: usize,
    pub(crate) started_at: u64,
    /// The time of the end, from the emulator.
    pub(crate) ended_at: Option<u64>,
    /// The time when the emulator first reported the end.
    pub(crate) first_told_at: Option<u64>,
    /// Whether the driver sent requests continuously from the end until the first denial.
    pub(crate) watched: bool,
    pub(crate) logout: Option<Span>,
    pub(crate) absences: Vec<Absence>,
}

/// A time in which the phone was away.
#[derive(Debug)]
pub(crate) struct Absence {
    pub(crate) left: Span,
    /// The time when the emulator first reported the walkaway, if known.
    pub(crate) told_at: Option<u64>,
    pub(crate) back: Option<Span>,
}

/// The status of a response that was cut before its first byte.
pub(crate) const CUT: u16 = 0;

/// A request and its result.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The index of the session's record.
    pub(crate) record: usize,
    /// From before the request was sent until the last byte of the response.
    pub(crate) span: Span,
    /// The time when the response left the gate, without the time on the wire.
    pub(crate) left: u64,
    pub(crate) status: u16,
    /// Whether the request was sent to measure when an end takes effect.
    pub(crate) is_watch: bool,
}

/// A time in which polls fail.
#[derive(Debug)]
pub(crate) struct Outage {
    pub(crate) kind: String,
    pub(crate) span: Span,
    /// The affected users; `None` for all.
    pub(crate) users: Option<BTreeSet<usize>>,
}

impl Outage {
    /// The time from which polls are on time again.
    pub(crate) fn effect_end(&self) -> u64 {
        self.span.until.saturating_add(AFTERMATH - RECOVERY)
    }

    fn overlaps(&self, span: Span) -> bool {
        self.span.from <= span.until && span.from <= self.effect_end()
    }
}

impl EventLog {
    pub(crate) fn outages_of(&self, user: usize) -> impl Iterator<Item = &Outage> {
        let affects =
            move |outage: &&Outage| outage.users.as_ref().is_none_or(|users| users.contains(&user));
        self.outages.iter().filter(affects)
    }

    /// Whether a fault may have affected a poll of this user in the span.
    pub(crate) fn is_disturbed(&self, user: usize, span: Span) -> bool {
        self.outages_of(user).any(|outage| outage.overlaps(span))
    }

    /// Whether the machine was too slow in the span.
    pub(crate) fn is_overloaded(&self, span: Span) -> bool {
        self.outages.iter().any(|outage| outage.kind == OVERLOAD && outage.overlaps(span))
    }

    /// The longest part of the span in which no fault may have affected a poll of this user.
    pub(crate) fn longest_calm(&self, user: usize, span: Span) -> u64 {
        let (mut longest, mut calm_since) = (0, span.from);
        for outage in self.outages_of(user) {
            let until = outage.span.from.min(span.until);
            longest = longest.max(until.saturating_sub(calm_since));
            calm_since = calm_since.max(outage.effect_end());
        }
        longest.max(span.until.saturating_sub(calm_since))
    }
}
