//! Injected faults: panicking handlers, failing token stores, aborted requests, clock jumps, machine
//! sleep, and extreme configuration values.

use crate::UserId;
use crate::events::EndReason;
use crate::login::LoginError;
use crate::protocol::SessionStatus;
use crate::setup::BuildError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use tower_layer::Layer as _;
use tower_service::Service as _;

use super::harness::{
    self, App, Harness, StoreBehavior, next_event, reply_ok, reply_status, user_event,
};
use crate::protocol::SessionStatus::{Active, Closed};

/// T084: a panicking handler leaks no hold on its session.
#[tokio::test(start_paused = true)]
async fn panicking_handler_releases_its_session() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    for _ in 0..100 {
        let request = tokio::spawn(harness.request("/panic", &alice));
        assert!(request.await.unwrap_err().is_panic());
    }
    assert_eq!(harness.session(&alice).held_open(), 0);
    assert_eq!(harness.send_request(&alice).await, "allowed");
    for second in 1..12 {
        reply_status(harness.next_poll_at(second * 5_000).await, Active);
    }
    harness.advance_to(600_000).await;
    assert!(harness.has_no_calls().await, "the session is parked");
}

/// T076, T077: the first request is aborted and the token store fails; the other requests still
/// get the result of the shared poll.
#[tokio::test(start_paused = true)]
async fn waiting_requests_survive_store_faults() {
    for behavior in [StoreBehavior::Panics, StoreBehavior::Fails, StoreBehavior::Hangs] {
        let mut harness = Harness::new();
        let alice = harness.log_in("alice").await;
        harness.respond_with(|_, call| reply_ok(call));
        harness.advance_to(600_000).await;
        harness.token_store.set_behavior(behavior);
        let first = tokio::spawn(harness.send_request(&alice));
        let others: Vec<_> = (0..100).map(|_| tokio::spawn(harness.send_request(&alice))).collect();
        harness.advance_to(600_100).await;
        first.abort();
        harness.token_store.set_behavior(StoreBehavior::ReturnsToken);
        for other in others {
            // The next poll, a second later, looks the token up again, for at most 3 s.
            assert_eq!(other.await.unwrap(), "allowed");
        }
        assert!(harness.now() <= 603_000);
        assert_eq!(harness.session(&alice).held_open(), 0);
    }
}

/// T085: a token store outage affects no session in use, and a parked session is unavailable
/// until its token is checked.
#[tokio::test(start_paused = true)]
async fn store_outage_keeps_sessions_in_use() {
    for behavior in [StoreBehavior::Panics, StoreBehavior::Fails, StoreBehavior::Hangs] {
        let mut harness = Harness::new();
        let alice = harness.log_in("alice").await;
        let bob = harness.log_in("bob").await;
        let _live = harness.session(&alice).watch();
        harness.respond_with(|_, call| reply_ok(call));
        harness.advance_to(200_000).await;
        harness.token_store.set_behavior(behavior);
        for second in 200..400 {
            harness.advance_to(second * 1_000).await;
            assert_eq!(harness.send_request(&alice).await, "allowed", "{second}");
        }
        assert_eq!(
            harness.send_request(&bob).await,
            "unavailable",
            "the token of the parked session is not checked"
        );
        let carol = harness.spawn_login("carol").await.unwrap().unwrap_err();
        assert!(matches!(carol, LoginError::Store(_)), "{carol}");
        harness.token_store.set_behavior(StoreBehavior::ReturnsToken);
        harness.advance_to(500_000).await;
        assert_eq!(harness.send_request(&bob).await, "allowed");
    }
}

/// T085: with a user resolver the gate itself looks the token up.
#[tokio::test(start_paused = true)]
async fn store_outage_makes_resolved_user_unavailable() {
    use tower_layer::Layer as _;
    use tower_service::Service as _;
    let harness = Harness::new();
    let ac = harness.ac.with_user_resolver(|_| Some(UserId::from("alice")));
    for (behavior, expected, delay_ms) in [
        (StoreBehavior::ReturnsToken, "no-session", 0),
        (StoreBehavior::ReturnsNone, "no-token", 0),
        (StoreBehavior::Fails, "unavailable", 0),
        (StoreBehavior::Panics, "unavailable", 0),
        (StoreBehavior::Hangs, "unavailable", 3_500),
    ] {
        harness.token_store.set_behavior(behavior);
        let started_at = harness.now();
        let response = ac.layer().layer(App).call(http::Request::new(())).await.unwrap();
        assert_eq!(harness::denial_name(response).await, expected);
        assert_eq!(harness.now() - started_at, delay_ms);
    }
}

