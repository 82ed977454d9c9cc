//! The service asks for a pause, is gone, is slow, comes back; and more sessions than may be asked
//! about at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::harness::{Harness, StoreBehavior, reply_ok, reply_status, started};
use crate::UserId;
use crate::client::mock::ReceivedCall;
use crate::engine::SessionWatcher;
use crate::events::EventKind;
use crate::identity::SessionCredential;
use crate::polling::yield_injection::seed_yields;
use crate::protocol::SessionStatus::{Active, Closed};
use crate::verdict::Denial;

/// The polls that were heard: when, and of which session.
type Log = Arc<Mutex<Vec<(u64, usize)>>>;

/// Which session a poll is of.
fn which(call: &ReceivedCall) -> Option<usize> {
    call.path.strip_prefix("/s/").map(|which| which.parse().unwrap())
}

/// Writes down the polls and has `answer` answer all.
fn logged(stage: &mut Harness, mut answer: impl FnMut(u64, ReceivedCall) + Send + 'static) -> Log {
    let log = Log::default();
    let writing = log.clone();
    stage.respond_with(move |now, call| {
        writing.lock().unwrap().extend(which(&call).map(|which| (now, which)));
        answer(now, call);
    });
    log
}

/// So many sessions, active as of now.
fn sessions(stage: &Harness, count: usize) -> Vec<SessionCredential> {
    let put = |which: usize| {
        stage.ac.engine().insert_test_session(&UserId::from(format!("user{which}")), which)
    };
    (0..count).map(put).collect()
}

fn live(stage: &Harness, credentials: &[SessionCredential]) -> Vec<SessionWatcher> {
    credentials.iter().map(|credential| stage.session(credential).watch()).collect()
}

/// The most polls in any one second of these.
fn most_in_a_second(log: &[(u64, usize)]) -> usize {
    let (mut first, mut most) = (0, 0);
    for (i, (at, _)) in log.iter().enumerate() {
        while log[first].0 + 1_000 <= *at {
            first += 1;
        }
        most = most.max(i + 1 - first);
    }
    most
}

/// T058: a pause that the service asks for is everybody's, but for one call each three seconds; it
/// ends no session, and lengthens none.
#[tokio::test(start_paused = true)]
async fn requested_pause_ends_no_session() {
    let mut stage = Harness::new();
    let credentials = sessions(&stage, 3);
    let _live = live(&stage, &credentials);
    let mut heard = Vec::new();
    for _ in &credentials {
        heard.push(stage.poll_at(5_000).await);
    }
    heard.sort_by_key(which);
    let mut heard = heard.into_iter();
    assert!(heard.next().unwrap().reply_retry_after(429, Duration::from_secs(60)));
    // Those that were on their way count, and do not end the pause.
    reply_status(heard.next().unwrap(), Active);
    assert!(heard.next().unwrap().reply_retry_after(503, Duration::from_secs(10)));
    let log = logged(&mut stage, |now, call| {
        if now < 62_000 {
            call.reply_retry_after(429, Duration::from_secs(60));
        } else {
            reply_ok(call);
        }
    });
    for (at, says) in [
        (14_999, ["allowed", "allowed", "allowed"]),
        (15_000, ["unavailable", "allowed", "unavailable"]),
        (19_999, ["unavailable", "allowed", "unavailable"]),
        (20_000, ["unavailable"; 3]),
        (61_000, ["unavailable"; 3]),
    ] {
        stage.at(at).await;
        let asked =
            credentials.iter().map(|credential| tokio::spawn(stage.send_request(credential)));
        for (asked, says) in asked.collect::<Vec<_>>().into_iter().zip(says) {
            assert_eq!(asked.await.unwrap(), says, "at {at}");
        }
        assert_eq!(stage.now(), at, "no request waits for what will not come");
    }
    assert!(stage.ac.health().breaker_open);
    let times: Vec<_> = log.lock().unwrap().iter().map(|(at, _)| *at).collect();
    let each_three_seconds: Vec<_> = (8_000..62_000).step_by(3_000).collect();
    assert_eq!(times, each_three_seconds);
    assert_eq!(log.lock().unwrap()[1], (11_000, 1), "first the one that was answered last");
    // One finds out; then the others.
    stage.at(63_000).await;
    for credential in &credentials {
        assert_eq!(stage.send_request(credential).await, "allowed");
    }
    assert!(!stage.ac.health().breaker_open);
}

