//! Checks each response against the design and the event log.

use super::event_log::{
    CUT, EventLog, IDLE_TIMEOUT, INTERVAL, MAX_STALENESS, Outcome, POLL_TIMEOUT, PROCESSING_MARGIN,
    RECOVERY, SessionRecord, Span, WALKAWAY_DEBOUNCE,
};

/// Returns a line for each wrong response.
pub(crate) fn find_violations(log: &EventLog) -> Vec<String> {
    let mut uses: Vec<Vec<u64>> =
        log.records.iter().map(|record| vec![record.started_at]).collect();
    for response in &log.responses {
        uses[response.record].push(response.span.from);
    }
    uses.iter_mut().for_each(|uses| uses.sort_unstable());
    let mut first_ended_at = vec![u64::MAX; log.records.len()];
    for response in log.responses.iter().filter(|response| response.status == 401) {
        let at = &mut first_ended_at[response.record];
        *at = (*at).min(response.span.until);
    }
    let checker = Checker { log, uses, first_ended_at };
    let violation = |response: &Outcome| {
        checker.violation(response).map(|reason| checker.describe(response, &reason))
    };
    log.responses.iter().filter_map(violation).collect()
}

struct Checker<'a> {
    log: &'a EventLog,
    /// The sorted times of each session's requests.
    uses: Vec<Vec<u64>>,
    /// The time of each session's first response with 401.
    first_ended_at: Vec<u64>,
}

impl Checker<'_> {
    fn violation(&self, response: &Outcome) -> Option<String> {
        let record = &self.log.records[response.record];
        match response.status {
            200 | 403 | 503 if self.first_ended_at[response.record] < response.span.from => {
                Some("the session ended before".to_owned())
            }
            200 => self.late_allow(record, response),
            401 => is_live(record, response.span)
                .then(|| "ended, but the session is active".to_owned()),
            403 => (!self.may_be_suspended(record, response.span))
                .then(|| "suspended, but the phone is near".to_owned()),
            503 => (!self.may_be_unavailable(response))
                .then(|| "unavailable, but the status is known".to_owned()),
            // An end between the head and the body cuts even a small response.
            CUT => {
                let cut = !is_live(record, response.span)
                    || self.may_be_suspended(record, response.span)
                    || self.may_be_unavailable(response);
                (!cut).then(|| "cut without cause".to_owned())
            }
            _ => Some("not a response of the gate".to_owned()),
        }
    }

    fn late_allow(&self, record: &SessionRecord, response: &Outcome) -> Option<String> {
        let left = response.left;
        if record.logout.is_some_and(|logout| logout.until < response.span.from) {
            return Some("allowed after its logout".to_owned());
        }
        let absences = record
            .absences
            .iter()
            .filter(|absence| absence.back.is_none_or(|back| left < back.from));
        let not_active = absences.map(|absence| (Some(absence.left.until), absence.told_at));
        not_active.chain([(record.ended_at, record.first_told_at)]).find_map(|(since, reported)| {
            let since = since.filter(|since| *since < left)?;
            let late = left - since;
            let after_report = reported.map_or(0, |reported| left.saturating_sub(reported));
            let disturbed = self.log.is_disturbed(record.user, Span { from: since, until: left });
            let overloaded = self.log.is_overloaded(Span { from: since, until: left });
            let too_long = late > MAX_STALENESS
                || (!overloaded && after_report > PROCESSING_MARGIN)
                || (!disturbed && late > INTERVAL + POLL_TIMEOUT + PROCESSING_MARGIN);
            too_long.then(|| {
                format!("allowed {late} ms after the end, {after_report} ms after its report")
            })
        })
    }

    /// Whether the phone was away, or returned so recently that the engine may not know it.
    fn may_be_suspended(&self, record: &SessionRecord, span: Span) -> bool {
        record.absences.iter().any(|absence| {
            absence.left.from <= span.until
                && absence.back.is_none_or(|back| {
                    let since = Span { from: back.from, until: span.from };
                    let disturbed = self.log.is_disturbed(record.user, since);
                    let learned = if disturbed { MAX_STALENESS } else { RECOVERY };
                    span.from <= back.until + WALKAWAY_DEBOUNCE + learned
                })
        })
    }

    /// Whether the engine's status may have been stale or inconsistent.
    fn may_be_unavailable(&self, response: &Outcome) -> bool {
        let user = self.log.records[response.record].user;
        let span = response.span;
        let calm = |from, until| self.log.longest_calm(user, Span { from, until });
        let too_old = calm(span.until.saturating_sub(MAX_STALENESS), span.from) < RECOVERY;
        let inconsistent = self.log.outages_of(user).any(|outage| {
            outage.kind == "unknown_status"
                && outage.span.from <= span.until
                && span.from <= outage.effect_end() + RECOVERY
        });
        // The session was parked, and its first poll failed.
        let resume_failed = self.resumed_at(response).is_some_and(|resumed| {
            let resume = Span { from: resumed, until: span.until };
            self.log.is_disturbed(user, resume) && calm(resumed, span.from) < RECOVERY
        });
        too_old || inconsistent || resume_failed
    }

    /// The time of the last request after the session was idle for long enough to be parked. The
    /// engine may count requests within a second as one.
    fn resumed_at(&self, response: &Outcome) -> Option<u64> {
        let uses = &self.uses[response.record];
        let until_now = &uses[..uses.partition_point(|at| *at <= response.span.from)];
        let gaps = until_now.windows(2).rev();
        gaps.map(|pair| (pair[0], pair[1]))
            .find(|(a, b)| b - a + 1_000 >= IDLE_TIMEOUT)
            .map(|(_, b)| b)
    }

    fn describe(&self, response: &Outcome, reason: &str) -> String {
        let Outcome { record, span, status, .. } = response;
        let log = self.log;
        let near = |at: u64| at + 20_000 >= span.from && at <= span.until + 1_000;
        let user = log.records[*record].user;
        let outages: Vec<_> =
            log.outages_of(user).filter(|f| near(f.span.until) || near(f.span.from)).collect();
        format!(
            "{status} {reason}: {span:?}, resumed at {:?}\n  {:?}\n  {outages:?}",
            self.resumed_at(response),
            log.records[*record],
        )
    }
}

