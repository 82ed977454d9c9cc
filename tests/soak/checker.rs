//! Which answers were wrong, by what the design promises and the story says was true.

use super::event_log::{
    Answer, CUT, DWELL, INTERVAL, KEEP, Life, MAX_STALENESS, PROCESSING_MARGIN, RECOVERY, Span,
    Story, TIMEOUT,
};

/// One line for each answer that was wrong.
pub(crate) fn wrongs(story: &Story) -> Vec<String> {
    let mut uses: Vec<Vec<u64>> = story.lives.iter().map(|life| vec![life.began]).collect();
    for answer in &story.answers {
        uses[answer.life].push(answer.span.from);
    }
    uses.iter_mut().for_each(|uses| uses.sort_unstable());
    let mut over = vec![u64::MAX; story.lives.len()];
    for answer in story.answers.iter().filter(|answer| answer.status == 401) {
        over[answer.life] = over[answer.life].min(answer.span.until);
    }
    let judge = Judge { story, uses, over };
    let wrong = |answer: &Answer| judge.wrong(answer).map(|why| judge.line(answer, &why));
    story.answers.iter().filter_map(wrong).collect()
}

struct Judge<'a> {
    story: &'a Story,
    /// When each session was used, in order.
    uses: Vec<Vec<u64>>,
    /// When each was first said to have ended.
    over: Vec<u64>,
}

impl Judge<'_> {
    fn wrong(&self, answer: &Answer) -> Option<String> {
        let life = &self.story.lives[answer.life];
        match answer.status {
            200 | 403 | 503 if self.over[answer.life] < answer.span.from => {
                Some("had ended before".to_owned())
            }
            200 => self.let_in_too_long(life, answer),
            401 => is_live(life, answer.span).then(|| "ended, but is live".to_owned()),
            403 => (!self.was_away(life, answer.span)).then(|| "suspended, but is near".to_owned()),
            503 => (!self.was_unknown(answer)).then(|| "unavailable, but known".to_owned()),
            // An end that falls between the head and the body of an answer cuts even a small one.
            CUT => {
                let cut = !is_live(life, answer.span)
                    || self.was_away(life, answer.span)
                    || self.was_unknown(answer);
                (!cut).then(|| "cut off".to_owned())
            }
            _ => Some("no answer of the gate".to_owned()),
        }
    }

    fn let_in_too_long(&self, life: &Life, answer: &Answer) -> Option<String> {
        let left = answer.left;
        if life.logout.is_some_and(|logout| logout.until < answer.span.from) {
            return Some("let in after its logout".to_owned());
        }
        let walks = life.walks.iter().filter(|walk| walk.back.is_none_or(|back| left < back.from));
        let not_active = walks.map(|walk| (Some(walk.left.until), walk.told_at));
        not_active.chain([(life.ended_at, life.first_told_at)]).find_map(|(since, told)| {
            let since = since.filter(|since| *since < left)?;
            let late = left - since;
            let after_told = told.map_or(0, |told| left.saturating_sub(told));
            let disturbed = self.story.is_disturbed(life.user, Span { from: since, until: left });
            let overloaded = self.story.is_overloaded(Span { from: since, until: left });
            let too_long = late > MAX_STALENESS
                || (!overloaded && after_told > PROCESSING_MARGIN)
                || (!disturbed && late > INTERVAL + TIMEOUT + PROCESSING_MARGIN);
            too_long.then(|| {
                format!("let in {late} ms after the end, {after_told} ms after it was told")
            })
        })
    }

    /// Away, or so lately that the engine may still think so.
    fn was_away(&self, life: &Life, span: Span) -> bool {
        life.walks.iter().any(|walk| {
            walk.left.from <= span.until
                && walk.back.is_none_or(|back| {
                    let since = Span { from: back.from, until: span.from };
                    let disturbed = self.story.is_disturbed(life.user, since);
                    let learned = if disturbed { MAX_STALENESS } else { RECOVERY };
                    span.from <= back.until + DWELL + learned
                })
        })
    }

    /// Whether what the engine knew can have been too old, or odd.
    fn was_unknown(&self, answer: &Answer) -> bool {
        let user = self.story.lives[answer.life].user;
        let span = answer.span;
        let calm = |from, until| self.story.longest_calm(user, Span { from, until });
        let too_old = calm(span.until.saturating_sub(MAX_STALENESS), span.from) < RECOVERY;
        let odd = self.story.outages_of(user).any(|outage| {
            outage.kind == "unknown_status"
                && outage.on.from <= span.until
                && span.from <= outage.over() + RECOVERY
        });
        // Nobody asked, so nobody polled, and the poll that was to wake it failed.
        let woken_in_vain = self.woken_at(answer).is_some_and(|woken| {
            let waking = Span { from: woken, until: span.until };
            self.story.is_disturbed(user, waking) && calm(woken, span.from) < RECOVERY
        });
        too_old || odd || woken_in_vain
    }

    /// When the session was last used after it had been left alone long enough to be parked. Uses
    /// within a second are one to the engine.
    fn woken_at(&self, answer: &Answer) -> Option<u64> {
        let uses = &self.uses[answer.life];
        let until_now = &uses[..uses.partition_point(|at| *at <= answer.span.from)];
        let gaps = until_now.windows(2).rev();
        gaps.map(|pair| (pair[0], pair[1])).find(|(a, b)| b - a + 1_000 >= KEEP).map(|(_, b)| b)
    }

    fn line(&self, answer: &Answer, why: &str) -> String {
        let Answer { life, span, status, .. } = answer;
        let story = self.story;
        let near = |at: u64| at + 20_000 >= span.from && at <= span.until + 1_000;
        let user = story.lives[*life].user;
        let outages: Vec<_> =
            story.outages_of(user).filter(|f| near(f.on.until) || near(f.on.from)).collect();
        format!(
            "{status} {why}: {span:?}, woken at {:?}\n  {:?}\n  {outages:?}",
            self.woken_at(answer),
            story.lives[*life],
        )
    }
}