/// Asks for all sessions each quarter of a second, each second if there are many; all have to be
/// let in at once.
async fn all_stay_in(stage: &Harness, credentials: &[SessionCredential], until: u64) {
    let pause = if credentials.len() < 100 { 250 } else { 1_000 };
    while stage.now() < until {
        let now = stage.now();
        for one in credentials {
            assert_eq!(stage.send_request(one).await, "allowed", "at {now}");
        }
        assert_eq!(stage.now(), now, "one had to wait");
        stage.at(now + pause).await;
    }
}

/// When this session was polled from that time on.
fn polls_of(log: &Log, session: usize, from: u64) -> Vec<u64> {
    let log = log.lock().unwrap();
    log.iter().filter(|(at, which)| *which == session && *at >= from).map(|(at, _)| *at).collect()
}

/// The longest pause between two polls of each session that was polled twice from that time on.
fn longest_pauses(log: &Log, from: u64) -> HashMap<usize, u64> {
    let (mut last, mut longest) = (HashMap::new(), HashMap::new());
    for (at, which) in log.lock().unwrap().iter().filter(|(at, _)| *at >= from) {
        if let Some(before) = last.insert(*which, *at) {
            let longest = longest.entry(*which).or_insert(0);
            *longest = (*longest).max(at - before);
        }
    }
    longest
}

/// T168: a pause that is asked for in an answer about one session is that session's.
#[tokio::test(start_paused = true)]
async fn asked_pause_of_one_session_is_its_own() {
    for count in [1, 2, 40] {
        seed_yields(13);
        let mut stage = Harness::new();
        let credentials = sessions(&stage, count);
        let mut strikes = 1;
        let log = logged(&mut stage, move |now, call| {
            if which(&call) == Some(0) && now > 20_000 && strikes > 0 {
                strikes -= 1;
                call.reply_retry_after(503, Duration::from_secs(300));
            } else {
                reply_ok(call);
            }
        });
        all_stay_in(&stage, &credentials, 60_000).await;
        let struck = polls_of(&log, 0, 20_001);
        assert_eq!(struck[1] - struck[0], 3_000, "it is asked about again all the same");
        let pauses = longest_pauses(&log, 0);
        assert!((0..count).all(|session| pauses[&session] <= 5_000), "{pauses:?}");
        assert!(!stage.ac.health().breaker_open);
        seed_yields(0);
    }
}

/// T168: so is one that is asked for again and again.
#[tokio::test(start_paused = true)]
async fn session_that_always_asks_for_pauses_costs_no_other() {
    for status in [503, 429] {
        seed_yields(17);
        let mut stage = Harness::new();
        let credentials = sessions(&stage, 30);
        let _live = live(&stage, &credentials);
        let log = logged(&mut stage, move |now, call| {
            if which(&call) == Some(0) && (20_000..100_000).contains(&now) {
                call.reply_retry_after(status, Duration::from_secs(300));
            } else {
                reply_ok(call);
            }
        });
        all_stay_in(&stage, &credentials[1..], 103_000).await;
        // The first of its 429 pauses everybody, until the next one is answered.
        let polls = polls_of(&log, 0, 30_000);
        let pauses: Vec<_> = polls.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(pauses[..20].iter().all(|pause| *pause == 3_000), "{status}: {pauses:?}");
        all_stay_in(&stage, &credentials, 120_000).await;
        seed_yields(0);
    }
}

/// T168: a 429 pauses all for three seconds at most while the service would answer.
#[tokio::test(start_paused = true)]
async fn one_rate_limit_costs_three_seconds() {
    for count in [1, 50, 3_000] {
        seed_yields(19);
        let mut stage = Harness::new();
        let credentials = sessions(&stage, count);
        let mut struck = None;
        let log = logged(&mut stage, move |now, call| {
            if now > 20_000 && struck.is_none() {
                struck = Some(now);
                call.reply_retry_after(429, Duration::from_secs(300));
            } else {
                reply_ok(call);
            }
        });
        all_stay_in(&stage, &credentials, 40_000).await;
        let log = log.lock().unwrap();
        let first = log.iter().position(|(at, _)| *at > 20_000).unwrap();
        let pause = log[first + 1..].iter().find(|(at, _)| *at > log[first].0).unwrap().0;
        assert_eq!(pause - log[first].0, 3_000, "{count}");
        seed_yields(0);
    }
}

