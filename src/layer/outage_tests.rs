//! The service asks for a pause, is gone, is slow, comes back; and more sessions than may be asked
//! about at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::stage::{Stage, agree, say};
use crate::client::script::Heard;
use crate::engine::SessionWatch;
use crate::engine::unrest::stir;
use crate::identity::SessionCredential;
use crate::protocol::SessionStatus::{Active, Closed};
use crate::{Event, UserId};

/// The polls that were heard: when, and of which session.
type Log = Arc<Mutex<Vec<(u64, usize)>>>;

/// Which session a poll is of.
fn which(call: &Heard) -> Option<usize> {
    call.path.strip_prefix("/s/").map(|which| which.parse().unwrap())
}

/// Writes down the polls and has `answer` answer all.
fn logged(stage: &mut Stage, mut answer: impl FnMut(u64, Heard) + Send + 'static) -> Log {
    let log = Log::default();
    let writing = log.clone();
    stage.play(move |now, call| {
        writing.lock().unwrap().extend(which(&call).map(|which| (now, which)));
        answer(now, call);
    });
    log
}

/// So many sessions, active as of now.
fn sessions(stage: &Stage, count: usize) -> Vec<SessionCredential> {
    let put =
        |which: usize| stage.ac.engine().put_session(&UserId::from(format!("user{which}")), which);
    (0..count).map(put).collect()
}

