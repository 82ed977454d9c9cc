//! A session against a model of it: a few obvious lines that know nothing of the state machine,
//! asked anew from the whole history at each step.

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

const STALE: u64 = 15_000;
const LIFETIME: u64 = 3_600_000;

#[derive(Clone, Debug)]
enum Step {
    /// Time goes by; the wall clock may jump.
    Pass { mono: u64, wall_jump: i64 },
    /// A poll is sent.
    Send,
    /// One of the polls on their way is answered, whichever.
    Reply { which: usize, said: Reply, others: bool },
    /// The session is ended here.
    End,
}

/// What a poll said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reply {
    Status(SessionStatus),
    Odd,
    Refused,
    Nothing,
}

/// A poll that was answered, or was not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Polled {
    pub(crate) sequence: u64,
    pub(crate) sent: Timestamp,
    pub(crate) said: Reply,
    /// When a call to the service that was answered well was sent last.
    pub(crate) others_answered: Option<Timestamp>,
    /// Whether that was lately.
    pub(crate) others_lately: bool,
}

/// What happened, in the order it became known.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) polls: Vec<Polled>,
    pub(crate) ended_here: bool,
}

impl History {
    /// What a reader of the design would say, from the beginning.
    pub(crate) fn verdict(&self, begun: Timestamp, lifetime: u64, now: Timestamp) -> Verdict {
        let mut newest = 0;
        let (mut good, mut status) = (begun, SessionStatus::Pending);
        let (mut odd_since, mut silent_since, mut refused) = (None, None, None::<Timestamp>);
        let (mut away, mut suspended, mut over) = (None::<Timestamp>, false, false);
        for Polled { sequence, sent, said, others_answered, others_lately } in &self.polls {
            if *sequence < newest || over {
                continue;
            }
            newest = *sequence;
            let answered_since =
                |first: Timestamp| others_answered.is_some_and(|at| at.mono >= first.mono);
            let far = |status| match status {
                SessionStatus::Pending => 0,
                SessionStatus::Identifying => 1,
                SessionStatus::Active | SessionStatus::Walkaway => 2,
                _ => 3,
            };
            match *said {
                Reply::Status(stated) if far(stated) >= far(status) => {
                    (good, odd_since, silent_since, refused) = (*sent, None, None, None);
                    if stated == SessionStatus::Walkaway {
                        away = Some(*sent);
                    }
                    let soon =
                        away.is_some_and(|away| sent.mono < away.mono + Millis::from_secs(3));
                    suspended = stated == SessionStatus::Walkaway
                        || (stated == SessionStatus::Active && soon);
                    status = if suspended { SessionStatus::Walkaway } else { stated };
                    over = far(stated) == 3;
                }
                Reply::Status(_) | Reply::Odd => {
                    (silent_since, refused) = (None, None);
                    let since = *odd_since.get_or_insert(*sent);
                    over = age(since, *sent) >= 300_000;
                }
                Reply::Refused if refused.is_some_and(answered_since) => over = true,
                Reply::Refused | Reply::Nothing => {
                    if *said == Reply::Refused {
                        refused = refused.or(Some(*sent));
                    }
                    if *others_lately {
                        let since = *silent_since.get_or_insert(*sent);
                        over = age(since, *sent) >= 300_000;
                    } else {
                        silent_since = None;
                    }
                }
            }
        }
        if over || self.ended_here || age(begun, now) >= lifetime {
            Verdict::Ended
        } else if odd_since.is_some() || age(good, now) >= STALE {
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

/// Whichever clock says older.
fn age(then: Timestamp, now: Timestamp) -> u64 {
    now.mono.since(then.mono).max(now.wall.since(then.wall)).as_millis()
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop::sample::select(&SessionStatus::ALL[..]);
    let lively = prop_oneof![Just(SessionStatus::Active), Just(SessionStatus::Walkaway)];
    let said = prop_oneof![
        8 => lively.prop_map(Reply::Status),
        2 => status.prop_map(Reply::Status),
        1 => Just(Reply::Odd),
        1 => Just(Reply::Refused),
        1 => Just(Reply::Nothing),
    ];
    let jump = prop_oneof![
        24 => Just(0),
        2 => -400_000_000..400_000_000_i64,
        // By a hundred days, more or less, and by anything.
        2 => prop_oneof![-9_000_000_000..-8_000_000_000_i64, 8_000_000_000..9_000_000_000_i64],
        1 => any::<i64>(),
    ];
    let pass = prop_oneof![8 => 0..6_000_u64, 1 => 14_990..15_010_u64, 1 => 0..400_000_u64];
    prop_oneof![
        4 => (pass, jump).prop_map(|(mono, wall_jump)| Step::Pass { mono, wall_jump }),
        4 => Just(Step::Send),
        6 => (any::<usize>(), said, any::<bool>())
            .prop_map(|(which, said, others)| Step::Reply { which, said, others }),
        1 => prop::bool::weighted(0.1).prop_map(|ends| if ends { Step::End } else { Step::Send }),
    ]
}

fn reply(session: &Arc<Session>, sequence: u64, sent: Timestamp, said: Reply, others: bool) {
    let said = match said {
        Reply::Status(status) => PollOutcome::Status(StatusReading::Status(status)),
        Reply::Odd => PollOutcome::Status(StatusReading::Inconsistent),
        Reply::Refused => PollOutcome::Rejected,
        Reply::Nothing => PollOutcome::NoResponse,
    };
    // Others were answered just now, or never.
    let answered = others
        .then_some(Timestamp { mono: MonoTime::NEVER, wall: UnixTime::from_millis(u64::MAX) });
    let others = UpstreamSnapshot { last_success: answered, is_recent: others };
    session.apply_poll(sequence, sent, said, others);
    session.finish_poll(sent, Duration::ZERO, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn session_matches_model(steps in prop::collection::vec(step(), 50)) {
        let session = test_session(&"alice".into(), &UserToken::random().unwrap());
        let begun = session.lifecycle.created_at();
        let (mut now, mut history, mut on_their_way) = (begun, History::default(), Vec::new());
        let mut sequence = 0;
        let mut was_over = false;
        for step in steps {
            match step {
                Step::Pass { mono, wall_jump } => {
                    now.mono = now.mono + Millis::from_millis(mono);
                    let wall = now.wall + Millis::from_millis(mono);
                    now.wall = wall.saturating_add_signed(wall_jump);
                }
                Step::Send => {
                    sequence += 1;
                    on_their_way.push((sequence, now));
                }
                Step::Reply { which, said, others } if !on_their_way.is_empty() => {
                    let (sequence, sent) = on_their_way.remove(which % on_their_way.len());
                    // Others were answered just now, or never.
                    let others_answered = others.then_some(Timestamp { mono: MonoTime::NEVER, wall: UnixTime::from_millis(u64::MAX) });
                    let others_lately = others;
                    history.polls.push(Polled {
                        sequence,
                        sent,
                        said,
                        others_answered,
                        others_lately,
                    });
                    reply(&session, sequence, sent, said, others);
                }
                Step::Reply { .. } => {}
                Step::End => {
                    history.ended_here = true;
                    session.end(EndReason::LoggedOut);
                }
            }
            let (said, expected) = (session.verdict_at(now), history.verdict(begun, LIFETIME, now));
            prop_assert_eq!(said, expected, "at {:?} after {:?}", now, history);
            // An end that was stated, or made here, is for ever. (One by age is as old as the
            // clocks say, and they can be set back.)
            prop_assert!(!was_over || said == Verdict::Ended);
            was_over = was_over || session.lifecycle.status().is_terminal();
        }
    }
}

/// 2,000 traces; as many as `TRACES` says in a long run.
pub(crate) fn cases() -> u32 {
    std::env::var("TRACES").ok().and_then(|traces| traces.parse().ok()).unwrap_or(2_000)
}