/// T168: a request to a parked session waits until the first call of the pause is answered; a login
/// does, too.
#[tokio::test(start_paused = true)]
async fn pause_delays_requests_and_logins_by_one_probe() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let bob = stage.log_in("bob").await;
    let _live = stage.session(&bob).watch();
    stage.respond_with(|now, call| {
        if call.path.starts_with("/authentication/") {
            started(call, 2);
        } else if (200_000..203_000).contains(&now) {
            call.reply_retry_after(429, Duration::from_secs(300));
        } else {
            reply_ok(call);
        }
    });
    stage.at(201_000).await;
    assert!(stage.ac.health().breaker_open);
    let login = stage.spawn_login("carol");
    assert_eq!(stage.send_request(&alice).await, "allowed");
    assert!((203_000..203_010).contains(&stage.now()), "{}", stage.now());
    login.await.unwrap().unwrap();
    assert!(stage.now() < 203_500, "{}", stage.now());
}

/// T060: while the service is out no request waits for it, whether its session's own poll has failed
/// or waits for its turn.
#[tokio::test(start_paused = true)]
async fn requests_do_not_wait_while_the_service_is_out() {
    for hangs in [true, false] {
        seed_yields(71);
        let mut stage = Harness::new();
        let credentials = sessions(&stage, 400);
        logged(&mut stage, move |now, mut call| {
            if !(10_000..=50_000).contains(&now) {
                reply_ok(call);
            } else if hangs {
                tokio::spawn(async move { call.cancelled().await });
            } else {
                call.reset();
            }
        });
        for at in [30_000, 40_000, 49_000] {
            stage.at(at).await;
            let asked = credentials.iter().map(|one| tokio::spawn(stage.send_request(one)));
            for asked in asked.collect::<Vec<_>>() {
                assert_eq!(asked.await.unwrap(), "unavailable");
            }
            assert_eq!(stage.now(), at, "one had to wait");
        }
        stage.at(60_000).await;
        for one in &credentials {
            assert_eq!(stage.send_request(one).await, "allowed");
        }
        seed_yields(0);
    }
}

/// Some sessions whose polls fail from 20 s on, beside good ones.
struct Failing {
    bad: usize,
    good: usize,
    /// The bad ones hang, or fail at once.
    hangs: bool,
    /// The bad ones have streams, which go first, or none.
    streams: bool,
}

impl Failing {
    /// Plays two minutes in which the good ones stay in; answers the longest pause between two polls
    /// of a good one, in all and once the bad ones have failed.
    async fn play(&self, seed: u64) -> (u64, u64) {
        let Self { bad, good, hangs, streams } = *self;
        seed_yields(seed);
        let mut stage = Harness::new();
        let credentials = sessions(&stage, bad + good);
        let _live = live(&stage, if streams { &credentials[..bad] } else { &[] });
        let log = logged(&mut stage, move |now, mut call| {
            if now < 20_000 || which(&call).is_none_or(|which| which >= bad) {
                reply_ok(call);
            } else if hangs {
                tokio::spawn(async move { call.cancelled().await });
            } else {
                call.reset();
            }
        });
        all_stay_in(&stage, &credentials[bad..], 120_000).await;
        seed_yields(0);
        let of_good = |from| {
            let pauses = longest_pauses(&log, from);
            (bad..bad + good).map(|which| pauses[&which]).max().unwrap()
        };
        (of_good(0), of_good(40_000))
    }
}

/// T185: the polls of some hang, or fail, for good; those of the others lose nothing.
#[tokio::test(start_paused = true)]
async fn failing_sessions_cost_the_good_ones_nothing() {
    for (bad, good, hangs) in [(20, 5, true), (20, 5, false), (400, 100, true), (3, 1, true)] {
        for (seed, streams) in [(23, true), (29, false), (31, true)] {
            let (longest, later) = Failing { bad, good, hangs, streams }.play(seed).await;
            assert!(longest <= 8_000, "{longest}: {bad} {hangs} {seed}");
            assert!(later <= 5_000, "{later}: {bad} {hangs} {seed}");
        }
    }
}

/// T185: if nearly all fail at once, the breaker opens; it finds those that would be answered.
#[tokio::test(start_paused = true)]
async fn few_good_sessions_are_found_among_many_that_fail() {
    for seed in [59, 61, 67] {
        for streams in [true, false] {
            let failing = Failing { bad: 200, good: 3, hangs: false, streams };
            let (_, later) = failing.play(seed).await;
            assert!(later <= 5_000, "{later}");
        }
    }
}

