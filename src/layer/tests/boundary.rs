//! Both sides of every bound: just before, at, just after.

use std::time::Duration;

use super::harness::{Harness, StoreBehavior, app_login, reply_not_found, reply_ok, reply_status};
use crate::UserId;
use crate::login::LoginError;
use crate::polling::yield_injection::seed_yields;
use crate::protocol::SessionStatus::{Active, Closed, Walkaway};
use crate::verdict::Denial;

const SECOND: Duration = Duration::from_secs(1);

/// Invariant 2: what is known counts for 15 s from the sending of the last good poll.
#[tokio::test(start_paused = true)]
async fn status_allows_for_15_s_after_send() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let poll = stage.poll_at(5_000).await;
    stage.at(7_000).await;
    reply_status(poll, Active);
    stage.respond_with(|_, call| {
        call.reset();
    });
    stage.at(19_999).await;
    assert_eq!(stage.send_request(&alice).await, "allowed");
    stage.at(20_000).await;
    assert_eq!(stage.send_request(&alice).await, "unavailable");
    stage.at(20_001).await;
    assert_eq!(stage.send_request(&alice).await, "unavailable");
}

/// T111, T112: the same by the wall clock, whatever the monotonic one says.
#[tokio::test(start_paused = true)]
async fn status_allows_for_15_s_of_wall_clock() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    stage.poll_at(5_000).await.reset();
    stage.clock.shift_wall_clock(9_999);
    assert_eq!(stage.send_request(&alice).await, "allowed");
    stage.clock.shift_wall_clock(1);
    assert_eq!(stage.send_request(&alice).await, "unavailable");
    stage.clock.shift_wall_clock(-1);
    assert_eq!(stage.send_request(&alice).await, "allowed", "the clock was set right again");
}

/// T111: a clock that is set back makes nothing younger than the other clock says.
#[tokio::test(start_paused = true)]
async fn clock_that_is_set_back_lengthens_nothing() {
    let mut stage = Harness::with_builder(|builder| builder.session_duration(40 * SECOND));
    let alice = stage.log_in("alice").await;
    stage.clock.shift_wall_clock(-3_600_000);
    reply_status(stage.poll_at(5_000).await, Active);
    stage.clock.shift_wall_clock(-3_600_000);
    stage.poll_at(10_000).await.reset();
    stage.respond_with(|now, call| {
        if now < 20_000 {
            call.reset();
        } else {
            reply_ok(call);
        }
    });
    stage.at(19_999).await;
    assert_eq!(stage.send_request(&alice).await, "allowed");
    stage.at(20_000).await;
    assert_eq!(stage.send_request(&alice).await, "unavailable");
    stage.at(39_999).await;
    assert_eq!(stage.send_request(&alice).await, "allowed");
    stage.at(40_000).await;
    assert_eq!(stage.send_request(&alice).await, "ended");
}

/// T046: a poll may take 3 s.
#[tokio::test(start_paused = true)]
async fn poll_counts_until_its_three_seconds_are_over() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let poll = stage.poll_at(5_000).await;
    stage.at(7_999).await;
    assert!(reply_status(poll, Active));
    let poll = stage.poll_at(10_000).await;
    stage.at(13_001).await;
    assert!(!reply_status(poll, Closed), "the caller has gone");
    assert_eq!(stage.send_request(&alice).await, "allowed");
    stage.respond_with(|_, call| {
        call.reset();
    });
    stage.at(19_999).await;
    assert_eq!(stage.send_request(&alice).await, "allowed");
    stage.at(20_000).await;
    assert_eq!(stage.send_request(&alice).await, "unavailable");
}

#[tokio::test(start_paused = true)]
async fn polls_are_four_to_five_seconds_apart() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let _guard = stage.session(&alice).watch();
    reply_status(stage.poll_at(5_000).await, Active);
    seed_yields(7);
    let mut pauses = Vec::new();
    let mut before = 5_000;
    for _ in 0..200 {
        reply_status(stage.call("/s/").await, Active);
        pauses.push(stage.now() - before);
        before = stage.now();
    }
    seed_yields(0);
    // The first was planned before.
    let (least, most) = (pauses[1..].iter().min().unwrap(), pauses[1..].iter().max().unwrap());
    assert!((4_000..4_100).contains(least) && (4_900..=5_000).contains(most), "{least} {most}");
}

#[tokio::test(start_paused = true)]
async fn login_that_waits_is_polled_each_second() {
    let mut stage = Harness::new();
    let login = stage.spawn_login("alice");
    stage.start().await;
    for second in 0..10 {
        reply_status(stage.poll_at(second * 1_000).await, crate::protocol::SessionStatus::Pending);
    }
    reply_status(stage.poll_at(10_000).await, Active);
    login.await.unwrap().unwrap();
    stage.poll_at(15_000).await;
}

