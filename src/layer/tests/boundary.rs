//! Boundary tests: each time limit just before, at and just after it.

use crate::UserId;
use crate::login::LoginError;
use std::time::Duration;

use super::harness::{
    Harness, StoreBehavior, app_login, reply_not_found, reply_ok, reply_status, run_ready_tasks,
};
use crate::polling::yield_injection::seed_yields;
use crate::protocol::SessionStatus::{Active, Closed, Walkaway};
use crate::verdict::Denial;

const SECOND: Duration = Duration::from_secs(1);

/// Invariant 2: a status is valid for 15 s after its poll was sent.
#[tokio::test(start_paused = true)]
async fn status_allows_for_15_s_after_send() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let poll = harness.next_poll_at(5_000).await;
    harness.advance_to(7_000).await;
    reply_status(poll, Active);
    harness.respond_with(|_, call| {
        call.reset();
    });
    harness.advance_to(19_999).await;
    assert_eq!(harness.send_request(&alice).await, "allowed");
    harness.advance_to(20_000).await;
    assert_eq!(harness.send_request(&alice).await, "unavailable");
    harness.advance_to(20_001).await;
    assert_eq!(harness.send_request(&alice).await, "unavailable");
}

/// T111, T112: the same on the wall clock, independent of the monotonic clock.
#[tokio::test(start_paused = true)]
async fn status_allows_for_15_s_of_wall_clock() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    harness.next_poll_at(5_000).await.reset();
    harness.clock.shift_wall_clock(9_999);
    assert_eq!(harness.send_request(&alice).await, "allowed");
    harness.clock.shift_wall_clock(1);
    assert_eq!(harness.send_request(&alice).await, "unavailable");
    harness.clock.shift_wall_clock(-1);
    assert_eq!(harness.send_request(&alice).await, "allowed", "the clock was corrected");
}

/// T111: setting the wall clock back extends neither the staleness limit nor the lifetime.
#[tokio::test(start_paused = true)]
async fn clock_set_back_extends_no_limit() {
    let mut harness = Harness::with_builder(|builder| builder.session_duration(40 * SECOND));
    let alice = harness.log_in("alice").await;
    harness.clock.shift_wall_clock(-3_600_000);
    reply_status(harness.next_poll_at(5_000).await, Active);
    harness.clock.shift_wall_clock(-3_600_000);
    harness.next_poll_at(10_000).await.reset();
    harness.respond_with(|now, call| {
        if now < 20_000 {
            call.reset();
        } else {
            reply_ok(call);
        }
    });
    harness.advance_to(19_999).await;
    assert_eq!(harness.send_request(&alice).await, "allowed");
    harness.advance_to(20_000).await;
    assert_eq!(harness.send_request(&alice).await, "unavailable");
    harness.advance_to(39_999).await;
    assert_eq!(harness.send_request(&alice).await, "allowed");
    harness.advance_to(40_000).await;
    assert_eq!(harness.send_request(&alice).await, "ended");
}

/// T046: a poll times out after 3 s.
#[tokio::test(start_paused = true)]
async fn poll_response_counts_within_3_s() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let poll = harness.next_poll_at(5_000).await;
    harness.advance_to(7_999).await;
    assert!(reply_status(poll, Active));
    let poll = harness.next_poll_at(10_000).await;
    harness.advance_to(13_001).await;
    assert!(!reply_status(poll, Closed), "the poll timed out");
    assert_eq!(harness.send_request(&alice).await, "allowed");
    harness.respond_with(|_, call| {
        call.reset();
    });
    harness.advance_to(19_999).await;
    assert_eq!(harness.send_request(&alice).await, "allowed");
    harness.advance_to(20_000).await;
    assert_eq!(harness.send_request(&alice).await, "unavailable");
}

