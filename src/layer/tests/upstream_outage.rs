//! Polling when the service rate-limits, is unreachable, is slow or recovers, and with more sessions
//! than the poll rate allows.

use crate::UserId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::harness::{Harness, StoreBehavior, reply_ok, reply_started, reply_status};
use crate::client::mock::ReceivedCall;
use crate::engine::SessionWatcher;
use crate::events::EventKind;
use crate::identity::SessionCredential;
use crate::polling::yield_injection::seed_yields;
use crate::protocol::SessionStatus::{Active, Closed};
use crate::verdict::Denial;

/// The received polls: time in milliseconds, and session.
type PollLog = Arc<Mutex<Vec<(u64, usize)>>>;

/// The session of a poll; `None` for other calls.
fn polled_session(call: &ReceivedCall) -> Option<usize> {
    call.path.strip_prefix("/s/").map(|session| session.parse().unwrap())
}

/// Logs the polls, and passes each call to `reply`.
fn respond_and_log(
    harness: &mut Harness,
    mut reply: impl FnMut(u64, ReceivedCall) + Send + 'static,
) -> PollLog {
    let log = PollLog::default();
    let entries = log.clone();
    harness.respond_with(move |now, call| {
        entries.lock().unwrap().extend(polled_session(&call).map(|session| (now, session)));
        reply(now, call);
    });
    log
}

/// Inserts `count` sessions, active as of now.
fn insert_sessions(harness: &Harness, count: usize) -> Vec<SessionCredential> {
    let insert = |session: usize| {
        harness.ac.engine().insert_test_session(&UserId::from(format!("user{session}")), session)
    };
    (0..count).map(insert).collect()
}

fn watch_all(harness: &Harness, credentials: &[SessionCredential]) -> Vec<SessionWatcher> {
    credentials.iter().map(|credential| harness.session(credential).watch()).collect()
}

/// The maximum number of polls within one second.
fn max_polls_per_second(log: &[(u64, usize)]) -> usize {
    let (mut first, mut max) = (0, 0);
    for (i, (at, _)) in log.iter().enumerate() {
        while log[first].0 + 1_000 <= *at {
            first += 1;
        }
        max = max.max(i + 1 - first);
    }
    max
}

/// T058: a requested pause applies to all sessions, except for a probe every three seconds. The
/// pause neither ends nor extends a session.
#[tokio::test(start_paused = true)]
async fn requested_pause_ends_no_session() {
    let mut harness = Harness::new();
    let credentials = insert_sessions(&harness, 3);
    let _live = watch_all(&harness, &credentials);
    let mut polls = Vec::new();
    for _ in &credentials {
        polls.push(harness.next_poll_at(5_000).await);
    }
    polls.sort_by_key(polled_session);
    let mut polls = polls.into_iter();
    assert!(polls.next().unwrap().reply_retry_after(429, Duration::from_secs(60)));
    // Polls in flight count, and do not end the pause.
    reply_status(polls.next().unwrap(), Active);
    assert!(polls.next().unwrap().reply_retry_after(503, Duration::from_secs(10)));
    let log = respond_and_log(&mut harness, |now, call| {
        if now < 62_000 {
            call.reply_retry_after(429, Duration::from_secs(60));
        } else {
            reply_ok(call);
        }
    });
    for (at, expected) in [
        (14_999, ["allowed", "allowed", "allowed"]),
        (15_000, ["unavailable", "allowed", "unavailable"]),
        (19_999, ["unavailable", "allowed", "unavailable"]),
        (20_000, ["unavailable"; 3]),
        (61_000, ["unavailable"; 3]),
    ] {
        harness.advance_to(at).await;
        let requests =
            credentials.iter().map(|credential| tokio::spawn(harness.send_request(credential)));
        for (request, expected) in requests.collect::<Vec<_>>().into_iter().zip(expected) {
            assert_eq!(request.await.unwrap(), expected, "at {at}");
        }
        assert_eq!(harness.now(), at, "no request waits during a pause");
    }
    assert!(harness.ac.health().breaker_open);
    let times: Vec<_> = log.lock().unwrap().iter().map(|(at, _)| *at).collect();
    let every_3_s: Vec<_> = (8_000..62_000).step_by(3_000).collect();
    assert_eq!(times, every_3_s);
    assert_eq!(log.lock().unwrap()[1], (11_000, 1), "the session of the last success is first");
    // One probe succeeds; then all sessions are polled.
    harness.advance_to(63_000).await;
    for credential in &credentials {
        assert_eq!(harness.send_request(credential).await, "allowed");
    }
    assert!(!harness.ac.health().breaker_open);
}