fn live(stage: &Stage, credentials: &[SessionCredential]) -> Vec<SessionWatch> {
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

/// T058: a pause that the service asks for is everybody's; it ends no session, and lengthens none.
#[tokio::test(start_paused = true)]
async fn a_pause_is_kept_by_all_and_ends_nobody() {
    let mut stage = Stage::new();
    let credentials = sessions(&stage, 3);
    let _live = live(&stage, &credentials);
    let mut heard = Vec::new();
    for _ in &credentials {
        heard.push(stage.poll_at(5_000).await);
    }
    heard.sort_by_key(which);
    let mut heard = heard.into_iter();
    assert!(heard.next().unwrap().answer_later(429, Duration::from_secs(60)));
    // Those that were on their way count, and do not end the pause.
    say(heard.next().unwrap(), Active);
    assert!(heard.next().unwrap().answer_later(503, Duration::from_secs(10)));
    for (at, says) in [
        (14_999, ["allowed", "allowed", "allowed"]),
        (15_000, ["unavailable", "allowed", "unavailable"]),
        (19_999, ["unavailable", "allowed", "unavailable"]),
        (20_000, ["unavailable"; 3]),
        (61_000, ["unavailable"; 3]),
    ] {
        stage.at(at).await;
        let asked = credentials.iter().map(|credential| tokio::spawn(stage.ask(credential)));
        for (asked, says) in asked.collect::<Vec<_>>().into_iter().zip(says) {
            assert_eq!(asked.await.unwrap(), says, "at {at}");
        }
        assert_eq!(stage.now(), at, "nobody is kept waiting for what will not come");
    }
    assert!(stage.ac.health().breaker_open);
    // One finds out; then the others.
    let poll = stage.poll_at(65_000).await;
    stage.at(66_000).await;
    assert!(stage.is_quiet().await);
    say(poll, Active);
    stage.play(|_, call| agree(call));
    stage.at(67_000).await;
    for credential in &credentials {
        assert_eq!(stage.ask(credential).await, "allowed");
    }
    assert!(!stage.ac.health().breaker_open);
}

/// T060: five calls in a row that come to nothing, and the service is left alone but for one call
/// now and then.
#[tokio::test(start_paused = true)]
async fn a_service_that_is_gone_is_left_alone() {
    stir(11);
    let mut stage = Stage::new();
    let credentials = sessions(&stage, 50);
    let _live = live(&stage, &credentials);
    let mut events = stage.ac.events();
    let log = logged(&mut stage, |_, call| {
        call.reset();
    });
    stage.at(600_000).await;
    stir(0);
    let log = log.lock().unwrap().clone();
    // All are due at about the same moment, and on their way before the first has come back.
    let later: Vec<_> = log.iter().filter(|(at, _)| *at > 7_000).collect();
    assert!((296..900).contains(&later.len()), "{}", later.len());
    assert!(later.windows(2).all(|two| two[1].0 - two[0].0 <= 2_100));
    assert_eq!(events.next().await, Some(Event::PollFailing));
    assert_eq!(events.next().await, Some(Event::BreakerOpened));
    for credential in &credentials {
        assert_eq!(stage.session(credential).verdict(), crate::Verdict::Unavailable);
    }
}

/// T060, T061: an outage ends nobody, and nobody is sent to the login. When the service is back,
/// those who wait and those with streams come first, slowly; whom nobody used meanwhile, not at
/// all.
#[tokio::test(start_paused = true)]
async fn a_service_that_comes_back_is_not_run_over() {
    const STREAMS: usize = 30;
    const USED: usize = 90;
    for outage in [600_000, 3_600_000] {
        stir(5);
        let mut stage = Stage::set_up(|builder| builder.max_polls_per_second(100));
        let credentials = sessions(&stage, 300);
        let live = live(&stage, &credentials[..STREAMS]);
        let mut events = stage.ac.events();
        let log = logged(&mut stage, move |now, call| {
            if now < outage {
                call.reset();
            } else {
                agree(call);
            }
        });
        stage.at(14_900).await;
        assert_eq!(stage.ask(&credentials[0]).await, "allowed");
        for minute in 1..outage / 60_000 {
            stage.at(minute * 60_000).await;
            let asked = credentials[..USED].iter().map(|one| tokio::spawn(stage.ask(one)));
            for asked in asked.collect::<Vec<_>>() {
                assert_eq!(asked.await.unwrap(), "unavailable");
            }
        }
        // Some come in the last moment before, and go on coming.
        stage.at(outage - 10_000).await;
        for one in &credentials[..USED] {
            drop(tokio::spawn(stage.ask(one)));
        }
        stage.at(outage + 60_000).await;
        stir(0);
        for one in &credentials[..USED] {
            assert_eq!(stage.ask(one).await, "allowed");
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
        assert!((USED..300).all(|which| place(which).is_none()), "nobody uses these");
        let mut told = Vec::new();
        while told.last() != Some(&Event::BreakerClosed) {
            told.push(events.next().await.unwrap());
        }
        assert_eq!(told, [Event::PollFailing, Event::BreakerOpened, Event::BreakerClosed]);
        drop(live);
    }
}

/// T110: no more than 64 polls are on their way at once.
#[tokio::test(start_paused = true)]
async fn sixty_four_polls_are_on_their_way_at_most() {
    let mut stage = Stage::new();
    let credentials = sessions(&stage, 1_000);
    let flying = Arc::new(Mutex::new((0_u32, 0_u32)));
    let counted = flying.clone();
    stage.play(move |_, mut call| {
        let flying = counted.clone();
        {
            let mut flying = flying.lock().unwrap();
            flying.0 += 1;
            flying.1 = flying.1.max(flying.0);
        }
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(300)) => {}
                () = call.given_up() => {}
            }
            flying.lock().unwrap().0 -= 1;
            say(call, Active);
        });
    });
    stage.at(14_000).await;
    assert_eq!(flying.lock().unwrap().1, 64);
    let allowed = |one: &&SessionCredential| stage.session(one).verdict() == crate::Verdict::Allow;
    assert_eq!(credentials.iter().filter(allowed).count(), 1_000);
}

