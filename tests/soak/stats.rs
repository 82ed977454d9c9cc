//! The statistics of a run, as in the tables of docs/quality.md.

use std::collections::BTreeMap;
use std::fmt;

use super::event_log::{CUT, EventLog, IDLE_TIMEOUT, Outcome, SessionRecord, Span};

/// The upper bounds of the histogram's rows, in milliseconds.
const ROW_BOUNDS_MS: [u64; 12] =
    [100, 250, 500, 750, 1_000, 1_250, 1_500, 2_000, 3_000, 4_000, 5_000, 6_000];

/// Counts, and the times until an end took effect: from the end, or from the emulator's first report
/// of it, to the first denied request or the last allowed response.
pub(crate) struct Stats {
    seconds: u64,
    responses: BTreeMap<u16, usize>,
    is_watch: usize,
    slowest: u64,
    sessions: usize,
    remote_ends: usize,
    logouts: usize,
    absences: usize,
    resumes: usize,
    faults: BTreeMap<String, (usize, u64)>,
    undisturbed: Vec<u64>,
    disturbed: Vec<u64>,
    reported: Vec<u64>,
}

impl Stats {
    pub(crate) fn compute(log: &EventLog) -> Self {
        let mut stats = Self {
            seconds: log.seconds,
            responses: BTreeMap::new(),
            is_watch: log.responses.iter().filter(|response| response.is_watch).count(),
            slowest: log
                .responses
                .iter()
                .map(|response| response.span.until - response.span.from)
                .max()
                .unwrap_or(0),
            sessions: log.records.len(),
            remote_ends: 0,
            logouts: 0,
            absences: log.records.iter().map(|record| record.absences.len()).sum(),
            resumes: 0,
            faults: BTreeMap::new(),
            undisturbed: Vec::new(),
            disturbed: Vec::new(),
            reported: Vec::new(),
        };
        let mut of_record: Vec<Vec<&Outcome>> = vec![Vec::new(); log.records.len()];
        for response in &log.responses {
            *stats.responses.entry(response.status).or_default() += 1;
            of_record[response.record].push(response);
        }
        for outage in &log.outages {
            let (times, on) = stats.faults.entry(outage.kind.clone()).or_default();
            *times += 1;
            *on += outage.span.until - outage.span.from;
        }
        for (record, mut responses) in log.records.iter().zip(of_record) {
            responses.sort_unstable_by_key(|response| response.span.from);
            stats.add(log, record, &responses);
        }
        for times in [&mut stats.undisturbed, &mut stats.disturbed, &mut stats.reported] {
            times.sort_unstable();
        }
        stats
    }

    fn add(&mut self, log: &EventLog, record: &SessionRecord, responses: &[&Outcome]) {
        let mut used = record.started_at;
        for response in responses {
            self.resumes += usize::from(
                response.span.from >= used + IDLE_TIMEOUT + 2_000 && response.status == 200,
            );
            used = response.span.from;
        }
        self.logouts += usize::from(record.logout.is_some());
        let Some(ended) = record.ended_at.filter(|_| record.logout.is_none()) else { return };
        self.remote_ends += 1;
        let last_allowed = responses
            .iter()
            .filter(|response| response.status == 200)
            .map(|response| response.left)
            .max();
        let rejected =
            responses.iter().find(|response| response.span.from >= ended && response.status != 200);
        let Some(rejected) = rejected.filter(|_| record.watched) else { return };
        // A request in flight at the end gets its denial later.
        let enforced = last_allowed.unwrap_or_default().max(rejected.span.from);
        let times = match log.is_disturbed(record.user, Span { from: ended, until: enforced }) {
            true => &mut self.disturbed,
            false => &mut self.undisturbed,
        };
        times.push(enforced - ended);
        self.reported
            .extend(record.first_told_at.map(|reported| enforced.saturating_sub(reported)));
    }

    pub(crate) fn assert_enough_happened(&self) {
        let responses = [200, 401, 403, 503].map(|status| self.responses.get(&status).copied());
        let others = [self.reported.len(), self.logouts, self.absences, self.resumes];
        let all = responses.map(Option::unwrap_or_default).into_iter().chain(others);
        assert!(all.min() >= Some(10), "too little happened: {responses:?} {others:?}");
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: usize = self.responses.values().sum();
        let responses = &self.responses;
        writeln!(f, "| event | count |\n| --- | --- |")?;
        writeln!(f, "| seconds | {} |", self.seconds)?;
        writeln!(f, "| sessions, 500 at a time | {} |", self.sessions)?;
        writeln!(f, "| ended remotely | {} |", self.remote_ends)?;
        writeln!(f, "| logged out locally | {} |", self.logouts)?;
        writeln!(f, "| walked away | {} |", self.absences)?;
        writeln!(f, "| allowed after being parked | {} |", self.resumes)?;
        writeln!(f, "| requests | {count} |")?;
        writeln!(f, "| of these, to measure an end | {} |", self.is_watch)?;
        for (status, n) in responses {
            match *status {
                CUT => writeln!(f, "| cut before the first byte | {n} |")?,
                status => writeln!(f, "| status {status} | {n} |")?,
            }
        }
        writeln!(f, "| slowest response | {} ms |", self.slowest)?;
        for (kind, (times, on)) in &self.faults {
            writeln!(f, "| fault `{kind}` | {times}, {} s in total |", on / 1_000)?;
        }
        let columns = [
            ("end to denial, no fault", &self.undisturbed),
            ("end to denial, faults", &self.disturbed),
            ("first report to denial", &self.reported),
        ];
        write!(f, "\n| ms |")?;
        columns.iter().try_for_each(|(title, _)| write!(f, " {title} |"))?;
        writeln!(f, "\n| --- | --- | --- | --- |")?;
        let mut min = 0;
        for max in ROW_BOUNDS_MS {
            let within = |times: &[u64]| times.iter().filter(|t| (min..max).contains(*t)).count();
            write!(f, "| {min} to {max} |")?;
            columns.iter().try_for_each(|(_, times)| write!(f, " {} |", within(times)))?;
            writeln!(f)?;
            min = max;
        }
        let beyond = |times: &[u64]| times.iter().filter(|time| **time >= min).count();
        write!(f, "| {min} and more |")?;
        columns.iter().try_for_each(|(_, times)| write!(f, " {} |", beyond(times)))?;
        for (name, percent) in [("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)] {
            write!(f, "\n| {name} |")?;
            columns
                .iter()
                .try_for_each(|(_, times)| write!(f, " {} |", percentile(times, percent)))?;
        }
        writeln!(f)
    }
}

/// The percentile of sorted times.
fn percentile(times: &[u64], percent: usize) -> u64 {
    let rank = (times.len() * percent).div_ceil(100).max(1);
    times.get(rank - 1).copied().unwrap_or(0)
}