/// Whether the session was still active at the response.
fn is_live(record: &SessionRecord, span: Span) -> bool {
    record.ended_at.is_none_or(|ended| span.until < ended)
        && record.logout.is_none_or(|logout| span.until < logout.from)
}

/// Tests that the checker detects each kind of wrong response.
mod tests {
    use super::super::event_log::{Absence, OVERLOAD, Outage};
    use super::*;

    /// A time well after the start of an undisturbed session.
    const T: u64 = 100_000;

    fn at(from: u64, until: u64) -> Span {
        Span { from, until }
    }

    fn outage(kind: &str, span: Span) -> Vec<Outage> {
        vec![Outage { kind: kind.to_owned(), span, users: None }]
    }

    fn response(status: u16, from: u64) -> Outcome {
        let left = from + 10;
        Outcome { record: 0, span: at(from, left), left, status, is_watch: false }
    }

    /// Whether this response at this time is wrong.
    fn is_wrong(record: SessionRecord, outages: Vec<Outage>, status: u16, from: u64) -> bool {
        let record = SessionRecord { started_at: T - 20_000, ..record };
        let responses = vec![response(status, from)];
        !find_violations(&EventLog { records: vec![record], responses, outages, seconds: 0 })
            .is_empty()
    }

    fn ended(reported: Option<u64>) -> SessionRecord {
        SessionRecord { ended_at: Some(T), first_told_at: reported, ..SessionRecord::default() }
    }