#[tokio::test(start_paused = true)]
async fn polls_are_four_to_five_seconds_apart() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let _guard = harness.session(&alice).watch();
    reply_status(harness.next_poll_at(5_000).await, Active);
    seed_yields(7);
    let mut pauses = Vec::new();
    let mut last_poll = 5_000;
    for _ in 0..200 {
        reply_status(harness.next_call("/s/").await, Active);
        pauses.push(harness.now() - last_poll);
        last_poll = harness.now();
    }
    seed_yields(0);
    // The first pause was scheduled before the seed was set.
    let (min, max) = (pauses[1..].iter().min().unwrap(), pauses[1..].iter().max().unwrap());
    assert!((4_000..4_100).contains(min) && (4_900..=5_000).contains(max), "{min} {max}");
}

#[tokio::test(start_paused = true)]
async fn pending_login_is_polled_every_second() {
    let mut harness = Harness::new();
    let login = harness.spawn_login("alice");
    harness.reply_next_start().await;
    for second in 0..10 {
        reply_status(
            harness.next_poll_at(second * 1_000).await,
            crate::protocol::SessionStatus::Pending,
        );
    }
    reply_status(harness.next_poll_at(10_000).await, Active);
    login.await.unwrap().unwrap();
    harness.next_poll_at(15_000).await;
}

/// T107: a session is parked after a minute without use, not earlier.
#[tokio::test(start_paused = true)]
async fn session_is_parked_after_a_minute() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    for second in 1..12 {
        reply_status(harness.next_poll_at(second * 5_000).await, Active);
    }
    harness.advance_to(59_999).await;
    assert_eq!(harness.send_request(&alice).await, "allowed");
    for second in 12..24 {
        reply_status(harness.next_poll_at(second * 5_000).await, Active);
    }
    harness.advance_to(600_000).await;
    assert!(harness.has_no_calls().await, "an unused session was polled");
}

#[tokio::test(start_paused = true)]
async fn live_session_is_never_parked() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let watch = harness.session(&alice).watch();
    for second in 1..200 {
        reply_status(harness.next_poll_at(second * 5_000).await, Active);
    }
    drop(watch);
    for second in 200..211 {
        reply_status(harness.next_poll_at(second * 5_000).await, Active);
    }
    assert!(harness.has_no_calls().await);
    harness.advance_to(3_600_000).await;
    assert!(harness.has_no_calls().await, "an unused session was polled");
}

/// A harness at 1 h with a parked session.
async fn harness_with_parked_session() -> (Harness, crate::identity::SessionCredential) {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    for second in 1..12 {
        reply_status(harness.next_poll_at(second * 5_000).await, Active);
    }
    harness.advance_to(3_600_000).await;
    assert!(harness.has_no_calls().await);
    harness.advance_to(3_601_000).await;
    (harness, alice)
}

/// T075: concurrent requests for a parked session share one poll.
#[tokio::test(start_paused = true)]
async fn parked_session_waits_for_one_poll() {
    let (mut harness, alice) = harness_with_parked_session().await;
    let requests: Vec<_> = (0..1_000).map(|_| tokio::spawn(harness.send_request(&alice))).collect();
    let poll = harness.next_poll_at(3_601_000).await;
    harness.advance_to(3_603_999).await;
    assert!(requests.iter().all(|request| !request.is_finished()));
    assert!(reply_status(poll, Active));
    for request in requests {
        assert_eq!(request.await.unwrap(), "allowed");
    }
    assert_eq!(harness.now(), 3_603_999);
    reply_status(harness.next_poll_at(3_606_000).await, Active);
}

/// No request waits longer than the shared poll, which times out after 3 s.
#[tokio::test(start_paused = true)]
async fn parked_session_is_unavailable_without_response() {
    let (mut harness, alice) = harness_with_parked_session().await;
    let request = tokio::spawn(harness.send_request(&alice));
    let poll = harness.next_poll_at(3_601_000).await;
    assert_eq!(request.await.unwrap(), "unavailable");
    assert_eq!(harness.now(), 3_604_000);
    assert!(!reply_status(poll, Active));
    // The session is polled again at once, as a session in use.
    assert_eq!(harness.send_request(&alice).await, "unavailable");
    let poll = harness.next_call("/management/").await;
    reply_ok(poll);
    reply_status(harness.next_poll_at(3_604_000).await, Active);
    assert!(harness.has_no_calls().await);
    assert_eq!(harness.send_request(&alice).await, "allowed");
}