/// T060: five calls in a row that come to nothing, and the service is left alone but for one call
/// now and then.
#[tokio::test(start_paused = true)]
async fn service_that_is_gone_is_left_alone() {
    seed_yields(11);
    let mut stage = Harness::new();
    let credentials = sessions(&stage, 50);
    let _live = live(&stage, &credentials);
    let mut events = stage.ac.events();
    let log = logged(&mut stage, |_, call| {
        call.reset();
    });
    stage.at(600_000).await;
    seed_yields(0);
    let log = log.lock().unwrap().clone();
    // All are due at about the same moment, and on their way before the first has come back.
    let later: Vec<_> = log.iter().filter(|(at, _)| *at > 7_000).collect();
    assert!((296..900).contains(&later.len()), "{}", later.len());
    assert!(later.windows(2).all(|two| two[1].0 - two[0].0 <= 2_100));
    assert_eq!(events.next().await.map(|event| event.kind), Some(EventKind::PollFailed));
    assert_eq!(events.next().await.map(|event| event.kind), Some(EventKind::BreakerOpened));
    for credential in &credentials {
        assert_eq!(stage.session(credential).verdict(), crate::session::Verdict::Unavailable);
    }
}

/// T060, T061: an outage ends no session, and sends no user to the login. When the service is back,
/// those who wait and those with streams come first, slowly; those not used meanwhile, not at
/// all.
#[tokio::test(start_paused = true)]
async fn slow_start_after_outage() {
    const STREAMS: usize = 30;
    const USED: usize = 90;
    for outage in [600_000, 3_600_000] {
        seed_yields(5);
        let mut stage = Harness::with_builder(|builder| builder.max_polls_per_second(100));
        let credentials = sessions(&stage, 300);
        let live = live(&stage, &credentials[..STREAMS]);
        let mut events = stage.ac.events();
        let log = logged(&mut stage, move |now, call| {
            if now < outage {
                call.reset();
            } else {
                reply_ok(call);
            }
        });
        stage.at(14_900).await;
        assert_eq!(stage.send_request(&credentials[0]).await, "allowed");
        for minute in 1..outage / 60_000 {
            stage.at(minute * 60_000).await;
            let asked = credentials[..USED].iter().map(|one| tokio::spawn(stage.send_request(one)));
            for asked in asked.collect::<Vec<_>>() {
                assert_eq!(asked.await.unwrap(), "unavailable");
            }
        }
        // Some come in the last moment before, and go on coming.
        stage.at(outage - 10_000).await;
        for one in &credentials[..USED] {
            drop(tokio::spawn(stage.send_request(one)));
        }
        stage.at(outage + 60_000).await;
        seed_yields(0);
        for one in &credentials[..USED] {
            assert_eq!(stage.send_request(one).await, "allowed");
        }
        let log: Vec<_> =
            log.lock().unwrap().iter().filter(|(at, _)| *at >= outage).copied().collect();
        assert!(most_in_a_second(&log) <= 110, "{}", most_in_a_second(&log));
        let back = log[0].0;
        let first = log.iter().filter(|(at, _)| *at < back + 1_000).count();
        assert!(first <= 32, "{first} in the first second");
        let place = |which| log.iter().position(|(_, polled)| *polled == which);
        let last_stream = (0..STREAMS).map(|which| place(which).unwrap()).max().unwrap();
        let mut before: Vec<_> = log[..last_stream].iter().map(|(_, which)| *which).collect();
        before.retain(|which| *which >= STREAMS);
        assert!(before.is_empty(), "{before:?} before those with streams");
        assert!((USED..300).all(|which| place(which).is_none()), "these are not used");
        let mut told = Vec::new();
        while told.last() != Some(&EventKind::BreakerClosed) {
            told.push(events.next().await.unwrap().kind);
        }
        let [failing, opened] = [EventKind::PollFailed, EventKind::BreakerOpened];
        assert_eq!(told, [failing, opened, EventKind::BreakerClosed]);
        drop(live);
    }
}

/// Counts the polls in flight: how many are, and how many were at most.
type InFlight = Arc<Mutex<(u32, u32)>>;

