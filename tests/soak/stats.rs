//! What a run measured, as the tables of docs/quality.md.

use std::collections::BTreeMap;
use std::fmt;

use super::event_log::{Answer, CUT, KEEP, Life, Span, Story};

/// Upper ends of the histogram's rows, in milliseconds.
const ROWS: [u64; 12] =
    [100, 250, 500, 750, 1_000, 1_250, 1_500, 2_000, 3_000, 4_000, 5_000, 6_000];

/// How long it took until an end was enforced: from the end, or from the moment the emulator first
/// told it, to the first request that was not let in, or the last answer that was.
pub(crate) struct Figures {
    seconds: u64,
    answers: BTreeMap<u16, usize>,
    watching: usize,
    slowest: u64,
    sessions: usize,
    remote_ends: usize,
    logouts: usize,
    walks: usize,
    wakes: usize,
    faults: BTreeMap<String, (usize, u64)>,
    undisturbed: Vec<u64>,
    disturbed: Vec<u64>,
    told: Vec<u64>,
}

impl Figures {
    pub(crate) fn of(story: &Story) -> Self {
        let mut figures = Self {
            seconds: story.seconds,
            answers: BTreeMap::new(),
            watching: story.answers.iter().filter(|answer| answer.watching).count(),
            slowest: story.answers.iter().map(|a| a.span.until - a.span.from).max().unwrap_or(0),
            sessions: story.lives.len(),
            remote_ends: 0,
            logouts: 0,
            walks: story.lives.iter().map(|life| life.walks.len()).sum(),
            wakes: 0,
            faults: BTreeMap::new(),
            undisturbed: Vec::new(),
            disturbed: Vec::new(),
            told: Vec::new(),
        };
        let mut of_life: Vec<Vec<&Answer>> = vec![Vec::new(); story.lives.len()];
        for answer in &story.answers {
            *figures.answers.entry(answer.status).or_default() += 1;
            of_life[answer.life].push(answer);
        }
        for outage in &story.outages {
            let (times, on) = figures.faults.entry(outage.kind.clone()).or_default();
            *times += 1;
            *on += outage.on.until - outage.on.from;
        }
        for (life, mut answers) in story.lives.iter().zip(of_life) {
            answers.sort_unstable_by_key(|answer| answer.span.from);
            figures.add(story, life, &answers);
        }
        for times in [&mut figures.undisturbed, &mut figures.disturbed, &mut figures.told] {
            times.sort_unstable();
        }
        figures
    }

    fn add(&mut self, story: &Story, life: &Life, answers: &[&Answer]) {
        let mut used = life.began;
        for answer in answers {
            self.wakes +=
                usize::from(answer.span.from >= used + KEEP + 2_000 && answer.status == 200);
            used = answer.span.from;
        }
        self.logouts += usize::from(life.logout.is_some());
        let Some(ended) = life.ended_at.filter(|_| life.logout.is_none()) else { return };
        self.remote_ends += 1;
        let let_in = answers.iter().filter(|a| a.status == 200).map(|a| a.left).max();
        let refused = answers.iter().find(|a| a.span.from >= ended && a.status != 200);
        let Some(refused) = refused.filter(|_| life.watched) else { return };
        // One that met the end on its way is answered later, but not let in.
        let enforced = let_in.unwrap_or_default().max(refused.span.from);
        let times = match story.is_disturbed(life.user, Span { from: ended, until: enforced }) {
            true => &mut self.disturbed,
            false => &mut self.undisturbed,
        };
        times.push(enforced - ended);
        self.told.extend(life.first_told_at.map(|told| enforced.saturating_sub(told)));
    }

    pub(crate) fn assert_enough_happened(&self) {
        let answers = [200, 401, 403, 503].map(|status| self.answers.get(&status).copied());
        let others = [self.told.len(), self.logouts, self.walks, self.wakes];
        let all = answers.map(Option::unwrap_or_default).into_iter().chain(others);
        assert!(all.min() >= Some(10), "too little happened: {answers:?} {others:?}");
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: usize = self.answers.values().sum();
        let answers = &self.answers;
        writeln!(f, "| what | how often |\n| --- | --- |")?;
        writeln!(f, "| seconds | {} |", self.seconds)?;
        writeln!(f, "| sessions, 500 at a time | {} |", self.sessions)?;
        writeln!(f, "| ended remotely | {} |", self.remote_ends)?;
        writeln!(f, "| logged out here | {} |", self.logouts)?;
        writeln!(f, "| walked away | {} |", self.walks)?;
        writeln!(f, "| let in again after being parked | {} |", self.wakes)?;
        writeln!(f, "| requests | {count} |")?;
        writeln!(f, "| of these, to see an end noticed | {} |", self.watching)?;
        for (status, n) in answers {
            match *status {
                CUT => writeln!(f, "| cut before the first byte | {n} |")?,
                status => writeln!(f, "| answered {status} | {n} |")?,
            }
        }
        writeln!(f, "| slowest answer | {} ms |", self.slowest)?;
        for (kind, (times, on)) in &self.faults {
            writeln!(f, "| fault `{kind}` | {times}, {} s in all |", on / 1_000)?;
        }
        let columns = [
            ("end to refusal, no fault", &self.undisturbed),
            ("end to refusal, faults", &self.disturbed),
            ("told to refusal", &self.told),
        ];
        write!(f, "\n| ms |")?;
        columns.iter().try_for_each(|(title, _)| write!(f, " {title} |"))?;
        writeln!(f, "\n| --- | --- | --- | --- |")?;
        let mut least = 0;
        for most in ROWS {
            let within =
                |times: &[u64]| times.iter().filter(|t| (least..most).contains(*t)).count();
            write!(f, "| {least} to {most} |")?;
            columns.iter().try_for_each(|(_, times)| write!(f, " {} |", within(times)))?;
            writeln!(f)?;
            least = most;
        }
        let beyond = |times: &[u64]| times.iter().filter(|time| **time >= least).count();
        write!(f, "| {least} and more |")?;
        columns.iter().try_for_each(|(_, times)| write!(f, " {} |", beyond(times)))?;
        for (name, percent) in [("p50", 50), ("p90", 90), ("p99", 99), ("greatest", 100)] {
            write!(f, "\n| {name} |")?;
            columns
                .iter()
                .try_for_each(|(_, times)| write!(f, " {} |", percentile(times, percent)))?;
        }
        writeln!(f)
    }
}

/// Of sorted times: so many percent are not above it.
fn percentile(times: &[u64], percent: usize) -> u64 {
    let rank = (times.len() * percent).div_ceil(100).max(1);
    times.get(rank - 1).copied().unwrap_or(0)
}