/// T085: no request waits longer than 3.5 s for the token store.
#[tokio::test(start_paused = true)]
async fn parked_session_waits_at_most_3_5_seconds() {
    let (mut harness, alice) = harness_with_parked_session().await;
    harness.token_store.set_behavior(StoreBehavior::Hangs);
    let lookups = harness.token_store.lookups();
    let request = tokio::spawn(harness.send_request(&alice));
    reply_status(harness.next_poll_at(3_601_000).await, Active);
    assert_eq!(request.await.unwrap(), "unavailable");
    assert_eq!(harness.now(), 3_604_500);
    assert_eq!(harness.token_store.lookups(), lookups + 2, "at once, and again after 3 s");
    assert!(harness.has_no_calls().await, "one poll is enough");
    // Once the store works again, a request waits only for the next lookup.
    harness.token_store.set_behavior(StoreBehavior::ReturnsToken);
    harness.respond_with(|_, call| reply_ok(call));
    assert_eq!(harness.send_request(&alice).await, "allowed");
    assert_eq!(harness.now(), 3_607_000);
}

/// T136: the poller checks a session's token once a minute.
#[tokio::test(start_paused = true)]
async fn token_is_checked_once_a_minute() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let watch = harness.session(&alice).watch();
    harness.respond_with(|_, call| reply_ok(call));
    for minute in 0..10 {
        assert_eq!(harness.token_store.lookups(), 1 + minute, "one of the login, and one a minute");
        harness.advance_to(minute as u64 * 60_000 + 59_999).await;
        assert_eq!(harness.token_store.lookups(), 1 + minute);
        harness.advance_to((minute as u64 + 1) * 60_000 + 1).await;
    }
    harness.token_store.set_behavior(StoreBehavior::ReturnsOtherToken);
    harness.advance_to(659_999).await;
    assert_eq!(harness.send_request(&alice).await, "allowed");
    harness.advance_to(660_001).await;
    assert_eq!(harness.send_request(&alice).await, "ended");
    drop(watch);
}

/// T114: a session ends exactly when its age reaches the lifetime.
#[tokio::test(start_paused = true)]
async fn lifetime_is_half_open() {
    for by_wall in [false, true] {
        let mut harness = Harness::with_builder(|builder| builder.session_duration(20 * SECOND));
        let alice = harness.log_in("alice").await;
        harness.respond_with(|_, call| reply_ok(call));
        if by_wall {
            harness.advance_to(10_000).await;
            harness.clock.shift_wall_clock(9_999);
            sleep_1_ms().await;
            harness.clock.shift_wall_clock(-1);
        } else {
            harness.advance_to(19_999).await;
        }
        assert_eq!(harness.send_request(&alice).await, "allowed");
        if by_wall {
            harness.clock.shift_wall_clock(1);
        } else {
            harness.advance_to(20_000).await;
        }
        assert_eq!(harness.send_request(&alice).await, "ended");
    }
}

