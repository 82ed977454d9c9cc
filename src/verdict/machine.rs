use super::Standing;
use crate::clock::Stamp;
use crate::protocol::{Reading, SessionStatus};

/// What one poll said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A well-formed answer.
    Answer(Reading),
    /// Network, timeout, an error status, something unparsable: nothing is learned.
    Nothing,
}

/// How long after the last `walkaway` an `active` must have been sent to resume, in milliseconds:
/// a phone at the edge of its range must not flicker.
const DWELL: u64 = 3_000;

/// How long a session may go on saying odd things, in milliseconds.
const ODD_LIMIT: u64 = 300_000;

/// The state of one session, moved by what polls say, in the order they were sent.
#[derive(Debug)]
pub(crate) struct Machine {
    standing: Standing,
    status: SessionStatus,
    good: Stamp,
    applied: u64,
    walked_away: Option<Stamp>,
    odd_since: Option<Stamp>,
}

impl Machine {
    /// A session that the service has just made, at the time it was asked for.
    pub(crate) fn new(asked: Stamp) -> Self {
        Self {
            standing: Standing::Pending,
            status: SessionStatus::Pending,
            good: asked,
            applied: 0,
            walked_away: None,
            odd_since: None,
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing
    }

    /// The last status that was stated, whatever its age.
    pub(crate) fn status(&self) -> SessionStatus {
        self.status
    }

    /// When the last good poll was sent.
    pub(crate) fn good(&self) -> Stamp {
        self.good
    }

    /// Ends the session from here. The first end stays.
    pub(crate) fn end(&mut self, status: SessionStatus) {
        if self.standing != Standing::Ended {
            self.standing = Standing::Ended;
            self.status = status;
        }
    }

    /// Applies what poll number `sequence` (1, 2, …), sent at `sent`, said. A reply that comes
    /// after a later one says nothing any more, and nothing revives an ended session.
    pub(crate) fn apply(&mut self, sequence: u64, sent: Stamp, said: Said) {
        if self.standing == Standing::Ended || sequence <= self.applied {
            return;
        }
        self.applied = sequence;
        match said {
            Said::Nothing => {}
            Said::Answer(Reading::Status(status)) if !self.goes_back(status) => {
                self.state(status, sent);
            }
            Said::Answer(_) => self.doubt(sent),
        }
    }

    fn goes_back(&self, status: SessionStatus) -> bool {
        rank(status) < rank(self.status)
    }

    fn state(&mut self, status: SessionStatus, sent: Stamp) {
        self.good = sent;
        self.odd_since = None;
        if status == SessionStatus::Walkaway {
            self.walked_away = Some(sent);
        }
        let flickers = status == SessionStatus::Active
            && self.walked_away.is_some_and(|away| sent.mono.saturating_sub(away.mono) < DWELL);
        if flickers {
            self.standing = Standing::Suspended;
            return;
        }
        self.status = status;
        self.standing = match status {
            SessionStatus::Active => Standing::Active,
            SessionStatus::Walkaway => Standing::Suspended,
            status if status.is_terminal() => Standing::Ended,
            _ => Standing::Pending,
        };
    }

    fn doubt(&mut self, sent: Stamp) {
        let since = *self.odd_since.get_or_insert(sent);
        if since.age(sent) >= ODD_LIMIT {
            self.end(SessionStatus::Failed);
        } else {
            self.standing = Standing::Odd;
        }
    }
}

/// How far a session has come; it never goes back.
const fn rank(status: SessionStatus) -> u8 {
    match status {
        SessionStatus::Pending | SessionStatus::Unknown => 0,
        SessionStatus::Identifying => 1,
        SessionStatus::Active | SessionStatus::Walkaway => 2,
        SessionStatus::Closed
        | SessionStatus::Timeout
        | SessionStatus::Failed
        | SessionStatus::Cancelled => 3,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Knowledge, Verdict, verdict};
    use super::*;

    const STALE: Duration = Duration::from_secs(15);

    fn at(seconds: u64) -> Stamp {
        Stamp { mono: seconds * 1000, wall: 1_700_000_000_000 + seconds * 1000 }
    }

    fn says(status: SessionStatus) -> Said {
        Said::Answer(Reading::Status(status))
    }

    fn judge(machine: &Machine, now: Stamp) -> Verdict {
        let known =
            Knowledge { standing: machine.standing(), good: machine.good(), expires: at(40_000) };
        verdict(&known, now, STALE)
    }

    /// A session whose polls, sent at these seconds, said these things.
    fn after(polls: &[(u64, Said)]) -> Machine {
        let mut machine = Machine::new(at(0));
        for (i, (sent, said)) in polls.iter().enumerate() {
            machine.apply(i as u64 + 1, at(*sent), *said);
        }
        machine
    }

    #[test]
    fn only_active_allows_and_only_while_fresh() {
        for status in SessionStatus::WIRE {
            let expected = match status {
                SessionStatus::Active => Verdict::Allow,
                SessionStatus::Walkaway => Verdict::Suspended,
                SessionStatus::Pending | SessionStatus::Identifying => Verdict::Pending,
                _ => Verdict::Ended,
            };
            assert_eq!(judge(&after(&[(1, says(status))]), at(2)), expected, "{status}");
        }
        let machine = after(&[(1, says(SessionStatus::Active))]);
        let mut edge = at(16);
        edge.mono -= 1;
        edge.wall -= 1;
        assert_eq!(judge(&machine, edge), Verdict::Allow);
        assert_eq!(judge(&machine, at(16)), Verdict::Unavailable);
        // Either clock is enough: a machine that slept, and a wall clock that jumped ahead.
        assert_eq!(judge(&machine, Stamp { mono: 2_000, ..at(16) }), Verdict::Unavailable);
        assert_eq!(judge(&machine, Stamp { wall: 0, ..at(16) }), Verdict::Unavailable);
        assert_eq!(judge(&machine, Stamp { wall: 0, ..at(2) }), Verdict::Allow);
    }

    #[test]
    fn terminal_is_sticky() {
        for end in [
            SessionStatus::Closed,
            SessionStatus::Timeout,
            SessionStatus::Failed,
            SessionStatus::Cancelled,
        ] {
            let machine = after(&[
                (1, says(SessionStatus::Active)),
                (2, says(end)),
                (3, says(SessionStatus::Active)),
            ]);
            assert_eq!(judge(&machine, at(3)), Verdict::Ended);
            assert_eq!(machine.status(), end);
        }
        let mut machine = after(&[(1, says(SessionStatus::Active))]);
        machine.end(SessionStatus::Closed);
        machine.apply(9, at(2), says(SessionStatus::Active));
        assert_eq!(judge(&machine, at(2)), Verdict::Ended);
        let machine = after(&[(1, says(SessionStatus::Active))]);
        let expired = Knowledge { standing: machine.standing(), good: at(9), expires: at(10) };
        assert_eq!(verdict(&expired, at(10), STALE), Verdict::Ended);
    }

    #[test]
    fn replies_apply_in_the_order_sent() {
        let mut machine =
            after(&[(1, says(SessionStatus::Active)), (2, says(SessionStatus::Walkaway))]);
        machine.apply(2, at(2), says(SessionStatus::Active));
        machine.apply(1, at(1), says(SessionStatus::Active));
        assert_eq!(judge(&machine, at(2)), Verdict::Suspended);
    }

    #[test]
    fn walking_away_suspends_until_active_was_sent_three_seconds_later() {
        let machine = after(&[
            (1, says(SessionStatus::Active)),
            (2, says(SessionStatus::Walkaway)),
            (4, says(SessionStatus::Active)),
        ]);
        assert_eq!(judge(&machine, at(4)), Verdict::Suspended);
        assert_eq!(machine.status(), SessionStatus::Walkaway);
        let machine = after(&[
            (1, says(SessionStatus::Active)),
            (2, says(SessionStatus::Walkaway)),
            (5, says(SessionStatus::Active)),
        ]);
        assert_eq!(judge(&machine, at(5)), Verdict::Allow);
    }

    #[test]
    fn an_odd_statement_doubts_until_the_next_good_poll() {
        let active = (1, says(SessionStatus::Active));
        for odd in [
            Said::Answer(Reading::Odd),
            says(SessionStatus::Pending),
            says(SessionStatus::Identifying),
        ] {
            assert_eq!(judge(&after(&[active, (2, odd)]), at(2)), Verdict::Unavailable);
            let machine = after(&[active, (2, odd), (3, says(SessionStatus::Active))]);
            assert_eq!(judge(&machine, at(3)), Verdict::Allow);
            let machine = after(&[active, (2, odd), (301, odd)]);
            assert_eq!(judge(&machine, at(301)), Verdict::Unavailable);
            let machine = after(&[active, (2, odd), (302, odd)]);
            assert_eq!(judge(&machine, at(302)), Verdict::Ended);
        }
        // No statement leaves the last good one standing until it is stale.
        let machine = after(&[active, (2, Said::Nothing)]);
        assert_eq!(judge(&machine, at(2)), Verdict::Allow);
        assert_eq!(judge(&machine, at(16)), Verdict::Unavailable);
    }
}