/// Sends requests with all credentials every 250 ms (every second for 100 and more) until `end`;
/// asserts that each is allowed at once.
async fn assert_all_allowed(harness: &Harness, credentials: &[SessionCredential], end: u64) {
    let pause = if credentials.len() < 100 { 250 } else { 1_000 };
    while harness.now() < end {
        let now = harness.now();
        for credential in credentials {
            assert_eq!(harness.send_request(credential).await, "allowed", "at {now}");
        }
        assert_eq!(harness.now(), now, "a request waited");
        harness.advance_to(now + pause).await;
    }
}

/// The times of this session's polls since `from`.
fn polls_of(log: &PollLog, session: usize, from: u64) -> Vec<u64> {
    let log = log.lock().unwrap();
    log.iter().filter(|(at, polled)| *polled == session && *at >= from).map(|(at, _)| *at).collect()
}

/// The longest pause between two polls of each session since `from`.
fn longest_pauses(log: &PollLog, from: u64) -> HashMap<usize, u64> {
    let (mut last, mut longest) = (HashMap::new(), HashMap::new());
    for (at, session) in log.lock().unwrap().iter().filter(|(at, _)| *at >= from) {
        if let Some(before) = last.insert(*session, *at) {
            let longest = longest.entry(*session).or_insert(0);
            *longest = (*longest).max(at - before);
        }
    }
    longest
}

/// T168: a `Retry-After` in a 503 applies only to the polled session.
#[tokio::test(start_paused = true)]
async fn retry_after_503_delays_only_its_session() {
    for count in [1, 2, 40] {
        seed_yields(13);
        let mut harness = Harness::new();
        let credentials = insert_sessions(&harness, count);
        let mut faults_left = 1;
        let log = respond_and_log(&mut harness, move |now, call| {
            if polled_session(&call) == Some(0) && now > 20_000 && faults_left > 0 {
                faults_left -= 1;
                call.reply_retry_after(503, Duration::from_secs(300));
            } else {
                reply_ok(call);
            }
        });
        assert_all_allowed(&harness, &credentials, 60_000).await;
        let polls = polls_of(&log, 0, 20_001);
        assert_eq!(polls[1] - polls[0], 3_000, "the session is polled again after 3 s");
        let pauses = longest_pauses(&log, 0);
        assert!((0..count).all(|session| pauses[&session] <= 5_000), "{pauses:?}");
        assert!(!harness.ac.health().breaker_open);
        seed_yields(0);
    }
}

/// T168: the same for repeated requests for a pause.
#[tokio::test(start_paused = true)]
async fn repeated_retry_after_spares_other_sessions() {
    for status in [503, 429] {
        seed_yields(17);
        let mut harness = Harness::new();
        let credentials = insert_sessions(&harness, 30);
        let _live = watch_all(&harness, &credentials);
        let log = respond_and_log(&mut harness, move |now, call| {
            if polled_session(&call) == Some(0) && (20_000..100_000).contains(&now) {
                call.reply_retry_after(status, Duration::from_secs(300));
            } else {
                reply_ok(call);
            }
        });
        assert_all_allowed(&harness, &credentials[1..], 103_000).await;
        // The first 429 pauses all sessions until the next reply.
        let polls = polls_of(&log, 0, 30_000);
        let pauses: Vec<_> = polls.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses[..20].iter().all(|pause| *pause == 3_000), "{status}: {pauses:?}");
        assert_all_allowed(&harness, &credentials, 120_000).await;
        seed_yields(0);
    }
}