/// T083: a poll that completes after the end does not revive the session.
#[tokio::test(start_paused = true)]
async fn late_poll_does_not_revive_session() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let mut events = harness.ac.events();
    let poll = harness.next_poll_at(5_000).await;
    harness.session(&alice).end(EndReason::LoggedOut);
    assert!(reply_status(poll, Active));
    harness.advance_to(5_001).await;
    assert_eq!(harness.send_request(&alice).await, "ended");
    harness.advance_to(250_000).await;
    assert!(harness.has_no_calls().await, "an ended session is not polled");
    assert_eq!(harness.send_request(&alice).await, "ended");
    let ended = crate::events::EventKind::Ended { reason: EndReason::LoggedOut };
    assert_eq!(next_event(&mut events).await, Some(user_event("alice", ended)));
}

/// T082: `end_all_sessions` races the approval of a login: no session remains.
#[tokio::test(start_paused = true)]
async fn login_approved_during_end_all_is_aborted() {
    let mut harness = Harness::new();
    let before = harness.log_in("alice").await;
    let login = harness.spawn_login("alice");
    harness.reply_next_start().await;
    let poll = harness.next_call("/s/1").await;
    let ac = harness.ac.clone();
    let ending =
        tokio::spawn(async move { ac.end_all_sessions(&UserId::from("alice")).await.unwrap() });
    reply_ok(harness.next_call("/l/").await);
    reply_ok(harness.next_call("/l/").await);
    ending.await.unwrap();
    reply_status(poll, Active);
    assert!(login.await.unwrap().is_err());
    assert_eq!(harness.send_request(&before).await, "ended");
    assert!(harness.ac.sessions(&UserId::from("alice")).await.unwrap().is_empty());
}

/// T053: no poll starts while another poll of the same session is in flight.
#[tokio::test(start_paused = true)]
async fn polls_of_a_session_do_not_overlap() {
    let mut harness =
        Harness::with_builder(|builder| builder.poll_interval(Duration::from_millis(100)));
    let alice = harness.log_in("alice").await;
    let poll = harness.next_poll_at(100).await;
    let request = tokio::spawn(harness.send_request(&alice));
    harness.advance_to(3_000).await;
    assert!(harness.has_no_calls().await);
    reply_status(poll, Active);
    assert_eq!(request.await.unwrap(), "allowed");
    reply_status(harness.next_call("/s/").await, Closed);
    harness.advance_to(3_010).await;
    assert_eq!(harness.send_request(&alice).await, "ended");
}

/// T111: a wall clock that jumps ahead by less than the lifetime ends no session; each is polled.
#[tokio::test(start_paused = true)]
async fn wall_clock_jump_costs_one_poll() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let stream = harness.stream(&alice).await;
    harness.advance_to(1_000).await;
    harness.clock.shift_wall_clock(3_600_000);
    let request = tokio::spawn(harness.send_request(&alice));
    let poll = harness.next_poll_at(1_000).await;
    harness.advance_to(2_000).await;
    assert!(!request.is_finished());
    reply_status(poll, Active);
    assert_eq!(request.await.unwrap(), "allowed");
    harness.advance_to(3_000).await;
    assert!(!stream.end.is_finished() && stream.last_frame_at() > 2_000);
    assert!(harness.has_no_calls().await);
    // After a jump back no status is older than before.
    harness.clock.shift_wall_clock(-7_200_000);
    assert_eq!(harness.send_request(&alice).await, "allowed");
    assert!(harness.has_no_calls().await);
}

