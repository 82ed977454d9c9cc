use super::KnownState;
use crate::clock::{Millis, Timestamp};
use crate::protocol::{SessionStatus, StatusReading};

/// What one poll said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollOutcome {
    /// A well-formed answer.
    Status(StatusReading),
    /// The service itself, in JSON, rejected the session's signature or did not know the session.
    /// Nothing is learned by that, unless it says so again.
    Rejected,
    /// Network, timeout, an error status, something unparsable: nothing is learned.
    NoResponse,
}

/// What the service lately said to others: to other sessions, or to a signed management call. Only
/// in the midst of that can rejections and silence mean this session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UpstreamSnapshot {
    /// When the last call that was answered well was sent.
    pub(crate) last_success: Option<Timestamp>,
    /// Whether that is recent enough to say that the service answers at all.
    pub(crate) is_recent: bool,
}

/// How long after the last `walkaway` an `active` must have been sent to resume, in milliseconds:
/// a phone at the edge of its range must not flicker.
const WALKAWAY_DEBOUNCE: Millis = Millis::from_secs(3);

/// How long a session may go on saying odd things, or nothing while the service answers others,
/// in milliseconds. Then it is lost.
const LOST_AFTER: Millis = Millis::from_secs(300);

/// The state of one session, moved by what polls say, in the order they were sent.
#[derive(Debug)]
pub(crate) struct SessionStateMachine {
    known_state: KnownState,
    status: SessionStatus,
    last_good_at: Timestamp,
    applied: u64,
    walked_away: Option<Timestamp>,
    inconsistent_since: Option<Timestamp>,
    no_response_since: Option<Timestamp>,
    rejected_since: Option<Timestamp>,
    lost: bool,
}

impl SessionStateMachine {
    /// A session that the service has just made, at the time it was asked for.
    pub(crate) fn new(asked: Timestamp) -> Self {
        Self {
            known_state: KnownState::Pending,
            status: SessionStatus::Pending,
            last_good_at: asked,
            applied: 0,
            walked_away: None,
            inconsistent_since: None,
            no_response_since: None,
            rejected_since: None,
            lost: false,
        }
    }

    /// A session of which no more is known than this.
    pub(crate) fn resume(known_state: KnownState, status: SessionStatus, good: Timestamp) -> Self {
        Self { known_state, status, ..Self::new(good) }
    }

    /// Whether [`SessionStateMachine::resume`] would make the same again.
    pub(crate) fn has_no_history(&self) -> bool {
        let doubts = [
            self.walked_away,
            self.inconsistent_since,
            self.no_response_since,
            self.rejected_since,
        ];
        doubts.iter().all(Option::is_none)
    }

    pub(crate) fn known_state(&self) -> KnownState {
        self.known_state
    }

    /// The last status that was stated, whatever its age.
    pub(crate) fn status(&self) -> SessionStatus {
        self.status
    }

    /// Whether it ended because the service went on making no sense, or no longer knows it.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// When the last good poll was sent.
    pub(crate) fn last_good_at(&self) -> Timestamp {
        self.last_good_at
    }

    /// Ends the session from here. The first end stays.
    pub(crate) fn end(&mut self, status: SessionStatus) {
        if self.known_state != KnownState::Ended {
            self.known_state = KnownState::Ended;
            self.status = status;
        }
    }

    /// Applies what poll number `sequence` (1, 2, …), sent at `sent`, said. A reply that comes
    /// after a later one says nothing any more, and nothing revives an ended session.
    pub(crate) fn apply(
        &mut self,
        sequence: u64,
        sent: Timestamp,
        said: PollOutcome,
        others: UpstreamSnapshot,
    ) {
        if self.known_state == KnownState::Ended || sequence <= self.applied {
            return;
        }
        self.applied = sequence;
        match said {
            PollOutcome::Status(StatusReading::Status(status)) if !self.is_regression(status) => {
                self.apply_status(status, sent);
            }
            PollOutcome::Status(_) => self.apply_inconsistent(sent),
            PollOutcome::Rejected => self.apply_rejection(sent, others),
            PollOutcome::NoResponse => self.apply_no_response(sent, others),
        }
    }

    fn is_regression(&self, status: SessionStatus) -> bool {
        rank(status) < rank(self.status)
    }