/// Answers each poll with `active` after `latency`, unless it is given up before.
fn answered_slowly(stage: &mut Harness, latency: Duration) -> InFlight {
    let counts = InFlight::default();
    let counted = counts.clone();
    stage.respond_with(move |_, mut call| {
        let counted = counted.clone();
        {
            let mut counts = counted.lock().unwrap();
            counts.0 += 1;
            counts.1 = counts.1.max(counts.0);
        }
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(latency) => {}
                () = call.cancelled() => {}
            }
            counted.lock().unwrap().0 -= 1;
            reply_status(call, Active);
        });
    });
    counts
}

/// T169: a token store that hangs costs no session in use anything.
#[tokio::test(start_paused = true)]
async fn store_that_hangs_slows_no_poll_down() {
    for (mood, count) in [(StoreBehavior::Hangs, 1_000), (StoreBehavior::Fails, 50)] {
        seed_yields(37);
        let mut stage = Harness::new();
        let credentials = sessions(&stage, count);
        let log = logged(&mut stage, |_, call| reply_ok(call));
        all_stay_in(&stage, &credentials, 30_000).await;
        stage.token_store.set_behavior(mood);
        // Each session is to be checked at a minute of age.
        all_stay_in(&stage, &credentials, 120_000).await;
        let pauses = longest_pauses(&log, 0);
        assert!((0..count).all(|session| pauses[&session] <= 5_000), "{pauses:?}");
        stage.token_store.set_behavior(StoreBehavior::Names);
        let asked = stage.token_store.lookups();
        all_stay_in(&stage, &credentials, 140_000).await;
        let checks = stage.token_store.lookups() - asked;
        assert!((count..count + 50).contains(&checks), "{checks}: each is checked, once");
        seed_yields(0);
    }
}

/// T169: one look into the token store counts for all sessions of a user.
#[tokio::test(start_paused = true)]
async fn sessions_of_a_user_share_a_token_check() {
    seed_yields(41);
    let mut stage = Harness::new();
    let alice = UserId::from("alice");
    let credentials: Vec<_> =
        (0..50).map(|which| stage.ac.engine().insert_test_session(&alice, which)).collect();
    let _live = live(&stage, &credentials);
    logged(&mut stage, |_, call| reply_ok(call));
    stage.at(600_000).await;
    let asked = stage.token_store.lookups();
    // Jitter only shortens the minute, and the check goes with a poll.
    assert!((9..=12).contains(&asked), "{asked} in ten minutes");
    stage.token_store.set_behavior(StoreBehavior::Changes);
    stage.at(660_000).await;
    for one in &credentials {
        assert_eq!(stage.send_request(one).await, "ended");
    }
    seed_yields(0);
}

/// Streams of so many sessions, and a service that takes so long for each poll. Some end there, each
/// at a moment of its own.
async fn streams_end_in_time(count: usize, latency: u64, seed: u64) {
    seed_yields(seed);
    let mut stage = Harness::new();
    let credentials = sessions(&stage, count);
    let ended = Arc::new(Mutex::new(vec![u64::MAX; count]));
    let told = ended.clone();
    let log = logged(&mut stage, move |now, call| {
        // As it was when the call came: what the service says is as old as it may be.
        let ended = which(&call).is_some_and(|which| told.lock().unwrap()[which] <= now);
        let latency = if now < 10_000 { 0 } else { latency };
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(latency)).await;
            if ended { reply_status(call, Closed) } else { reply_status(call, Active) }
        });
    });
    let mut streams = Vec::new();
    for one in &credentials {
        streams.push(stage.stream(one).await);
    }
    let (first_end, ends) = (20_000, 40);
    while stage.now() < 45_000 {
        let now = stage.now();
        for which in 0..ends {
            if now >= first_end + which as u64 * 125 {
                let end = &mut ended.lock().unwrap()[which * (count / ends)];
                *end = now.min(*end);
            }
        }
        // A tenth of the sessions at a time.
        for (which, one) in credentials.iter().enumerate().skip(now as usize / 125 % 10).step_by(10)
        {
            if ended.lock().unwrap()[which] == u64::MAX {
                assert_eq!(stage.send_request(one).await, "allowed", "{which} of {count} at {now}");
            }
        }
        assert_eq!(stage.now(), now, "one had to wait");
        stage.at(now + 125).await;
    }
    let health = stage.ac.health();
    assert_eq!(health.poll_latency, Duration::from_millis(latency));
    assert!(health.max_polls_in_flight as u64 >= count as u64 * latency / 5_000, "{health:?}");
    assert!(health.effective_interval < Duration::from_millis(5_300), "{health:?}");
    assert!(health.capacity >= count as u64, "{health:?}");
    assert!(longest_pauses(&log, 35_000).values().all(|pause| *pause < 5_300));
    let mut cut = 0;
    for (which, stream) in streams.into_iter().enumerate() {
        let end = ended.lock().unwrap()[which];
        if end == u64::MAX {
            assert!(!stream.end.is_finished(), "{which} of {count} was cut");
            continue;
        }
        assert!(stream.end.is_finished(), "{which} of {count} goes on");
        let (at, why) = stream.end.await.unwrap();
        assert_eq!(why, Denial::Ended);
        assert!(at <= end + 9_000, "{which} of {count} was cut after {} ms", at - end);
        cut += 1;
    }
    assert_eq!(cut, ends);
    seed_yields(0);
}