/// T168: a single 429 pauses all sessions for at most three seconds.
#[tokio::test(start_paused = true)]
async fn single_429_pauses_polls_for_3_s() {
    for count in [1, 50, 3_000] {
        seed_yields(19);
        let mut harness = Harness::new();
        let credentials = insert_sessions(&harness, count);
        let mut limited_at = None;
        let log = respond_and_log(&mut harness, move |now, call| {
            if now > 20_000 && limited_at.is_none() {
                limited_at = Some(now);
                call.reply_retry_after(429, Duration::from_secs(300));
            } else {
                reply_ok(call);
            }
        });
        assert_all_allowed(&harness, &credentials, 40_000).await;
        let log = log.lock().unwrap();
        let first = log.iter().position(|(at, _)| *at > 20_000).unwrap();
        let pause = log[first + 1..].iter().find(|(at, _)| *at > log[first].0).unwrap().0;
        assert_eq!(pause - log[first].0, 3_000, "{count}");
        seed_yields(0);
    }
}

/// T168: during a pause a request for a parked session waits for the first probe, and so does a login.
#[tokio::test(start_paused = true)]
async fn pause_delays_requests_and_logins_by_one_probe() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let bob = harness.log_in("bob").await;
    let _live = harness.session(&bob).watch();
    harness.respond_with(|now, call| {
        if call.path.starts_with("/authentication/") {
            reply_started(call, 2);
        } else if (200_000..203_000).contains(&now) {
            call.reply_retry_after(429, Duration::from_secs(300));
        } else {
            reply_ok(call);
        }
    });
    harness.advance_to(201_000).await;
    assert!(harness.ac.health().breaker_open);
    let login = harness.spawn_login("carol");
    assert_eq!(harness.send_request(&alice).await, "allowed");
    assert!((203_000..203_010).contains(&harness.now()), "{}", harness.now());
    login.await.unwrap().unwrap();
    assert!(harness.now() < 203_500, "{}", harness.now());
}

/// T060: during an outage no request waits, neither for a failed poll nor for a queued one.
#[tokio::test(start_paused = true)]
async fn requests_fail_fast_during_outage() {
    for hangs in [true, false] {
        seed_yields(71);
        let mut harness = Harness::new();
        let credentials = insert_sessions(&harness, 400);
        respond_and_log(&mut harness, move |now, mut call| {
            if !(10_000..=50_000).contains(&now) {
                reply_ok(call);
            } else if hangs {
                tokio::spawn(async move { call.cancelled().await });
            } else {
                call.reset();
            }
        });
        for at in [30_000, 40_000, 49_000] {
            harness.advance_to(at).await;
            let requests =
                credentials.iter().map(|credential| tokio::spawn(harness.send_request(credential)));
            for request in requests.collect::<Vec<_>>() {
                assert_eq!(request.await.unwrap(), "unavailable");
            }
            assert_eq!(harness.now(), at, "a request waited");
        }
        harness.advance_to(60_000).await;
        for credential in &credentials {
            assert_eq!(harness.send_request(credential).await, "allowed");
        }
        seed_yields(0);
    }
}

/// A scenario in which the polls of some sessions fail from 20 s on.
struct PartialOutage {
    bad: usize,
    good: usize,
    /// Whether polls of bad sessions hang; otherwise they fail at once.
    hangs: bool,
    /// Whether bad sessions have streams, whose polls go first.
    streams: bool,
}