async fn sleep_1_ms() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn approval_counts_until_the_deadline() {
    let mut harness = Harness::new();
    for approved_at in [59_999, 60_000] {
        let started_at = harness.now();
        let login = harness.spawn_login("alice");
        harness.reply_next_start().await;
        for second in 0..59 {
            reply_status(
                harness.next_poll_at(started_at + second * 1_000).await,
                crate::protocol::SessionStatus::Pending,
            );
        }
        let poll = harness.next_poll_at(started_at + 59_000).await;
        harness.advance_to(started_at + approved_at).await;
        reply_status(poll, Active);
        let result = login.await.unwrap();
        if approved_at < 60_000 {
            let alice = result.unwrap();
            assert_eq!(harness.send_request(&alice).await, "allowed");
            harness.session(&alice).end(crate::events::EndReason::LoggedOut);
            harness.advance_to(started_at + 70_000).await;
        } else {
            assert!(matches!(result.unwrap_err(), LoginError::TimedOut));
            reply_ok(harness.next_call("/l/").await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn result_can_be_claimed_for_a_minute() {
    for claimed_at in [59_999, 60_000, 60_001] {
        let mut harness = Harness::new();
        let engine = harness.ac.engine().clone();
        let user = UserId::from("alice");
        let attempt = engine.begin_attempt(app_login(user.clone())).unwrap();
        harness.reply_next_start().await;
        reply_status(harness.next_call("/s/").await, Active);
        let logouts = std::sync::Arc::new(std::sync::Mutex::new(0));
        let logout_count = logouts.clone();
        harness.respond_with(move |_, call| {
            *logout_count.lock().unwrap() += usize::from(call.path.starts_with("/l/"));
            reply_ok(call);
        });
        harness.advance_to(claimed_at).await;
        run_ready_tasks().await;
        let is_claimed = engine.claim(&attempt, Some(&user)).is_some();
        assert_eq!(is_claimed, claimed_at < 60_000, "{claimed_at}");
        harness.advance_to(claimed_at + 1_000).await;
        assert_eq!(*logouts.lock().unwrap(), usize::from(!is_claimed));
    }
}

#[tokio::test(start_paused = true)]
async fn held_stream_is_terminated_after_30_s() {
    for back_at in [44_600, 45_100] {
        let mut harness = Harness::new();
        let alice = harness.log_in("alice").await;
        let stream = harness.stream(&alice).await;
        harness.respond_with(move |now, call| {
            if now < back_at {
                call.reset();
            } else {
                reply_ok(call);
            }
        });
        harness.advance_to(44_999).await;
        if back_at < 45_000 {
            assert!(!stream.end.is_finished());
            harness.advance_to(46_000).await;
            assert!(!stream.end.is_finished());
            assert!(stream.last_frame_at() > 45_500);
        } else {
            assert_eq!(stream.last_frame_at(), 14_750);
            assert!(!stream.end.is_finished());
            assert_eq!(stream.end.await.unwrap(), (45_000, Denial::Unavailable));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn handler_has_five_seconds_of_grace() {
    for (delay_ms, responded_at) in [(9_999, 9_999), (20_000, 10_000)] {
        let mut harness = Harness::new();
        let alice = harness.log_in("alice").await;
        let request = tokio::spawn(harness.request(&format!("/{delay_ms}"), &alice));
        reply_status(harness.next_poll_at(5_000).await, Closed);
        let response = request.await.unwrap();
        assert_eq!(super::harness::denial_name(response).await, "ended");
        assert_eq!(harness.now(), responded_at);
        assert_eq!(harness.session(&alice).held_open(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn ended_session_is_reported_for_5_minutes() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    reply_status(harness.next_poll_at(5_000).await, Closed);
    harness.advance_to(5_001).await;
    assert_eq!(harness.send_request(&alice).await, "ended");
    harness.advance_to(304_999).await;
    assert_eq!(harness.send_request(&alice).await, "ended");
    // The sweep removes the session within another minute.
    harness.advance_to(365_001).await;
    assert_eq!(harness.send_request(&alice).await, "no-session");
    assert_eq!(harness.ac.health().sessions, 0);
}

/// T054: a session stays suspended until 3 s after its last walkaway.
#[tokio::test(start_paused = true)]
async fn suspension_lasts_3_s_after_last_walkaway() {
    for (pause, expected) in [(2_999, "suspended"), (3_000, "allowed"), (3_001, "allowed")] {
        let interval = Duration::from_millis(pause);
        let mut harness = Harness::with_builder(|builder| builder.poll_interval(interval));
        let alice = harness.log_in("alice").await;
        reply_status(harness.next_poll_at(pause).await, Walkaway);
        sleep_1_ms().await;
        assert_eq!(harness.send_request(&alice).await, "suspended");
        reply_status(harness.next_poll_at(2 * pause).await, Active);
        sleep_1_ms().await;
        assert_eq!(harness.send_request(&alice).await, expected, "{pause}");
        // Each further walkaway starts the 3 s again.
        reply_status(harness.next_poll_at(3 * pause).await, Walkaway);
        reply_status(harness.next_poll_at(4 * pause).await, Active);
        sleep_1_ms().await;
        assert_eq!(harness.send_request(&alice).await, expected, "{pause}");
        reply_status(harness.next_poll_at(5 * pause).await, Active);
        sleep_1_ms().await;
        assert_eq!(harness.send_request(&alice).await, "allowed");
    }
}

/// T050, T051: a session ends after exactly five minutes of inconsistent statuses.
#[tokio::test(start_paused = true)]
async fn inconsistent_session_is_lost_after_five_minutes() {
    for body in [r#"{"session_status":"dancing"}"#, r#"{"session_status":"pending"}"#] {
        let mut harness = Harness::new();
        let alice = harness.log_in("alice").await;
        let stream = harness.session(&alice).watch();
        for second in 1..61 {
            harness.next_poll_at(second * 5_000).await.answer(200, body);
            sleep_1_ms().await;
            assert_eq!(harness.send_request(&alice).await, "unavailable");
        }
        harness.advance_to(304_999).await;
        assert_eq!(harness.send_request(&alice).await, "unavailable");
        harness.next_poll_at(305_000).await.answer(200, body);
        reply_ok(harness.next_call("/l/").await);
        assert_eq!(harness.send_request(&alice).await, "ended");
        drop(stream);
    }
}

/// T060: a session ends after five minutes without a response, if other sessions get responses.
#[tokio::test(start_paused = true)]
async fn silent_session_is_lost_after_five_minutes() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let bob = harness.log_in("bob").await;
    let _live = [&alice, &bob].map(|credential| harness.session(credential).watch());
    harness.respond_with(|_, call| {
        if call.path == "/s/0" {
            call.answer(502, "<html>");
        } else {
            reply_ok(call);
        }
    });
    harness.advance_to(304_900).await;
    assert_eq!(harness.send_request(&alice).await, "unavailable");
    harness.advance_to(311_000).await;
    assert_eq!(harness.send_request(&alice).await, "ended");
    assert_eq!(harness.send_request(&bob).await, "allowed");
}

/// The same without other sessions: the poller then probes the service with another call.
#[tokio::test(start_paused = true)]
async fn only_session_without_responses_is_lost() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let _live = harness.session(&alice).watch();
    // Makes the breaker's pauses deterministic.
    seed_yields(3);
    harness.respond_with(|_, call| {
        if call.path == "/s/0" {
            call.answer(502, "<html>");
        } else {
            reply_ok(call);
        }
    });
    harness.advance_to(304_900).await;
    assert_eq!(harness.send_request(&alice).await, "unavailable");
    harness.advance_to(400_000).await;
    assert_eq!(harness.send_request(&alice).await, "ended");
    seed_yields(0);
}

/// T056, T057: a session ends at its second rejection, an interval after the first, if other
/// sessions get responses.
#[tokio::test(start_paused = true)]
async fn twice_rejected_session_is_ended() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let bob = harness.log_in("bob").await;
    harness.respond_with(|_, call| {
        if call.path == "/s/0" {
            reply_not_found(call);
        } else {
            reply_ok(call);
        }
    });
    harness.advance_to(5_001).await;
    assert_eq!(harness.send_request(&alice).await, "allowed", "one rejection ends no session");
    harness.advance_to(9_999).await;
    assert_eq!(harness.send_request(&alice).await, "allowed");
    harness.advance_to(10_001).await;
    assert_eq!(harness.send_request(&alice).await, "ended");
    assert_eq!(harness.send_request(&bob).await, "allowed");
}