/// T107: a session is parked when it was not used for a minute, and not before.
#[tokio::test(start_paused = true)]
async fn session_is_parked_after_a_minute() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    for second in 1..12 {
        reply_status(stage.poll_at(second * 5_000).await, Active);
    }
    stage.at(59_999).await;
    assert_eq!(stage.send_request(&alice).await, "allowed");
    for second in 12..24 {
        reply_status(stage.poll_at(second * 5_000).await, Active);
    }
    stage.at(600_000).await;
    assert!(stage.is_quiet().await, "polled though it is not used");
}

#[tokio::test(start_paused = true)]
async fn live_session_is_never_parked() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let watch = stage.session(&alice).watch();
    for second in 1..200 {
        reply_status(stage.poll_at(second * 5_000).await, Active);
    }
    drop(watch);
    for second in 200..211 {
        reply_status(stage.poll_at(second * 5_000).await, Active);
    }
    assert!(stage.is_quiet().await);
    stage.at(3_600_000).await;
    assert!(stage.is_quiet().await, "polled though it is not used");
}

/// A stage with a session that is parked, an hour later.
async fn parked() -> (Harness, crate::identity::SessionCredential) {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    for second in 1..12 {
        reply_status(stage.poll_at(second * 5_000).await, Active);
    }
    stage.at(3_600_000).await;
    assert!(stage.is_quiet().await);
    stage.at(3_601_000).await;
    (stage, alice)
}

/// T075: those who come to a parked session share one poll, as long as it may take.
#[tokio::test(start_paused = true)]
async fn parked_session_waits_for_one_poll() {
    let (mut stage, alice) = parked().await;
    let waiting: Vec<_> = (0..1_000).map(|_| tokio::spawn(stage.send_request(&alice))).collect();
    let poll = stage.poll_at(3_601_000).await;
    stage.at(3_603_999).await;
    assert!(waiting.iter().all(|request| !request.is_finished()));
    assert!(reply_status(poll, Active));
    for request in waiting {
        assert_eq!(request.await.unwrap(), "allowed");
    }
    assert_eq!(stage.now(), 3_603_999);
    reply_status(stage.poll_at(3_606_000).await, Active);
}

/// No request waits longer than the shared poll, which takes 3 s.
#[tokio::test(start_paused = true)]
async fn parked_session_of_a_silent_service_is_unavailable() {
    let (mut stage, alice) = parked().await;
    let request = tokio::spawn(stage.send_request(&alice));
    let poll = stage.poll_at(3_601_000).await;
    assert_eq!(request.await.unwrap(), "unavailable");
    assert_eq!(stage.now(), 3_604_000);
    assert!(!reply_status(poll, Active));
    // It is asked again at once, as one that is in use.
    assert_eq!(stage.send_request(&alice).await, "unavailable");
    let poll = stage.call("/management/").await;
    reply_ok(poll);
    reply_status(stage.poll_at(3_604_000).await, Active);
    assert!(stage.is_quiet().await);
    assert_eq!(stage.send_request(&alice).await, "allowed");
}

/// T085: nor does it wait longer than 3.5 s for the lookup table.
#[tokio::test(start_paused = true)]
async fn parked_session_waits_at_most_3_5_seconds() {
    let (mut stage, alice) = parked().await;
    stage.token_store.set_behavior(StoreBehavior::Hangs);
    let asked = stage.token_store.lookups();
    let request = tokio::spawn(stage.send_request(&alice));
    reply_status(stage.poll_at(3_601_000).await, Active);
    assert_eq!(request.await.unwrap(), "unavailable");
    assert_eq!(stage.now(), 3_604_500);
    assert_eq!(stage.token_store.lookups(), asked + 2, "at once, and again after 3 s");
    assert!(stage.is_quiet().await, "the service need not be asked twice");
    // A request that comes while the table is back waits only for the next look into it.
    stage.token_store.set_behavior(StoreBehavior::Names);
    stage.respond_with(|_, call| reply_ok(call));
    assert_eq!(stage.send_request(&alice).await, "allowed");
    assert_eq!(stage.now(), 3_607_000);
}

/// T136: the lookup table is asked once a minute.
#[tokio::test(start_paused = true)]
async fn lookup_table_is_asked_once_a_minute() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let watch = stage.session(&alice).watch();
    stage.respond_with(|_, call| reply_ok(call));
    for minute in 0..10 {
        assert_eq!(stage.token_store.lookups(), 1 + minute, "by the login, and each minute");
        stage.at(minute as u64 * 60_000 + 59_999).await;
        assert_eq!(stage.token_store.lookups(), 1 + minute);
        stage.at((minute as u64 + 1) * 60_000 + 1).await;
    }
    stage.token_store.set_behavior(StoreBehavior::Changes);
    stage.at(659_999).await;
    assert_eq!(stage.send_request(&alice).await, "allowed");
    stage.at(660_001).await;
    assert_eq!(stage.send_request(&alice).await, "ended");
    drop(watch);
}