impl PartialOutage {
    /// Runs two minutes and asserts that the good sessions stay allowed. Returns the longest pause
    /// between two polls of a good session, in total and since 40 s.
    async fn run(&self, seed: u64) -> (u64, u64) {
        let Self { bad, good, hangs, streams } = *self;
        seed_yields(seed);
        let mut harness = Harness::new();
        let credentials = insert_sessions(&harness, bad + good);
        let _live = watch_all(&harness, if streams { &credentials[..bad] } else { &[] });
        let log = respond_and_log(&mut harness, move |now, mut call| {
            if now < 20_000 || polled_session(&call).is_none_or(|session| session >= bad) {
                reply_ok(call);
            } else if hangs {
                tokio::spawn(async move { call.cancelled().await });
            } else {
                call.reset();
            }
        });
        assert_all_allowed(&harness, &credentials[bad..], 120_000).await;
        seed_yields(0);
        let longest_good_pause = |from| {
            let pauses = longest_pauses(&log, from);
            (bad..bad + good).map(|session| pauses[&session]).max().unwrap()
        };
        (longest_good_pause(0), longest_good_pause(40_000))
    }
}

/// T185: some sessions' polls hang or fail permanently; the polls of other sessions stay on time.
#[tokio::test(start_paused = true)]
async fn failing_sessions_do_not_delay_others() {
    for (bad, good, hangs) in [(20, 5, true), (20, 5, false), (400, 100, true), (3, 1, true)] {
        for (seed, streams) in [(23, true), (29, false), (31, true)] {
            let (longest, later) = PartialOutage { bad, good, hangs, streams }.run(seed).await;
            assert!(longest <= 8_000, "{longest}: {bad} {hangs} {seed}");
            assert!(later <= 5_000, "{later}: {bad} {hangs} {seed}");
        }
    }
}

/// T185: if nearly all polls fail at once, the breaker opens; its probes find the good sessions.
#[tokio::test(start_paused = true)]
async fn breaker_finds_the_few_good_sessions() {
    for seed in [59, 61, 67] {
        for streams in [true, false] {
            let outage = PartialOutage { bad: 200, good: 3, hangs: false, streams };
            let (_, later) = outage.run(seed).await;
            assert!(later <= 5_000, "{later}");
        }
    }
}

/// T060: after five failed calls in a row the poller sends only probes.
#[tokio::test(start_paused = true)]
async fn unreachable_service_gets_only_probes() {
    seed_yields(11);
    let mut harness = Harness::new();
    let credentials = insert_sessions(&harness, 50);
    let _live = watch_all(&harness, &credentials);
    let mut events = harness.ac.events();
    let log = respond_and_log(&mut harness, |_, call| {
        call.reset();
    });
    harness.advance_to(600_000).await;
    seed_yields(0);
    let log = log.lock().unwrap().clone();
    // All polls are due at about the same time, and in flight before the first fails.
    let later: Vec<_> = log.iter().filter(|(at, _)| *at > 7_000).collect();
    assert!((296..900).contains(&later.len()), "{}", later.len());
    assert!(later.windows(2).all(|pair| pair[1].0 - pair[0].0 <= 2_100));
    assert_eq!(events.next().await.map(|event| event.kind), Some(EventKind::PollFailed));
    assert_eq!(events.next().await.map(|event| event.kind), Some(EventKind::BreakerOpened));
    for credential in &credentials {
        assert_eq!(harness.session(credential).verdict(), crate::verdict::Verdict::Unavailable);
    }
}