/// T167: 800 streams, and a service that takes a second for each poll.
#[tokio::test(start_paused = true)]
async fn streams_of_a_slow_service_end_in_time() {
    for seed in [0, 43] {
        streams_end_in_time(800, 1_000, seed).await;
        streams_end_in_time(1_200, 1_000, seed).await;
    }
}

/// T167: the same at two seconds.
#[tokio::test(start_paused = true)]
async fn streams_of_a_very_slow_service_end_in_time() {
    for seed in [0, 47] {
        streams_end_in_time(800, 2_000, seed).await;
    }
}

/// T167: with more streams than may be polled in an interval all are polled less often, in turn,
/// and what is told of that is true.
#[tokio::test(start_paused = true)]
async fn effective_interval_is_true_of_streams_too() {
    for (count, interval) in [(1_100, 11_000), (2_000, 20_000)] {
        seed_yields(53);
        let mut stage = Harness::with_builder(|builder| builder.max_polls_per_second(100));
        assert_eq!(stage.ac.health().capacity, 1_200);
        let credentials = sessions(&stage, count);
        let _live = live(&stage, &credentials);
        let log = logged(&mut stage, |_, call| reply_ok(call));
        stage.at(100_000).await;
        let health = stage.ac.health();
        let told = u64::try_from(health.effective_interval.as_millis()).unwrap();
        let pauses = longest_pauses(&log, 60_000);
        assert!(pauses.values().all(|pause| *pause <= told + told / 50), "{told}: {pauses:?}");
        assert!(told.abs_diff(interval) <= interval / 10, "{told}");
        for one in &credentials {
            let is_allowed = stage.session(one).verdict() == crate::session::Verdict::Allow;
            assert!(is_allowed || count > 1_200, "within the capacity");
        }
        seed_yields(0);
    }
}

/// T110: a service that hangs is sent no more polls than a first few, however many are due.
#[tokio::test(start_paused = true)]
async fn service_that_hangs_is_not_flooded() {
    let mut stage = Harness::new();
    let credentials = sessions(&stage, 5_000);
    let _live = live(&stage, &credentials);
    let in_flight = answered_slowly(&mut stage, Duration::from_secs(60));
    stage.at(5_100).await;
    assert_eq!(stage.ac.health().polls_in_flight, 256);
    stage.at(300_000).await;
    assert_eq!(in_flight.lock().unwrap().1, 256);
    let health = stage.ac.health();
    assert!(health.breaker_open && health.polls_in_flight <= 2, "{health:?}");
}

/// T110: nor do more polls fly than may be sent in the time that one may take.
#[tokio::test(start_paused = true)]
async fn polls_in_flight_are_bounded_by_the_rate() {
    let mut stage = Harness::with_builder(|builder| builder.max_polls_per_second(50));
    let credentials = sessions(&stage, 500);
    let _live = live(&stage, &credentials);
    let in_flight = answered_slowly(&mut stage, Duration::from_millis(2_900));
    stage.at(60_000).await;
    let most = in_flight.lock().unwrap().1;
    assert!((140..=150).contains(&most), "{most}");
}