/// T179: the wall clock is set back by any amount, and forward again. Each change costs a session in
/// use at most one poll, and none if its status did not get older.
#[tokio::test(start_paused = true)]
async fn wall_clock_set_back_costs_one_poll_at_most() {
    const DAY: i64 = 86_400_000;
    // The wall clock stops at the epoch.
    for back in [DAY, 98 * DAY, 100 * DAY, 200 * DAY, 10_000 * DAY, 100_000 * DAY] {
        let mut harness = Harness::new();
        let alice = harness.log_in("alice").await;
        let stream = harness.stream(&alice).await;
        harness.advance_to(1_000).await;
        harness.clock.shift_wall_clock(-back);
        assert_eq!(harness.send_request(&alice).await, "allowed");
        assert!(harness.has_no_calls().await);
        // From here on the statuses are from polls after the jump.
        for seconds in [5, 10, 15, 20] {
            reply_status(harness.next_poll_at(1_000 * seconds).await, Active);
            harness.advance_to(1_000 * seconds + 500).await;
            let started_at = harness.now();
            assert_eq!(
                (harness.send_request(&alice).await.as_str(), harness.now()),
                ("allowed", started_at)
            );
            assert!(harness.has_no_calls().await);
        }
        // An hour forward makes the status stale. A wall clock that stopped at the epoch does not
        // reach that hour.
        let at = harness.now();
        harness.clock.shift_wall_clock(3_600_000);
        if harness.clock.now().wall.as_millis() > 3_600_000 {
            let request = tokio::spawn(harness.send_request(&alice));
            reply_status(harness.next_poll_at(at).await, Active);
            assert_eq!((request.await.unwrap().as_str(), harness.now()), ("allowed", at));
        }
        // Back to the original time.
        harness.clock.shift_wall_clock(back - 3_600_000);
        let request = tokio::spawn(harness.send_request(&alice));
        let poll = harness.next_call("/s/").await;
        assert_eq!(harness.now(), at);
        reply_status(poll, Active);
        assert_eq!(request.await.unwrap(), "allowed");
        assert!(harness.has_no_calls().await);
        assert!(!stream.end.is_finished());
    }
}

/// T179: a session that was parked while the wall clock was set back is allowed after one poll.
#[tokio::test(start_paused = true)]
async fn parked_session_survives_clock_set_back() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    harness.advance_to(1_000).await;
    harness.clock.shift_wall_clock(-200 * 86_400_000);
    let polls = Arc::new(AtomicUsize::new(0));
    let poll_count = polls.clone();
    harness.respond_with(move |_, call| {
        poll_count.fetch_add(1, Ordering::Relaxed);
        reply_ok(call);
    });
    for (at, expected_polls) in [(600_000, 1), (600_500, 0), (1_200_000, 1)] {
        harness.advance_to(at).await;
        let before = polls.load(Ordering::Relaxed);
        assert_eq!((harness.send_request(&alice).await.as_str(), harness.now()), ("allowed", at));
        assert_eq!(polls.load(Ordering::Relaxed) - before, expected_polls);
    }
}

/// T111: a wall clock jump past the lifetime ends the session.
#[tokio::test(start_paused = true)]
async fn wall_clock_past_the_lifetime_ends_the_session() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    harness.clock.shift_wall_clock(12 * 3_600_000);
    assert_eq!(harness.send_request(&alice).await, "ended");
    reply_ok(harness.next_call("/l/").await);
}

/// T112: during machine sleep the wall clock runs and the monotonic clock stops.
#[tokio::test(start_paused = true)]
async fn poll_precedes_allow_after_machine_sleep() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let bob = harness.log_in("bob").await;
    harness.advance_to(1_000).await;
    harness.clock.shift_wall_clock(8 * 3_600_000);
    let requests = [&alice, &bob].map(|credential| tokio::spawn(harness.send_request(credential)));
    let polls = [harness.next_poll_at(1_000).await, harness.next_poll_at(1_000).await];
    let [first, second] = polls;
    let (alice_poll, bob_poll) =
        if first.path == "/s/0" { (first, second) } else { (second, first) };
    reply_status(alice_poll, Active);
    reply_status(bob_poll, Closed);
    let [alice, bob] = requests;
    assert_eq!(alice.await.unwrap(), "allowed");
    assert_eq!(bob.await.unwrap(), "ended");
}