/// T060, T061: an outage ends no session. After the recovery the poll rate rises slowly: sessions with
/// waiting requests or streams come first, and unused sessions are not polled.
#[tokio::test(start_paused = true)]
async fn slow_start_after_outage() {
    const STREAMS: usize = 30;
    const USED: usize = 90;
    for outage in [600_000, 3_600_000] {
        seed_yields(5);
        let mut harness = Harness::with_builder(|builder| builder.max_polls_per_second(100));
        let credentials = insert_sessions(&harness, 300);
        let live = watch_all(&harness, &credentials[..STREAMS]);
        let mut events = harness.ac.events();
        let log = respond_and_log(&mut harness, move |now, call| {
            if now < outage {
                call.reset();
            } else {
                reply_ok(call);
            }
        });
        harness.advance_to(14_900).await;
        assert_eq!(harness.send_request(&credentials[0]).await, "allowed");
        for minute in 1..outage / 60_000 {
            harness.advance_to(minute * 60_000).await;
            let requests = credentials[..USED]
                .iter()
                .map(|credential| tokio::spawn(harness.send_request(credential)));
            for request in requests.collect::<Vec<_>>() {
                assert_eq!(request.await.unwrap(), "unavailable");
            }
        }
        // Sessions are in use shortly before the recovery.
        harness.advance_to(outage - 10_000).await;
        for credential in &credentials[..USED] {
            drop(tokio::spawn(harness.send_request(credential)));
        }
        harness.advance_to(outage + 60_000).await;
        seed_yields(0);
        for credential in &credentials[..USED] {
            assert_eq!(harness.send_request(credential).await, "allowed");
        }
        let log: Vec<_> =
            log.lock().unwrap().iter().filter(|(at, _)| *at >= outage).copied().collect();
        assert!(max_polls_per_second(&log) <= 110, "{}", max_polls_per_second(&log));
        let back = log[0].0;
        let first = log.iter().filter(|(at, _)| *at < back + 1_000).count();
        assert!(first <= 32, "{first} in the first second");
        let position = |session| log.iter().position(|(_, polled)| *polled == session);
        let last_stream = (0..STREAMS).map(|session| position(session).unwrap()).max().unwrap();
        let mut before: Vec<_> = log[..last_stream].iter().map(|(_, session)| *session).collect();
        before.retain(|session| *session >= STREAMS);
        assert!(before.is_empty(), "{before:?} were polled before sessions with streams");
        assert!(
            (USED..300).all(|session| position(session).is_none()),
            "unused sessions were polled"
        );
        let mut kinds = Vec::new();
        while kinds.last() != Some(&EventKind::BreakerClosed) {
            kinds.push(events.next().await.unwrap().kind);
        }
        let [failing, opened] = [EventKind::PollFailed, EventKind::BreakerOpened];
        assert_eq!(kinds, [failing, opened, EventKind::BreakerClosed]);
        drop(live);
    }
}

/// The current and the maximum number of polls in flight.
type InFlight = Arc<Mutex<(u32, u32)>>;

/// Replies `active` to each poll after `latency`, unless the poll is cancelled first.
fn respond_slowly(harness: &mut Harness, latency: Duration) -> InFlight {
    let counts = InFlight::default();
    let shared = counts.clone();
    harness.respond_with(move |_, mut call| {
        let shared = shared.clone();
        {
            let mut counts = shared.lock().unwrap();
            counts.0 += 1;
            counts.1 = counts.1.max(counts.0);
        }
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(latency) => {}
                () = call.cancelled() => {}
            }
            shared.lock().unwrap().0 -= 1;
            reply_status(call, Active);
        });
    });
    counts
}

/// T169: a hanging token store affects no session in use.
#[tokio::test(start_paused = true)]
async fn hanging_store_does_not_delay_polls() {
    for (behavior, count) in [(StoreBehavior::Hangs, 1_000), (StoreBehavior::Fails, 50)] {
        seed_yields(37);
        let mut harness = Harness::new();
        let credentials = insert_sessions(&harness, count);
        let log = respond_and_log(&mut harness, |_, call| reply_ok(call));
        assert_all_allowed(&harness, &credentials, 30_000).await;
        harness.token_store.set_behavior(behavior);
        // Each session's token check is due at an age of one minute.
        assert_all_allowed(&harness, &credentials, 120_000).await;
        let pauses = longest_pauses(&log, 0);
        assert!((0..count).all(|session| pauses[&session] <= 5_000), "{pauses:?}");
        harness.token_store.set_behavior(StoreBehavior::ReturnsToken);
        let lookups = harness.token_store.lookups();
        assert_all_allowed(&harness, &credentials, 140_000).await;
        let checks = harness.token_store.lookups() - lookups;
        assert!((count..count + 50).contains(&checks), "{checks}: each token is checked once");
        seed_yields(0);
    }
}