/// T108: a hundred thousand sessions are due at the same moment, many times what may be asked.
#[tokio::test(start_paused = true)]
async fn hundred_thousand_at_once_stay_under_the_ceiling() {
    const STREAMS: usize = 5_000;
    const ALL: usize = 100_000;
    let mut stage = Harness::new();
    let credentials = sessions(&stage, ALL);
    // The last to be due are those with streams.
    let _live = live(&stage, &credentials[ALL - STREAMS..]);
    let log = logged(&mut stage, |_, call| reply_ok(call));
    let held: Vec<_> = credentials.iter().map(|one| stage.session(one)).collect();
    let (mut good, mut read, mut slowest) = (vec![0; ALL], 0, Duration::ZERO);
    for moment in 1..9 {
        stage.at(moment * 4_000).await;
        slowest = slowest.max(stage.ac.health().effective_interval);
        for (at, which) in &log.lock().unwrap()[read..] {
            good[*which] = *at;
            read += 1;
        }
        for (which, one) in held.iter().enumerate() {
            let age = stage.now() - good[which];
            if one.verdict() == crate::session::Verdict::Allow {
                assert!(age < 15_000, "{which} is allowed after {age} ms");
            } else {
                assert!(age >= 15_000, "{which} is not allowed after {age} ms");
                assert!(which < ALL - STREAMS, "one with a stream had to wait");
            }
        }
        let entries = stage.ac.engine().shared.schedule.len();
        assert!(entries <= 3 * ALL, "{entries} in the schedule");
    }
    let log = log.lock().unwrap();
    assert!(most_in_a_second(&log) <= 2_200, "{}", most_in_a_second(&log));
    assert!(log.len() > 50_000, "{}: the ceiling is made use of", log.len());
    assert!(slowest > Duration::from_secs(25), "{slowest:?} is told");
    let first: Vec<_> = log.iter().take(STREAMS).map(|(_, which)| *which).collect();
    assert!(first.iter().all(|which| *which >= ALL - STREAMS), "those with streams come first");
}

/// A request for a session that waits its turn among many does not wait for all of them.
#[tokio::test(start_paused = true)]
async fn waiting_requests_are_polled_first() {
    let mut stage = Harness::with_builder(|builder| builder.max_polls_per_second(10));
    let credentials = sessions(&stage, 1_000);
    let log = logged(&mut stage, |_, call| reply_ok(call));
    stage.at(30_000).await;
    let last = credentials.iter().rev().take(20).collect::<Vec<_>>();
    let asked: Vec<_> = last.iter().map(|one| tokio::spawn(stage.send_request(one))).collect();
    for asked in asked {
        assert_eq!(asked.await.unwrap(), "allowed");
    }
    assert!(stage.now() <= 32_200, "{}", stage.now());
    assert!(most_in_a_second(&log.lock().unwrap()) <= 11);
}

/// T107: no poll is sent for a session that was not used while the poll waited its turn.
#[tokio::test(start_paused = true)]
async fn one_that_waited_for_a_minute_unused_is_parked() {
    let mut stage = Harness::with_builder(|builder| builder.max_polls_per_second(1));
    let credentials = sessions(&stage, 500);
    let log = logged(&mut stage, |_, call| reply_ok(call));
    stage.at(600_000).await;
    let polls = log.lock().unwrap().len();
    assert!((50..=60).contains(&polls), "{polls}");
    assert_eq!(stage.send_request(&credentials[499]).await, "allowed");
}

/// T043, T060: a certificate, a page, an error: an answer that is not the service's ends no session.
#[tokio::test(start_paused = true)]
async fn proxy_errors_end_no_session_in_an_hour() {
    for (status, body) in [(200, "<html>"), (502, ""), (404, "<html>"), (302, ""), (429, "")] {
        let mut stage = Harness::new();
        let credentials = sessions(&stage, 2);
        let _live = live(&stage, &credentials);
        logged(&mut stage, move |_, call| {
            call.answer(status, body);
        });
        stage.at(3_600_000).await;
        for one in &credentials {
            assert_eq!(stage.send_request(one).await, "unavailable", "{status}");
        }
    }
}

/// A good word of one is none about another.
#[tokio::test(start_paused = true)]
async fn each_session_hears_its_own_end() {
    let mut stage = Harness::new();
    let credentials = sessions(&stage, 3);
    logged(&mut stage, |_, call| {
        let status = if which(&call) == Some(1) { Closed } else { Active };
        reply_status(call, status);
    });
    stage.at(6_000).await;
    let mut said = Vec::new();
    for one in &credentials {
        said.push(stage.send_request(one).await);
    }
    assert_eq!(said, ["allowed", "ended", "allowed"]);
}
