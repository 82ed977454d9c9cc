//! Model-based test of a session. The model is short, does not use the state machine, and computes
//! each verdict from the whole history.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::clock::{Millis, MonoTime, Timestamp, UnixTime};
use crate::events::event::EndReason;
use crate::identity::UserToken;
use crate::protocol::{SessionStatus, StatusReading};
use crate::session::live::Session;
use crate::session::test_session::test_session;
use crate::verdict::{PollOutcome, UpstreamSnapshot, Verdict};

const MAX_STALENESS_MS: u64 = 15_000;
const LIFETIME_MS: u64 = 3_600_000;

#[derive(Clone, Debug)]
enum Step {
    /// Advances both clocks, and shifts the wall clock.
    Advance { mono: u64, wall_jump: i64 },
    /// Sends a poll.
    Send,
    /// Completes one of the polls in flight.
    Complete { index: usize, reply: Reply, is_recent: bool },
    /// Ends the session locally.
    End,
}

/// The result of a poll.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reply {
    Status(SessionStatus),
    Inconsistent,
    Rejected,
    NoResponse,
}

/// A completed poll.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Polled {
    pub(crate) sequence: u64,
    pub(crate) sent: Timestamp,
    pub(crate) reply: Reply,
    /// The time when the latest successful call of any session was sent.
    pub(crate) last_success: Option<Timestamp>,
    /// Whether `last_success` is recent.
    pub(crate) is_recent: bool,
}

/// The events of a session, in the order in which the engine learns of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) polls: Vec<Polled>,
    pub(crate) ended_here: bool,
}

impl History {
    /// The verdict by the rules of the design, from the whole history.
    pub(crate) fn verdict(&self, created_at: Timestamp, lifetime: u64, now: Timestamp) -> Verdict {
        let mut newest = 0;
        let (mut last_good, mut status) = (created_at, SessionStatus::Pending);
        let mut inconsistent_since = None;
        let mut no_response_since = None;
        let mut rejected_at = None::<Timestamp>;
        let (mut last_walkaway, mut suspended, mut ended) = (None::<Timestamp>, false, false);
        for Polled { sequence, sent, reply, last_success, is_recent } in &self.polls {
            if *sequence < newest || ended {
                continue;
            }
            newest = *sequence;
            let success_since =
                |first: Timestamp| last_success.is_some_and(|at| at.mono >= first.mono);
            let rank = |status| match status {
                SessionStatus::Pending => 0,
                SessionStatus::Identifying => 1,
                SessionStatus::Active | SessionStatus::Walkaway => 2,
                _ => 3,
            };
            match *reply {
                Reply::Status(reported) if rank(reported) >= rank(status) => {
                    (inconsistent_since, no_response_since, rejected_at) = (None, None, None);
                    last_good = *sent;
                    if reported == SessionStatus::Walkaway {
                        last_walkaway = Some(*sent);
                    }
                    let is_debounced =
                        last_walkaway.is_some_and(|at| sent.mono < at.mono + Millis::from_secs(3));
                    suspended = reported == SessionStatus::Walkaway
                        || (reported == SessionStatus::Active && is_debounced);
                    status = if suspended { SessionStatus::Walkaway } else { reported };
                    ended = rank(reported) == 3;
                }
                Reply::Status(_) | Reply::Inconsistent => {
                    (no_response_since, rejected_at) = (None, None);
                    let since = *inconsistent_since.get_or_insert(*sent);
                    ended = age(since, *sent) >= 300_000;
                }
                Reply::Rejected if rejected_at.is_some_and(success_since) => ended = true,
                Reply::Rejected | Reply::NoResponse => {
                    if *reply == Reply::Rejected {
                        rejected_at = rejected_at.or(Some(*sent));
                    }
                    if *is_recent {
                        let since = *no_response_since.get_or_insert(*sent);
                        ended = age(since, *sent) >= 300_000;
                    } else {
                        no_response_since = None;
                    }
                }
            }
        }
        if ended || self.ended_here || age(created_at, now) >= lifetime {
            Verdict::Ended
        } else if inconsistent_since.is_some() || age(last_good, now) >= MAX_STALENESS_MS {
            Verdict::Unavailable
        } else if suspended {
            Verdict::Suspended
        } else if status == SessionStatus::Active {
            Verdict::Allow
        } else {
            Verdict::Pending
        }
    }
}