/// T169: one token check counts for all sessions of a user.
#[tokio::test(start_paused = true)]
async fn sessions_of_a_user_share_a_token_check() {
    seed_yields(41);
    let mut harness = Harness::new();
    let alice = UserId::from("alice");
    let credentials: Vec<_> =
        (0..50).map(|session| harness.ac.engine().insert_test_session(&alice, session)).collect();
    let _live = watch_all(&harness, &credentials);
    respond_and_log(&mut harness, |_, call| reply_ok(call));
    harness.advance_to(600_000).await;
    let lookups = harness.token_store.lookups();
    // Jitter only shortens the minute, and the check runs with a poll.
    assert!((9..=12).contains(&lookups), "{lookups} in ten minutes");
    harness.token_store.set_behavior(StoreBehavior::ReturnsOtherToken);
    harness.advance_to(660_000).await;
    for credential in &credentials {
        assert_eq!(harness.send_request(credential).await, "ended");
    }
    seed_yields(0);
}

/// Opens `count` streams, with a service that takes `latency` ms for each poll, and ends some
/// sessions at different times. Asserts that their streams end in time and the others stay.
async fn streams_end_in_time(count: usize, latency: u64, seed: u64) {
    seed_yields(seed);
    let mut harness = Harness::new();
    let credentials = insert_sessions(&harness, count);
    let end_times = Arc::new(Mutex::new(vec![u64::MAX; count]));
    let service_end_times = end_times.clone();
    let log = respond_and_log(&mut harness, move |now, call| {
        // The reply has the status at the time of the call.
        let ended = polled_session(&call)
            .is_some_and(|session| service_end_times.lock().unwrap()[session] <= now);
        let latency = if now < 10_000 { 0 } else { latency };
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(latency)).await;
            if ended { reply_status(call, Closed) } else { reply_status(call, Active) }
        });
    });
    let mut streams = Vec::new();
    for credential in &credentials {
        streams.push(harness.stream(credential).await);
    }
    let (first_end, ends) = (20_000, 40);
    while harness.now() < 45_000 {
        let now = harness.now();
        for index in 0..ends {
            if now >= first_end + index as u64 * 125 {
                let end = &mut end_times.lock().unwrap()[index * (count / ends)];
                *end = now.min(*end);
            }
        }
        // A tenth of the sessions at a time.
        for (session, credential) in
            credentials.iter().enumerate().skip(now as usize / 125 % 10).step_by(10)
        {
            if end_times.lock().unwrap()[session] == u64::MAX {
                assert_eq!(
                    harness.send_request(credential).await,
                    "allowed",
                    "{session} of {count} at {now}"
                );
            }
        }
        assert_eq!(harness.now(), now, "a request waited");
        harness.advance_to(now + 125).await;
    }
    let health = harness.ac.health();
    assert_eq!(health.poll_latency, Duration::from_millis(latency));
    assert!(health.max_polls_in_flight as u64 >= count as u64 * latency / 5_000, "{health:?}");
    assert!(health.effective_interval < Duration::from_millis(5_300), "{health:?}");
    assert!(health.capacity >= count as u64, "{health:?}");
    assert!(longest_pauses(&log, 35_000).values().all(|pause| *pause < 5_300));
    let mut cut_count = 0;
    for (session, stream) in streams.into_iter().enumerate() {
        let end = end_times.lock().unwrap()[session];
        if end == u64::MAX {
            assert!(!stream.end.is_finished(), "{session} of {count} was cut");
            continue;
        }
        assert!(stream.end.is_finished(), "{session} of {count} was not cut");
        let (at, denial) = stream.end.await.unwrap();
        assert_eq!(denial, Denial::Ended);
        assert!(at <= end + 9_000, "{session} of {count} was cut after {} ms", at - end);
        cut_count += 1;
    }
    assert_eq!(cut_count, ends);
    seed_yields(0);
}