/// T114: a session lives for less than its lifetime, not one moment more.
#[tokio::test(start_paused = true)]
async fn lifetime_is_half_open() {
    for by_wall in [false, true] {
        let mut stage = Harness::with_builder(|builder| builder.session_duration(20 * SECOND));
        let alice = stage.log_in("alice").await;
        stage.respond_with(|_, call| reply_ok(call));
        if by_wall {
            stage.at(10_000).await;
            stage.clock.shift_wall_clock(9_999);
            sleep_a_moment().await;
            stage.clock.shift_wall_clock(-1);
        } else {
            stage.at(19_999).await;
        }
        assert_eq!(stage.send_request(&alice).await, "allowed");
        if by_wall {
            stage.clock.shift_wall_clock(1);
        } else {
            stage.at(20_000).await;
        }
        assert_eq!(stage.send_request(&alice).await, "ended");
    }
}

/// One millisecond.
async fn sleep_a_moment() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn approval_counts_until_the_deadline() {
    let mut stage = Harness::new();
    for approved_at in [59_999, 60_000] {
        let begun = stage.now();
        let login = stage.spawn_login("alice");
        stage.start().await;
        for second in 0..59 {
            reply_status(
                stage.poll_at(begun + second * 1_000).await,
                crate::protocol::SessionStatus::Pending,
            );
        }
        let poll = stage.poll_at(begun + 59_000).await;
        stage.at(begun + approved_at).await;
        reply_status(poll, Active);
        let outcome = login.await.unwrap();
        if approved_at < 60_000 {
            let alice = outcome.unwrap();
            assert_eq!(stage.send_request(&alice).await, "allowed");
            stage.session(&alice).end(crate::events::EndReason::LoggedOut);
            stage.at(begun + 70_000).await;
        } else {
            assert!(matches!(outcome.unwrap_err(), LoginError::TimedOut));
            reply_ok(stage.call("/l/").await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn result_can_be_claimed_for_a_minute() {
    for claimed_at in [59_999, 60_000, 60_001] {
        let mut stage = Harness::new();
        let engine = stage.ac.engine().clone();
        let user = UserId::from("alice");
        let named = engine.begin_attempt(app_login(user.clone())).unwrap();
        stage.start().await;
        reply_status(stage.call("/s/").await, Active);
        let logouts = std::sync::Arc::new(std::sync::Mutex::new(0));
        let counted = logouts.clone();
        stage.respond_with(move |_, call| {
            *counted.lock().unwrap() += usize::from(call.path.starts_with("/l/"));
            reply_ok(call);
        });
        stage.at(claimed_at).await;
        sleep_nothing().await;
        let is_claimed = engine.claim(&named, Some(&user)).is_some();
        assert_eq!(is_claimed, claimed_at < 60_000, "{claimed_at}");
        stage.at(claimed_at + 1_000).await;
        assert_eq!(*logouts.lock().unwrap(), usize::from(!is_claimed));
    }
}

/// Lets all that is ready run.
async fn sleep_nothing() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn held_stream_is_terminated_after_30_s() {
    for back_at in [44_600, 45_100] {
        let mut stage = Harness::new();
        let alice = stage.log_in("alice").await;
        let stream = stage.stream(&alice).await;
        stage.respond_with(move |now, call| {
            if now < back_at {
                call.reset();
            } else {
                reply_ok(call);
            }
        });
        stage.at(44_999).await;
        if back_at < 45_000 {
            assert!(!stream.end.is_finished());
            stage.at(46_000).await;
            assert!(!stream.end.is_finished());
            assert!(stream.last() > 45_500);
        } else {
            assert_eq!(stream.last(), 14_750);
            assert!(!stream.end.is_finished());
            assert_eq!(stream.end.await.unwrap(), (45_000, Denial::Unavailable));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn handler_has_five_seconds_of_grace() {
    for (takes, answered) in [(9_999, 9_999), (20_000, 10_000)] {
        let mut stage = Harness::new();
        let alice = stage.log_in("alice").await;
        let request = tokio::spawn(stage.request(&format!("/{takes}"), &alice));
        reply_status(stage.poll_at(5_000).await, Closed);
        let response = request.await.unwrap();
        assert_eq!(super::harness::denial_name(response).await, "ended");
        assert_eq!(stage.now(), answered);
        assert_eq!(stage.session(&alice).held_open(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn end_is_told_for_five_minutes() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    reply_status(stage.poll_at(5_000).await, Closed);
    stage.at(5_001).await;
    assert_eq!(stage.send_request(&alice).await, "ended");
    stage.at(304_999).await;
    assert_eq!(stage.send_request(&alice).await, "ended");
    // It is swept out within another minute.
    stage.at(365_001).await;
    assert_eq!(stage.send_request(&alice).await, "no-session");
    assert_eq!(stage.ac.health().sessions, 0);
}

/// T054: a phone that is back for less than 3 s is not back.
#[tokio::test(start_paused = true)]
async fn phone_is_back_three_seconds_after_it_was_away() {
    for (pause, says) in [(2_999, "suspended"), (3_000, "allowed"), (3_001, "allowed")] {
        let interval = Duration::from_millis(pause);
        let mut stage = Harness::with_builder(|builder| builder.poll_interval(interval));
        let alice = stage.log_in("alice").await;
        reply_status(stage.poll_at(pause).await, Walkaway);
        sleep_a_moment().await;
        assert_eq!(stage.send_request(&alice).await, "suspended");
        reply_status(stage.poll_at(2 * pause).await, Active);
        sleep_a_moment().await;
        assert_eq!(stage.send_request(&alice).await, says, "{pause}");
        // Again and again: each time away counts anew.
        reply_status(stage.poll_at(3 * pause).await, Walkaway);
        reply_status(stage.poll_at(4 * pause).await, Active);
        sleep_a_moment().await;
        assert_eq!(stage.send_request(&alice).await, says, "{pause}");
        reply_status(stage.poll_at(5 * pause).await, Active);
        sleep_a_moment().await;
        assert_eq!(stage.send_request(&alice).await, "allowed");
    }
}

/// T050, T051: five minutes of nonsense are the end, not a moment less.
#[tokio::test(start_paused = true)]
async fn inconsistent_session_is_lost_after_five_minutes() {
    for odd in [r#"{"session_status":"dancing"}"#, r#"{"session_status":"pending"}"#] {
        let mut stage = Harness::new();
        let alice = stage.log_in("alice").await;
        let stream = stage.session(&alice).watch();
        for second in 1..61 {
            stage.poll_at(second * 5_000).await.answer(200, odd);
            sleep_a_moment().await;
            assert_eq!(stage.send_request(&alice).await, "unavailable");
        }
        stage.at(304_999).await;
        assert_eq!(stage.send_request(&alice).await, "unavailable");
        stage.poll_at(305_000).await.answer(200, odd);
        reply_ok(stage.call("/l/").await);
        assert_eq!(stage.send_request(&alice).await, "ended");
        drop(stream);
    }
}

/// T060: so are five minutes of silence, while the service answers others.
#[tokio::test(start_paused = true)]
async fn silent_session_is_lost_after_five_minutes() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let bob = stage.log_in("bob").await;
    let _live = [&alice, &bob].map(|credential| stage.session(credential).watch());
    stage.respond_with(|_, call| {
        if call.path == "/s/0" {
            call.answer(502, "<html>");
        } else {
            reply_ok(call);
        }
    });
    stage.at(304_900).await;
    assert_eq!(stage.send_request(&alice).await, "unavailable");
    stage.at(311_000).await;
    assert_eq!(stage.send_request(&alice).await, "ended");
    assert_eq!(stage.send_request(&bob).await, "allowed");
}

/// The same if there is no other session: the service is then asked whether it answers at all.
#[tokio::test(start_paused = true)]
async fn lone_session_of_which_nothing_is_heard_is_lost_too() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let _live = stage.session(&alice).watch();
    // So that the breaker's pauses are what they are.
    seed_yields(3);
    stage.respond_with(|_, call| {
        if call.path == "/s/0" {
            call.answer(502, "<html>");
        } else {
            reply_ok(call);
        }
    });
    stage.at(304_900).await;
    assert_eq!(stage.send_request(&alice).await, "unavailable");
    stage.at(400_000).await;
    assert_eq!(stage.send_request(&alice).await, "ended");
    seed_yields(0);
}

/// T056, T057: twice, one interval apart, while others are answered.
#[tokio::test(start_paused = true)]
async fn session_that_is_refused_twice_is_over() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let bob = stage.log_in("bob").await;
    stage.respond_with(|_, call| {
        if call.path == "/s/0" {
            reply_not_found(call);
        } else {
            reply_ok(call);
        }
    });
    stage.at(5_001).await;
    assert_eq!(stage.send_request(&alice).await, "allowed", "once is a mistake of the moment");
    stage.at(9_999).await;
    assert_eq!(stage.send_request(&alice).await, "allowed");
    stage.at(10_001).await;
    assert_eq!(stage.send_request(&alice).await, "ended");
    assert_eq!(stage.send_request(&bob).await, "allowed");
}