/// The age by the clock that says older, in milliseconds.
fn age(then: Timestamp, now: Timestamp) -> u64 {
    now.mono.since(then.mono).max(now.wall.since(then.wall)).as_millis()
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop::sample::select(&SessionStatus::ALL[..]);
    let lively = prop_oneof![Just(SessionStatus::Active), Just(SessionStatus::Walkaway)];
    let reply = prop_oneof![
        8 => lively.prop_map(Reply::Status),
        2 => status.prop_map(Reply::Status),
        1 => Just(Reply::Inconsistent),
        1 => Just(Reply::Rejected),
        1 => Just(Reply::NoResponse),
    ];
    let jump = prop_oneof![
        24 => Just(0),
        2 => -400_000_000..400_000_000_i64,
        // About a hundred days, and any value.
        2 => prop_oneof![-9_000_000_000..-8_000_000_000_i64, 8_000_000_000..9_000_000_000_i64],
        1 => any::<i64>(),
    ];
    let advance = prop_oneof![8 => 0..6_000_u64, 1 => 14_990..15_010_u64, 1 => 0..400_000_u64];
    prop_oneof![
        4 => (advance, jump).prop_map(|(mono, wall_jump)| Step::Advance { mono, wall_jump }),
        4 => Just(Step::Send),
        6 => (any::<usize>(), reply, any::<bool>())
        .prop_map(|(index, reply, is_recent)| Step::Complete { index, reply, is_recent }),
        1 => prop::bool::weighted(0.1).prop_map(|ends| if ends { Step::End } else { Step::Send }),
    ]
}

/// Calls were successful just now, or never.
fn last_success(is_recent: bool) -> Option<Timestamp> {
    is_recent.then_some(Timestamp { mono: MonoTime::NEVER, wall: UnixTime::from_millis(u64::MAX) })
}

fn apply(session: &Arc<Session>, sequence: u64, sent: Timestamp, reply: Reply, is_recent: bool) {
    let outcome = match reply {
        Reply::Status(status) => PollOutcome::Status(StatusReading::Status(status)),
        Reply::Inconsistent => PollOutcome::Status(StatusReading::Inconsistent),
        Reply::Rejected => PollOutcome::Rejected,
        Reply::NoResponse => PollOutcome::NoResponse,
    };
    let upstream = UpstreamSnapshot { last_success: last_success(is_recent), is_recent };
    session.apply_poll(sequence, sent, outcome, upstream);
    session.finish_poll(sent, Duration::ZERO, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn session_matches_model(steps in prop::collection::vec(step(), 50)) {
        let session = test_session(&"alice".into(), &UserToken::random().unwrap());
        let created_at = session.lifecycle.created_at();
        let (mut now, mut history, mut in_flight) = (created_at, History::default(), Vec::new());
        let mut sequence = 0;
        let mut was_ended = false;
        for step in steps {
            match step {
                Step::Advance { mono, wall_jump } => {
                    now.mono = now.mono + Millis::from_millis(mono);
                    let wall = now.wall + Millis::from_millis(mono);
                    now.wall = wall.saturating_add_signed(wall_jump);
                }
                Step::Send => {
                    sequence += 1;
                    in_flight.push((sequence, now));
                }
                Step::Complete { index, reply, is_recent } if !in_flight.is_empty() => {
                let (sequence, sent) = in_flight.remove(index % in_flight.len());
                let last_success = last_success(is_recent);
                history.polls.push(Polled { sequence, sent, reply, last_success, is_recent });
                apply(&session, sequence, sent, reply, is_recent);
                }
                Step::Complete { .. } => {}
                Step::End => {
                    history.ended_here = true;
                    session.end(EndReason::LoggedOut);
                }
            }
            let (verdict, expected) =
            (session.verdict_at(now), history.verdict(created_at, LIFETIME_MS, now));
            prop_assert_eq!(verdict, expected, "at {:?} after {:?}", now, history);
            // A reported or local end is permanent. (An end by age is not, because the clocks can
            // be set back.)
            prop_assert!(!was_ended || verdict == Verdict::Ended);
            was_ended = was_ended || session.lifecycle.status().is_terminal();
        }
    }
}

/// The number of traces: the environment variable `TRACES`, or 2,000.
pub(crate) fn cases() -> u32 {
    std::env::var("TRACES").ok().and_then(|traces| traces.parse().ok()).unwrap_or(2_000)
}