/// T112: while the process is stopped, both clocks run.
#[tokio::test(start_paused = true)]
async fn poll_precedes_allow_after_process_stop() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    harness.advance_to(1_000).await;
    tokio::time::advance(Duration::from_secs(50)).await;
    let request = tokio::spawn(harness.send_request(&alice));
    let poll = harness.next_poll_at(51_000).await;
    assert!(!request.is_finished());
    reply_status(poll, Active);
    assert_eq!(request.await.unwrap(), "allowed");
}

/// T112: the same with a poll in flight, which times out.
#[tokio::test(start_paused = true)]
async fn process_stopped_during_poll_polls_before_allow() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let poll = harness.next_poll_at(5_000).await;
    tokio::time::advance(Duration::from_secs(50)).await;
    let result = tokio::spawn(harness.send_request(&alice)).await.unwrap();
    assert_eq!(result, "unavailable");
    assert!(!reply_status(poll, Active));
    harness.respond_with(|_, call| reply_ok(call));
    harness.advance_to(56_000).await;
    assert_eq!(harness.send_request(&alice).await, "allowed");
}

/// A broken connection counts as no response, at once.
#[tokio::test(start_paused = true)]
async fn dropped_poll_counts_as_no_response() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    drop(harness.next_poll_at(5_000).await);
    harness.advance_to(5_001).await;
    assert_eq!(harness.send_request(&alice).await, "allowed");
    reply_ok(harness.next_call("/management/").await);
    reply_status(harness.next_poll_at(5_200).await, SessionStatus::Active);
}

/// Durations of every size, with emphasis on the edges of the allowed ranges.
fn duration() -> impl Strategy<Value = Duration> {
    let edges = vec![0, 1, 99, 100, 101, 999, 1_000, 4_100, 5_000, 600_000, 3_600_000, 43_200_000];
    prop_oneof![
        prop::sample::select(edges).prop_map(Duration::from_millis),
        any::<u64>().prop_map(Duration::from_nanos),
        any::<u64>().prop_map(Duration::from_secs),
        (0..100_000_u64).prop_map(Duration::from_secs),
        Just(Duration::MAX),
        Just(Duration::ZERO),
    ]
}

proptest! {
    /// T113: for any numbers the builder returns an engine or a clear error, and does not panic.
    #[test]
    fn builder_accepts_or_rejects_any_number(
        interval in duration(),
        staleness in duration(),
        deadline in duration(),
        lifetime in proptest::option::of(duration()),
        polls: u32,
        counts: [u64; 3],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let built = runtime.block_on(async {
            let mut builder = harness::builder()
                .token_store(harness::FaultyTokenStore::default())
                .test_clock()
                .poll_interval(interval)
                .max_staleness(staleness)
                .login_timeout(deadline)
                .max_polls_per_second(polls)
                .max_sessions(counts[0] as usize)
                .max_sessions_per_user(counts[1] as usize)
                .max_attempts(counts[2] as usize);
            if let Some(lifetime) = lifetime {
                builder = builder.session_duration(lifetime);
            }
            let _ = builder.capacity();
            let built = builder.build();
            tokio::time::sleep(Duration::from_secs(120)).await;
            built.map(drop)
        });
        match built {
            Ok(()) => {}
            Err(error @ (BuildError::OutOfRange { .. } | BuildError::CountOutOfRange { .. })) => {
                prop_assert!(error.to_string().contains("choose"), "{error}");
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

/// The session of an outer layer is not visible to the user resolver of an inner layer.
#[tokio::test(start_paused = true)]
async fn outer_layers_session_is_hidden_from_the_resolver() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let presence = harness.ac.clone().with_user_resolver(|parts: &http::request::Parts| {
        let session = parts.extensions.get::<crate::ActiveSession>()?;
        Some(session.user().clone())
    });
    let inner = presence.layer().layer(App);
    let mut outer = harness.ac.layer().layer(inner);
    let bearer = format!("Bearer {}", alice.expose());
    let request = http::Request::get("/0").header("authorization", bearer).body(()).unwrap();
    assert_eq!(outer.call(request).await.unwrap().status(), 401);
}