/// T108: a hundred thousand sessions are due at the same moment, many times what may be asked.
#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_at_once_stay_under_the_ceiling() {
    const STREAMS: usize = 5_000;
    const ALL: usize = 100_000;
    let mut stage = Stage::new();
    let credentials = sessions(&stage, ALL);
    // The last to be due are those with streams.
    let _live = live(&stage, &credentials[ALL - STREAMS..]);
    let log = logged(&mut stage, |_, call| agree(call));
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
            if one.verdict() == crate::Verdict::Allow {
                assert!(age < 15_000, "{which} is allowed after {age} ms");
            } else {
                assert!(age >= 15_000, "{which} is not allowed after {age} ms");
                assert!(which < ALL - STREAMS, "one with a stream had to wait");
            }
        }
        let entries = stage.ac.engine().upkeep.schedule.len();
        assert!(entries <= 3 * ALL, "{entries} in the schedule");
    }
    let log = log.lock().unwrap();
    assert!(most_in_a_second(&log) <= 2_200, "{}", most_in_a_second(&log));
    assert!(log.len() > 50_000, "{}: the ceiling is made use of", log.len());
    assert!(slowest > Duration::from_secs(25), "{slowest:?} is told");
    let first: Vec<_> = log.iter().take(STREAMS).map(|(_, which)| *which).collect();
    assert!(first.iter().all(|which| *which >= ALL - STREAMS), "those with streams come first");
}

/// Somebody who comes to a session that waits its turn among many does not wait for all of them.
#[tokio::test(start_paused = true)]
async fn whoever_waits_overtakes_those_whom_nobody_waits_for() {
    let mut stage = Stage::set_up(|builder| builder.max_polls_per_second(10));
    let credentials = sessions(&stage, 1_000);
    let log = logged(&mut stage, |_, call| agree(call));
    stage.at(30_000).await;
    let last = credentials.iter().rev().take(20).collect::<Vec<_>>();
    let asked: Vec<_> = last.iter().map(|one| tokio::spawn(stage.ask(one))).collect();
    for asked in asked {
        assert_eq!(asked.await.unwrap(), "allowed");
    }
    assert!(stage.now() <= 32_200, "{}", stage.now());
    assert!(most_in_a_second(&log.lock().unwrap()) <= 11);
}

/// T107: nobody is asked about whom nobody used while the poll waited its turn.
#[tokio::test(start_paused = true)]
async fn one_that_waited_for_a_minute_unused_is_parked() {
    let mut stage = Stage::set_up(|builder| builder.max_polls_per_second(1));
    let credentials = sessions(&stage, 500);
    let log = logged(&mut stage, |_, call| agree(call));
    stage.at(600_000).await;
    let polls = log.lock().unwrap().len();
    assert!((50..=60).contains(&polls), "{polls}");
    assert_eq!(stage.ask(&credentials[499]).await, "allowed");
}

/// T043, T060: a certificate, a page, an error: whatever is no word of the service ends nobody.
#[tokio::test(start_paused = true)]
async fn what_is_no_word_of_the_service_ends_nobody_in_an_hour() {
    for (status, body) in [(200, "<html>"), (502, ""), (404, "<html>"), (302, ""), (429, "")] {
        let mut stage = Stage::new();
        let credentials = sessions(&stage, 2);
        let _live = live(&stage, &credentials);
        logged(&mut stage, move |_, call| {
            call.answer(status, body);
        });
        stage.at(3_600_000).await;
        for one in &credentials {
            assert_eq!(stage.ask(one).await, "unavailable", "{status}");
        }
    }
}

/// A good word of one is none about another.
#[tokio::test(start_paused = true)]
async fn each_session_hears_its_own_end() {
    let mut stage = Stage::new();
    let credentials = sessions(&stage, 3);
    logged(&mut stage, |_, call| {
        let status = if which(&call) == Some(1) { Closed } else { Active };
        say(call, status);
    });
    stage.at(6_000).await;
    let mut said = Vec::new();
    for one in &credentials {
        said.push(stage.ask(one).await);
    }
    assert_eq!(said, ["allowed", "ended", "allowed"]);
}