/// T167: 800 streams, and a service that takes one second for each poll.
#[tokio::test(start_paused = true)]
async fn streams_of_a_slow_service_end_in_time() {
    for seed in [0, 43] {
        streams_end_in_time(800, 1_000, seed).await;
        streams_end_in_time(1_200, 1_000, seed).await;
    }
}

/// T167: the same with two seconds.
#[tokio::test(start_paused = true)]
async fn streams_of_a_very_slow_service_end_in_time() {
    for seed in [0, 47] {
        streams_end_in_time(800, 2_000, seed).await;
    }
}

/// T167: with more streams than the poll rate allows, all are polled in turn and less often, and the
/// health report has the true interval.
#[tokio::test(start_paused = true)]
async fn effective_interval_matches_stream_polls() {
    for (count, interval) in [(1_100, 11_000), (2_000, 20_000)] {
        seed_yields(53);
        let mut harness = Harness::with_builder(|builder| builder.max_polls_per_second(100));
        assert_eq!(harness.ac.health().capacity, 1_200);
        let credentials = insert_sessions(&harness, count);
        let _live = watch_all(&harness, &credentials);
        let log = respond_and_log(&mut harness, |_, call| reply_ok(call));
        harness.advance_to(100_000).await;
        let health = harness.ac.health();
        let reported = u64::try_from(health.effective_interval.as_millis()).unwrap();
        let pauses = longest_pauses(&log, 60_000);
        let longest = reported + reported / 50;
        assert!(pauses.values().all(|pause| *pause <= longest), "{reported}: {pauses:?}");
        assert!(reported.abs_diff(interval) <= interval / 10, "{reported}");
        for credential in &credentials {
            let is_allowed =
                harness.session(credential).verdict() == crate::verdict::Verdict::Allow;
            assert!(is_allowed || count > 1_200, "within the capacity");
        }
        seed_yields(0);
    }
}

/// T110: at most 256 polls are in flight to a hanging service.
#[tokio::test(start_paused = true)]
async fn polls_in_flight_are_capped_at_256() {
    let mut harness = Harness::new();
    let credentials = insert_sessions(&harness, 5_000);
    let _live = watch_all(&harness, &credentials);
    let in_flight = respond_slowly(&mut harness, Duration::from_secs(60));
    harness.advance_to(5_100).await;
    assert_eq!(harness.ac.health().polls_in_flight, 256);
    harness.advance_to(300_000).await;
    assert_eq!(in_flight.lock().unwrap().1, 256);
    let health = harness.ac.health();
    assert!(health.breaker_open && health.polls_in_flight <= 2, "{health:?}");
}

/// T110: at most as many polls are in flight as the rate allows in one poll timeout.
#[tokio::test(start_paused = true)]
async fn polls_in_flight_are_bounded_by_rate() {
    let mut harness = Harness::with_builder(|builder| builder.max_polls_per_second(50));
    let credentials = insert_sessions(&harness, 500);
    let _live = watch_all(&harness, &credentials);
    let in_flight = respond_slowly(&mut harness, Duration::from_millis(2_900));
    harness.advance_to(60_000).await;
    let max = in_flight.lock().unwrap().1;
    assert!((140..=150).contains(&max), "{max}");
}