/// Whether nobody had ended it when it was answered.
fn is_live(life: &Life, span: Span) -> bool {
    life.ended_at.is_none_or(|ended| span.until < ended)
        && life.logout.is_none_or(|logout| span.until < logout.from)
}

/// The judge sees what is wrong: without that, its silence is worth nothing.
mod tests {
    use super::super::event_log::{OVERLOAD, Outage, Walk};
    use super::*;

    /// Well into a life that nothing has happened to.
    const T: u64 = 100_000;

    fn at(from: u64, until: u64) -> Span {
        Span { from, until }
    }

    fn outage(kind: &str, on: Span) -> Vec<Outage> {
        vec![Outage { kind: kind.to_owned(), on, users: None }]
    }

    fn answer(status: u16, from: u64) -> Answer {
        let left = from + 10;
        Answer { life: 0, span: at(from, left), left, status, watching: false }
    }

    /// Whether this answer, asked for at this moment, is wrong.
    fn is_wrong(life: Life, outages: Vec<Outage>, status: u16, from: u64) -> bool {
        let life = Life { began: T - 20_000, ..life };
        let answers = vec![answer(status, from)];
        !wrongs(&Story { lives: vec![life], answers, outages, seconds: 0 }).is_empty()
    }

    fn ended(told: Option<u64>) -> Life {
        Life { ended_at: Some(T), first_told_at: told, ..Life::default() }
    }

    #[test]
    fn late_allow_is_detected() {
        let out = || outage("hang", at(T - 500, T + 9_000));
        assert!(!is_wrong(Life::default(), vec![], 200, T));
        assert!(!is_wrong(ended(None), vec![], 200, T + 4_900));
        assert!(is_wrong(ended(None), vec![], 200, T + 5_000));
        assert!(!is_wrong(ended(None), out(), 200, T + 5_900));
        assert!(is_wrong(ended(None), out(), 200, T + 6_000));
        assert!(!is_wrong(ended(Some(T + 300)), vec![], 200, T + 1_200));
        assert!(is_wrong(ended(Some(T + 300)), vec![], 200, T + 1_300));
        assert!(is_wrong(ended(Some(T + 300)), out(), 200, T + 1_300));
        assert!(!is_wrong(ended(Some(T + 300)), outage(OVERLOAD, at(T, T + 900)), 200, T + 1_300));
        let logout = Some(at(T, T + 40));
        assert!(!is_wrong(Life { logout, ..Life::default() }, vec![], 200, T + 30));
        assert!(is_wrong(Life { logout, ..Life::default() }, vec![], 200, T + 41));
        let walk =
            Walk { left: at(T, T), told_at: Some(T + 100), back: Some(at(T + 8_000, T + 8_000)) };
        assert!(is_wrong(Life { walks: vec![walk], ..Life::default() }, vec![], 200, T + 2_000));
    }

    #[test]
    fn resurrection_is_detected() {
        for (status, wrong) in [(200, 1), (403, 1), (503, 1), (401, 0)] {
            let answers = vec![answer(200, T + 1), answer(401, T + 20), answer(status, T + 40)];
            let lives = vec![ended(None)];
            let story = Story { lives, answers, ..Story::default() };
            assert_eq!(wrongs(&story).len(), wrong, "{status}");
        }
    }

    #[test]
    fn false_denial_is_detected() {
        assert!(is_wrong(Life::default(), vec![], 401, T));
        assert!(is_wrong(ended(None), vec![], 401, T - 20));
        assert!(!is_wrong(ended(None), vec![], 401, T));
        assert!(is_wrong(Life::default(), vec![], 403, T));
        let walk = |back| {
            let walks = vec![Walk { left: at(T, T), told_at: None, back: Some(at(back, back)) }];
            Life { walks, ..Life::default() }
        };
        assert!(is_wrong(walk(T + 1_000), vec![], 403, T - 20));
        assert!(!is_wrong(walk(T + 1_000), vec![], 403, T + 6_000));
        assert!(is_wrong(walk(T + 1_000), vec![], 403, T + 6_001));
        assert!(is_wrong(Life::default(), vec![], 500, T));
        assert!(is_wrong(Life::default(), vec![], CUT, T));
        assert!(!is_wrong(ended(None), vec![], CUT, T));
    }

    #[test]
    fn unavailability_without_cause_is_seen() {
        let life = Life::default;
        assert!(is_wrong(life(), vec![], 503, T));
        // Knowledge outlives the first seconds of a fault, unless the fault is an odd statement.
        let from = |kind| outage(kind, at(T, T + 20_000));
        assert!(is_wrong(life(), from("503"), 503, T + 3_000));
        assert!(!is_wrong(life(), from("503"), 503, T + 6_000));
        assert!(!is_wrong(life(), from("unknown_status"), 503, T + 100));
        assert!(!is_wrong(life(), from("hang"), 503, T + 29_900));
        assert!(is_wrong(life(), from("hang"), 503, T + 30_100));
        let others = |mut outages: Vec<Outage>| {
            outages[0].users = Some([1].into());
            outages
        };
        assert!(is_wrong(life(), others(from("503")), 503, T + 6_000));
        // Parked, and the first poll goes wrong.
        let long_ago = T + KEEP + 10_000;
        assert!(!is_wrong(life(), outage("503", at(long_ago - 500, T * 2)), 503, long_ago));
        assert!(is_wrong(life(), vec![], 503, long_ago));
    }
}