    #[test]
    fn late_allow_is_detected() {
        let out = || outage("hang", at(T - 500, T + 9_000));
        assert!(!is_wrong(SessionRecord::default(), vec![], 200, T));
        assert!(!is_wrong(ended(None), vec![], 200, T + 4_900));
        assert!(is_wrong(ended(None), vec![], 200, T + 5_000));
        assert!(!is_wrong(ended(None), out(), 200, T + 5_900));
        assert!(is_wrong(ended(None), out(), 200, T + 6_000));
        assert!(!is_wrong(ended(Some(T + 300)), vec![], 200, T + 1_200));
        assert!(is_wrong(ended(Some(T + 300)), vec![], 200, T + 1_300));
        assert!(is_wrong(ended(Some(T + 300)), out(), 200, T + 1_300));
        assert!(!is_wrong(ended(Some(T + 300)), outage(OVERLOAD, at(T, T + 900)), 200, T + 1_300));
        let logout = Some(at(T, T + 40));
        assert!(!is_wrong(
            SessionRecord { logout, ..SessionRecord::default() },
            vec![],
            200,
            T + 30
        ));
        assert!(is_wrong(
            SessionRecord { logout, ..SessionRecord::default() },
            vec![],
            200,
            T + 41
        ));
        let absence = Absence {
            left: at(T, T),
            told_at: Some(T + 100),
            back: Some(at(T + 8_000, T + 8_000)),
        };
        assert!(is_wrong(
            SessionRecord { absences: vec![absence], ..SessionRecord::default() },
            vec![],
            200,
            T + 2_000
        ));
    }

    #[test]
    fn resurrection_is_detected() {
        for (status, wrong) in [(200, 1), (403, 1), (503, 1), (401, 0)] {
            let responses =
                vec![response(200, T + 1), response(401, T + 20), response(status, T + 40)];
            let records = vec![ended(None)];
            let log = EventLog { records, responses, ..EventLog::default() };
            assert_eq!(find_violations(&log).len(), wrong, "{status}");
        }
    }

    #[test]
    fn false_denial_is_detected() {
        assert!(is_wrong(SessionRecord::default(), vec![], 401, T));
        assert!(is_wrong(ended(None), vec![], 401, T - 20));
        assert!(!is_wrong(ended(None), vec![], 401, T));
        assert!(is_wrong(SessionRecord::default(), vec![], 403, T));
        let absence = |back| {
            let absences =
                vec![Absence { left: at(T, T), told_at: None, back: Some(at(back, back)) }];
            SessionRecord { absences, ..SessionRecord::default() }
        };
        assert!(is_wrong(absence(T + 1_000), vec![], 403, T - 20));
        assert!(!is_wrong(absence(T + 1_000), vec![], 403, T + 6_000));
        assert!(is_wrong(absence(T + 1_000), vec![], 403, T + 6_001));
        assert!(is_wrong(SessionRecord::default(), vec![], 500, T));
        assert!(is_wrong(SessionRecord::default(), vec![], CUT, T));
        assert!(!is_wrong(ended(None), vec![], CUT, T));
    }

    #[test]
    fn unexplained_unavailability_is_detected() {
        let record = SessionRecord::default;
        assert!(is_wrong(record(), vec![], 503, T));
        // A status stays valid for the first seconds of a fault, unless the fault is an inconsistent one.
        let from = |kind| outage(kind, at(T, T + 20_000));
        assert!(is_wrong(record(), from("503"), 503, T + 3_000));
        assert!(!is_wrong(record(), from("503"), 503, T + 6_000));
        assert!(!is_wrong(record(), from("unknown_status"), 503, T + 100));
        assert!(!is_wrong(record(), from("hang"), 503, T + 29_900));
        assert!(is_wrong(record(), from("hang"), 503, T + 30_100));
        let others = |mut outages: Vec<Outage>| {
            outages[0].users = Some([1].into());
            outages
        };
        assert!(is_wrong(record(), others(from("503")), 503, T + 6_000));
        // The session is parked, and its first poll fails.
        let long_ago = T + IDLE_TIMEOUT + 10_000;
        assert!(!is_wrong(record(), outage("503", at(long_ago - 500, T * 2)), 503, long_ago));
        assert!(is_wrong(record(), vec![], 503, long_ago));
    }
}