    fn apply_status(&mut self, status: SessionStatus, sent: Timestamp) {
        self.last_good_at = sent;
        self.inconsistent_since = None;
        self.no_response_since = None;
        self.rejected_since = None;
        if status == SessionStatus::Walkaway {
            self.walked_away = Some(sent);
        }
        let flickers = status == SessionStatus::Active
            && self.walked_away.is_some_and(|away| sent.mono.since(away.mono) < WALKAWAY_DEBOUNCE);
        if flickers {
            self.known_state = KnownState::Suspended;
            return;
        }
        if status != SessionStatus::Walkaway {
            self.walked_away = None;
        }
        self.status = status;
        self.known_state = match status {
            SessionStatus::Active => KnownState::Active,
            SessionStatus::Walkaway => KnownState::Suspended,
            status if status.is_terminal() => KnownState::Ended,
            _ => KnownState::Pending,
        };
    }

    fn apply_inconsistent(&mut self, sent: Timestamp) {
        self.no_response_since = None;
        self.rejected_since = None;
        self.known_state = KnownState::Inconsistent;
        if self.inconsistent_since.get_or_insert(sent).age(sent) >= LOST_AFTER {
            self.mark_lost();
        }
    }

    /// The second rejection ends the session if another session was answered since the first.
    fn apply_rejection(&mut self, sent: Timestamp, others: UpstreamSnapshot) {
        match (self.rejected_since, others.last_success) {
            (Some(first), Some(answered)) if answered.mono >= first.mono => self.mark_lost(),
            _ => {
                self.rejected_since.get_or_insert(sent);
                self.apply_no_response(sent, others);
            }
        }
    }

    /// No statement. Only silence in the midst of answers to others adds up.
    fn apply_no_response(&mut self, sent: Timestamp, others: UpstreamSnapshot) {
        if !others.is_recent {
            self.no_response_since = None;
        } else if self.no_response_since.get_or_insert(sent).age(sent) >= LOST_AFTER {
            self.mark_lost();
        }
    }

