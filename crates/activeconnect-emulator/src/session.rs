use tower_activeconnect::Secret;
use tower_activeconnect::protocol::{AuthMethod, AuthMethods, SessionStatus};

use super::Action;
use super::report::SessionReport;

/// The parameters of a new session.
pub(super) struct SessionParams {
    pub(super) methods: AuthMethods,
    /// How long the session is pending.
    pub(super) pending_ms: u64,
    /// How long the session lasts.
    pub(super) duration_ms: u64,
}

/// A session of the service. It reads no clock: callers pass each time in Unix milliseconds.
pub(super) struct Session {
    pub(super) token: String,
    pub(super) secret: Secret,
    pub(super) user_id: String,
    methods: AuthMethods,
    status: SessionStatus,
    created_at: u64,
    /// The time at which a pending session times out.
    pending_until: u64,
    expires_at: u64,
    ended_at: Option<u64>,
    first_told_at: Option<u64>,
    changed_at: Option<u64>,
    told_at: Option<u64>,
}

impl Session {
    pub(super) fn new(
        token: String,
        secret: Secret,
        user_id: String,
        params: &SessionParams,
        created_at: u64,
    ) -> Self {
        Self {
            token,
            secret,
            user_id,
            methods: params.methods,
            status: SessionStatus::Pending,
            created_at,
            pending_until: created_at.saturating_add(params.pending_ms),
            expires_at: created_at.saturating_add(params.duration_ms),
            ended_at: None,
            first_told_at: None,
            changed_at: None,
            told_at: None,
        }
    }

    /// The status at `now`.
    pub(super) fn status(&mut self, now: u64) -> SessionStatus {
        self.advance(now);
        self.status
    }

    /// The status at `now`, recorded as reported to the application at `arrives_at`.
    pub(super) fn report_status(&mut self, now: u64, arrives_at: Option<u64>) -> SessionStatus {
        self.advance(now);
        if let Some(at) = arrives_at {
            // A later response can arrive before a delayed one.
            let earlier = |reported: Option<u64>| Some(reported.map_or(at, |time| time.min(at)));
            if self.changed_at.is_some() {
                self.told_at = earlier(self.told_at);
            }
            if self.ended_at.is_some() {
                self.first_told_at = earlier(self.first_told_at);
            }
        }
        self.status
    }

    /// Carries out the action. If the status does not allow it, the error is that status.
    pub(super) fn act(&mut self, action: Action, now: u64) -> Result<SessionStatus, SessionStatus> {
        self.advance(now);
        let next = action.apply(self.status).ok_or(self.status)?;
        self.change(next, now);
        Ok(next)
    }

    /// Applies the timeout or the expiry that is due. The change has the time at which it was due.
    fn advance(&mut self, now: u64) {
        let (due, end) = match self.status {
            SessionStatus::Pending if self.pending_until <= self.expires_at => {
                (self.pending_until, SessionStatus::Timeout)
            }
            status if status.is_terminal() => return,
            _ => (self.expires_at, SessionStatus::Closed),
        };
        if due <= now {
            self.change(end, due);
        }
    }

    fn change(&mut self, status: SessionStatus, at: u64) {
        self.status = status;
        self.changed_at = Some(at);
        self.told_at = None;
        if status.is_terminal() {
            self.ended_at = Some(at);
        }
    }

    pub(super) fn report(&mut self, now: u64) -> SessionReport {
        SessionReport {
            status: self.status(now),
            session_token: self.token.clone(),
            user_id: self.user_id.clone(),
            methods: self.methods.iter().map(AuthMethod::as_str).collect(),
            created_at: self.created_at / 1000,
            expires_at: self.expires_at / 1000,
            ended_at: self.ended_at,
            first_told_at: self.first_told_at,
            changed_at: self.changed_at,
            told_at: self.told_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: u64 = 1_700_000_000_123;

    fn session(pending_ms: u64, duration_ms: u64) -> Session {
        let params = SessionParams { methods: AuthMethods::default(), pending_ms, duration_ms };
        Session::new("T".into(), Secret::new("S"), "u".into(), &params, T0)
    }

    #[test]
    fn due_end_has_its_due_time() {
        let mut pending = session(60_000, 3_600_000);
        assert_eq!(pending.status(T0 + 59_999), SessionStatus::Pending);
        assert_eq!(pending.status(T0 + 90_000), SessionStatus::Timeout);
        assert_eq!(pending.report(T0 + 90_000).ended_at, Some(T0 + 60_000));

        for actions in
            [&[Action::Identify][..], &[Action::Approve], &[Action::Approve, Action::WalkAway]]
        {
            let mut late = session(60_000, 3_600_000);
            for action in actions {
                assert!(late.act(*action, T0 + 1).is_ok());
            }
            assert!(!late.status(T0 + 3_599_999).is_terminal());
            assert_eq!(late.status(T0 + 9_000_000), SessionStatus::Closed);
            let report = late.report(T0 + 9_000_000);
            assert_eq!(report.ended_at, Some(T0 + 3_600_000));
            assert_eq!(report.changed_at, report.ended_at);
            assert_eq!(report.created_at + 3600, report.expires_at);
        }
    }

    #[test]
    fn session_shorter_than_pending_time_closes() {
        let mut short = session(60_000, 1000);
        assert_eq!(short.status(T0 + 1000), SessionStatus::Closed);
    }

    #[test]
    fn late_action_is_rejected() {
        let mut late = session(60_000, 3_600_000);
        assert_eq!(late.act(Action::Approve, T0 + 60_000), Err(SessionStatus::Timeout));
    }

    #[test]
    fn report_is_recorded_once_per_change() {
        let mut session = session(60_000, 3_600_000);
        session.report_status(T0 + 1, Some(T0 + 1));
        assert_eq!((session.changed_at, session.told_at), (None, None));

        assert!(session.act(Action::Approve, T0 + 2).is_ok());
        assert_eq!((session.changed_at, session.told_at), (Some(T0 + 2), None));
        session.report_status(T0 + 3, Some(T0 + 3));
        session.report_status(T0 + 4, Some(T0 + 4));
        assert_eq!((session.told_at, session.first_told_at), (Some(T0 + 3), None));

        assert!(session.act(Action::Close, T0 + 5).is_ok());
        assert_eq!(
            (session.changed_at, session.told_at, session.ended_at),
            (Some(T0 + 5), None, Some(T0 + 5))
        );
        session.report_status(T0 + 6, Some(T0 + 6));
        session.report_status(T0 + 7, Some(T0 + 7));
        assert_eq!((session.told_at, session.first_told_at), (Some(T0 + 6), Some(T0 + 6)));
        assert_eq!(session.ended_at, Some(T0 + 5));
    }

    #[test]
    fn report_counts_when_response_arrives() {
        let mut session = session(60_000, 3_600_000);
        assert!(session.act(Action::Close, T0 + 1).is_ok());
        assert_eq!(session.report_status(T0 + 2, None), SessionStatus::Closed);
        assert_eq!((session.told_at, session.first_told_at), (None, None));
        session.report_status(T0 + 3, Some(T0 + 500));
        assert_eq!((session.told_at, session.first_told_at), (Some(T0 + 500), Some(T0 + 500)));
        session.report_status(T0 + 4, Some(T0 + 4));
        assert_eq!((session.told_at, session.first_told_at), (Some(T0 + 4), Some(T0 + 4)));
    }
}