/// T108: the polls of 100,000 sessions are due at once, many times what the rate allows.
#[tokio::test(start_paused = true)]
async fn poll_rate_limit_holds_for_100_000_sessions() {
    const STREAMS: usize = 5_000;
    const ALL: usize = 100_000;
    let mut harness = Harness::new();
    let credentials = insert_sessions(&harness, ALL);
    // The sessions with streams are due last.
    let _live = watch_all(&harness, &credentials[ALL - STREAMS..]);
    let log = respond_and_log(&mut harness, |_, call| reply_ok(call));
    let sessions: Vec<_> =
        credentials.iter().map(|credential| harness.session(credential)).collect();
    let (mut last_polls, mut read, mut slowest) = (vec![0; ALL], 0, Duration::ZERO);
    for round in 1..9 {
        harness.advance_to(round * 4_000).await;
        slowest = slowest.max(harness.ac.health().effective_interval);
        for (at, session) in &log.lock().unwrap()[read..] {
            last_polls[*session] = *at;
            read += 1;
        }
        for (session, credential) in sessions.iter().enumerate() {
            let age = harness.now() - last_polls[session];
            if credential.verdict() == crate::verdict::Verdict::Allow {
                assert!(age < 15_000, "{session} is allowed after {age} ms");
            } else {
                assert!(age >= 15_000, "{session} is not allowed after {age} ms");
                assert!(session < ALL - STREAMS, "a session with a stream is stale");
            }
        }
        let entries = harness.ac.engine().shared.schedule.len();
        assert!(entries <= 3 * ALL, "{entries} in the schedule");
    }
    let log = log.lock().unwrap();
    assert!(max_polls_per_second(&log) <= 2_200, "{}", max_polls_per_second(&log));
    assert!(log.len() > 50_000, "{}: the rate is used", log.len());
    assert!(slowest > Duration::from_secs(25), "{slowest:?} is reported");
    let first: Vec<_> = log.iter().take(STREAMS).map(|(_, session)| *session).collect();
    assert!(
        first.iter().all(|session| *session >= ALL - STREAMS),
        "sessions with streams come first"
    );
}

/// A session with a waiting request is polled before the other queued sessions.
#[tokio::test(start_paused = true)]
async fn waiting_requests_are_polled_first() {
    let mut harness = Harness::with_builder(|builder| builder.max_polls_per_second(10));
    let credentials = insert_sessions(&harness, 1_000);
    let log = respond_and_log(&mut harness, |_, call| reply_ok(call));
    harness.advance_to(30_000).await;
    let last = credentials.iter().rev().take(20).collect::<Vec<_>>();
    let requests: Vec<_> =
        last.iter().map(|credential| tokio::spawn(harness.send_request(credential))).collect();
    for request in requests {
        assert_eq!(request.await.unwrap(), "allowed");
    }
    assert!(harness.now() <= 32_200, "{}", harness.now());
    assert!(max_polls_per_second(&log.lock().unwrap()) <= 11);
}

/// T107: a session that is unused while its poll is queued is parked without a poll.
#[tokio::test(start_paused = true)]
async fn session_unused_while_queued_is_parked() {
    let mut harness = Harness::with_builder(|builder| builder.max_polls_per_second(1));
    let credentials = insert_sessions(&harness, 500);
    let log = respond_and_log(&mut harness, |_, call| reply_ok(call));
    harness.advance_to(600_000).await;
    let polls = log.lock().unwrap().len();
    assert!((50..=60).contains(&polls), "{polls}");
    assert_eq!(harness.send_request(&credentials[499]).await, "allowed");
}

/// T043, T060: a response that is not from the service, as from a proxy, ends no session.
#[tokio::test(start_paused = true)]
async fn proxy_errors_end_no_session_in_an_hour() {
    for (status, body) in [(200, "<html>"), (502, ""), (404, "<html>"), (302, ""), (429, "")] {
        let mut harness = Harness::new();
        let credentials = insert_sessions(&harness, 2);
        let _live = watch_all(&harness, &credentials);
        respond_and_log(&mut harness, move |_, call| {
            call.answer(status, body);
        });
        harness.advance_to(3_600_000).await;
        for credential in &credentials {
            assert_eq!(harness.send_request(credential).await, "unavailable", "{status}");
        }
    }
}

/// A status applies only to its own session.
#[tokio::test(start_paused = true)]
async fn each_session_gets_its_own_status() {
    let mut harness = Harness::new();
    let credentials = insert_sessions(&harness, 3);
    respond_and_log(&mut harness, |_, call| {
        let status = if polled_session(&call) == Some(1) { Closed } else { Active };
        reply_status(call, status);
    });
    harness.advance_to(6_000).await;
    let mut results = Vec::new();
    for credential in &credentials {
        results.push(harness.send_request(credential).await);
    }
    assert_eq!(results, ["allowed", "ended", "allowed"]);
}