    fn mark_lost(&mut self) {
        self.end(SessionStatus::Closed);
        self.lost = true;
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
    use super::super::{Verdict, VerdictInput, VerdictLimits, verdict};
    use super::*;
    use crate::clock::{MonoTime, UnixTime};

    const LIMITS: VerdictLimits =
        VerdictLimits { max_staleness: Millis::from_secs(15), lifetime: Millis::from_secs(40_000) };

    fn at(seconds: u64) -> Timestamp {
        Timestamp {
            mono: MonoTime::START + Millis::from_secs(seconds),
            wall: UnixTime::from_millis(1_700_000_000_000) + Millis::from_secs(seconds),
        }
    }

    /// Others are answered, as of this second.
    fn answered(seconds: u64) -> UpstreamSnapshot {
        UpstreamSnapshot { last_success: Some(at(seconds)), is_recent: true }
    }

    /// No session is answered any more.
    const SILENT: UpstreamSnapshot = UpstreamSnapshot {
        last_success: Some(Timestamp {
            mono: MonoTime::from_millis(1_000),
            wall: UnixTime::from_millis(1),
        }),
        is_recent: false,
    };

    fn says(status: SessionStatus) -> PollOutcome {
        PollOutcome::Status(StatusReading::Status(status))
    }

    fn judge(machine: &SessionStateMachine, now: Timestamp) -> Verdict {
        let (age, lived) = (machine.last_good_at().age(now), at(0).age(now));
        verdict(
            VerdictInput { state: machine.known_state(), staleness: age, session_age: lived },
            LIMITS,
        )
    }

    /// A session whose polls, sent at these seconds, said these things.
    fn after(polls: &[(u64, PollOutcome)]) -> SessionStateMachine {
        let mut machine = SessionStateMachine::new(at(0));
        for (i, (sent, said)) in polls.iter().enumerate() {
            machine.apply(i as u64 + 1, at(*sent), *said, answered(*sent));
        }
        machine
    }

    #[test]
    fn only_active_allows_and_only_while_fresh() {
        for status in SessionStatus::ALL {
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
        edge.mono = edge.mono.before(Millis::from_millis(1));
        edge.wall = edge.wall.before(Millis::from_millis(1));
        assert_eq!(judge(&machine, edge), Verdict::Allow);
        assert_eq!(judge(&machine, at(16)), Verdict::Unavailable);
        // Either clock is enough: a machine that slept, and a wall clock that jumped ahead.
        assert_eq!(judge(&machine, Timestamp { mono: at(2).mono, ..at(16) }), Verdict::Unavailable);
        assert_eq!(
            judge(&machine, Timestamp { wall: UnixTime::default(), ..at(16) }),
            Verdict::Unavailable
        );
        assert_eq!(
            judge(&machine, Timestamp { wall: UnixTime::default(), ..at(2) }),
            Verdict::Allow
        );
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
        machine.apply(9, at(2), says(SessionStatus::Active), answered(2));
        assert_eq!(judge(&machine, at(2)), Verdict::Ended);
        let machine = after(&[(1, says(SessionStatus::Active))]);
        let expired = VerdictInput {
            state: machine.known_state(),
            staleness: Millis::from_millis(1),
            session_age: LIMITS.lifetime,
        };
        assert_eq!(verdict(expired, LIMITS), Verdict::Ended);
    }

    #[test]
    fn replies_apply_in_the_order_sent() {
        let mut machine =
            after(&[(1, says(SessionStatus::Active)), (2, says(SessionStatus::Walkaway))]);
        machine.apply(2, at(2), says(SessionStatus::Active), answered(2));
        machine.apply(1, at(1), says(SessionStatus::Active), answered(1));
        assert_eq!(judge(&machine, at(2)), Verdict::Suspended);
        // The doubt of a later poll stays, and so does the time of the last good one.
        let mut machine = SessionStateMachine::new(at(0));
        machine.apply(1, at(1), says(SessionStatus::Active), answered(1));
        machine.apply(3, at(5), PollOutcome::Status(StatusReading::Inconsistent), answered(5));
        machine.apply(2, at(4), says(SessionStatus::Active), answered(4));
        assert_eq!(judge(&machine, at(5)), Verdict::Unavailable);
        machine.apply(5, at(9), says(SessionStatus::Active), answered(9));
        machine.apply(4, at(8), says(SessionStatus::Active), answered(8));
        assert_eq!(machine.last_good_at(), at(9));
    }

    #[test]
    fn walkaway_resumes_after_debounce() {
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
    fn odd_statement_doubts_until_the_next_good_poll() {
        let active = (1, says(SessionStatus::Active));
        for odd in [
            PollOutcome::Status(StatusReading::Inconsistent),
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
        let machine = after(&[active, (2, PollOutcome::NoResponse)]);
        assert_eq!(judge(&machine, at(2)), Verdict::Allow);
        assert_eq!(judge(&machine, at(16)), Verdict::Unavailable);
    }
    #[test]
    fn two_rejections_end_session_under_healthy_origin() {
        let active = (1, says(SessionStatus::Active));
        assert_eq!(judge(&after(&[active, (6, PollOutcome::Rejected)]), at(6)), Verdict::Allow);
        let twice = after(&[active, (6, PollOutcome::Rejected), (11, PollOutcome::Rejected)]);
        assert_eq!(judge(&twice, at(11)), Verdict::Ended);
        // Silence between them changes nothing, a statement does.
        let between = after(&[
            active,
            (6, PollOutcome::Rejected),
            (8, PollOutcome::NoResponse),
            (11, PollOutcome::Rejected),
        ]);
        assert_eq!(judge(&between, at(11)), Verdict::Ended);
        let again = (8, says(SessionStatus::Active));
        let stated =
            after(&[active, (6, PollOutcome::Rejected), again, (11, PollOutcome::Rejected)]);
        assert_eq!(judge(&stated, at(11)), Verdict::Allow);
        // Responses to others before the first rejection say nothing about the second.
        let mut machine = after(&[active]);
        for n in 2..10 {
            machine.apply(n, at(n * 5), PollOutcome::Rejected, answered(9));
            assert_ne!(judge(&machine, at(n * 5)), Verdict::Ended);
        }
        // A service that rejects everybody says nothing of this session.
        let mut machine = after(&[active]);
        for n in 2..1_000 {
            machine.apply(n, at(n * 5), PollOutcome::Rejected, SILENT);
            assert_ne!(judge(&machine, at(n * 5)), Verdict::Ended);
        }
    }

    #[test]
    fn silence_ends_session_under_healthy_origin() {
        let mut machine = after(&[(1, says(SessionStatus::Active))]);
        // An outage of an hour adds nothing up.
        for n in 2..720 {
            machine.apply(n, at(n * 5), PollOutcome::NoResponse, SILENT);
        }
        machine.apply(720, at(3_600), PollOutcome::NoResponse, answered(3_600));
        machine.apply(721, at(3_899), PollOutcome::NoResponse, answered(3_899));
        assert_eq!(judge(&machine, at(3_899)), Verdict::Unavailable);
        machine.apply(722, at(3_900), PollOutcome::NoResponse, answered(3_900));
        assert_eq!(judge(&machine, at(3_900)), Verdict::Ended);
    }
}
