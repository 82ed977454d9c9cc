//! What goes wrong beside the service: handlers and stores that panic or hang, callers that go
//! away, clocks that jump, a machine that slept, numbers that make no sense.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use tower_layer::Layer as _;
use tower_service::Service as _;

use super::harness::{self, App, Harness, StoreBehavior, next_event, of, reply_ok, reply_status};
use crate::UserId;
use crate::engine::BuildError;
use crate::events::EndReason;
use crate::login::LoginError;
use crate::protocol::SessionStatus;
use crate::protocol::SessionStatus::{Active, Closed};

/// T084: a handler that panics takes nothing with it.
#[tokio::test(start_paused = true)]
async fn handler_that_panics_holds_nothing() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    for _ in 0..100 {
        let request = tokio::spawn(stage.request("/panic", &alice));
        assert!(request.await.unwrap_err().is_panic());
    }
    assert_eq!(stage.session(&alice).held_open(), 0);
    assert_eq!(stage.send_request(&alice).await, "allowed");
    for second in 1..12 {
        reply_status(stage.poll_at(second * 5_000).await, Active);
    }
    stage.at(600_000).await;
    assert!(stage.is_quiet().await, "it is parked");
}

/// T076, T077: whatever becomes of the one who came first, and of the lookup table, the others
/// hear what the shared poll says.
#[tokio::test(start_paused = true)]
async fn panicking_token_store_counts_as_failing() {
    for mood in [StoreBehavior::Panics, StoreBehavior::Fails, StoreBehavior::Hangs] {
        let mut stage = Harness::new();
        let alice = stage.log_in("alice").await;
        stage.respond_with(|_, call| reply_ok(call));
        stage.at(600_000).await;
        stage.token_store.set_behavior(mood);
        let first = tokio::spawn(stage.send_request(&alice));
        let others: Vec<_> = (0..100).map(|_| tokio::spawn(stage.send_request(&alice))).collect();
        stage.at(600_100).await;
        first.abort();
        stage.token_store.set_behavior(StoreBehavior::Names);
        for other in others {
            // The next poll, one second later, asks it again; it may take 3 s.
            let says = other.await.unwrap();
            assert_eq!(says, "allowed");
        }
        assert!(stage.now() <= 603_000);
        assert_eq!(stage.session(&alice).held_open(), 0);
    }
}

/// T085: while the lookup table is out, no session in use loses anything, and no other gets in
/// unasked.
#[tokio::test(start_paused = true)]
async fn lookup_table_that_is_out_costs_no_session() {
    for mood in [StoreBehavior::Panics, StoreBehavior::Fails, StoreBehavior::Hangs] {
        let mut stage = Harness::new();
        let alice = stage.log_in("alice").await;
        let bob = stage.log_in("bob").await;
        let _live = stage.session(&alice).watch();
        stage.respond_with(|_, call| reply_ok(call));
        stage.at(200_000).await;
        stage.token_store.set_behavior(mood);
        for second in 200..400 {
            stage.at(second * 1_000).await;
            assert_eq!(stage.send_request(&alice).await, "allowed", "{second}");
        }
        assert_eq!(
            stage.send_request(&bob).await,
            "unavailable",
            "parked: nothing vouches for him"
        );
        let carol = stage.spawn_login("carol").await.unwrap().unwrap_err();
        assert!(matches!(carol, LoginError::Store(_)), "{carol}");
        stage.token_store.set_behavior(StoreBehavior::Names);
        stage.at(500_000).await;
        assert_eq!(stage.send_request(&bob).await, "allowed");
    }
}

/// T085: beside another login the gate itself asks the lookup table.
#[tokio::test(start_paused = true)]
async fn gate_whose_lookup_table_is_out_cannot_tell() {
    use tower_layer::Layer as _;
    use tower_service::Service as _;
    let stage = Harness::new();
    let ac = stage.ac.with_user_resolver(|_| Some(UserId::from("alice")));
    for (mood, says, after) in [
        (StoreBehavior::Names, "no-session", 0),
        (StoreBehavior::Forgets, "no-token", 0),
        (StoreBehavior::Fails, "unavailable", 0),
        (StoreBehavior::Panics, "unavailable", 0),
        (StoreBehavior::Hangs, "unavailable", 3_500),
    ] {
        stage.token_store.set_behavior(mood);
        let begun = stage.now();
        let response = ac.layer().layer(App).call(http::Request::new(())).await.unwrap();
        assert_eq!(harness::denial_name(response).await, says);
        assert_eq!(stage.now() - begun, after);
    }
}

/// T083: what comes back after an end revives nothing.
#[tokio::test(start_paused = true)]
async fn late_answer_revives_nothing() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let mut events = stage.ac.events();
    let poll = stage.poll_at(5_000).await;
    stage.session(&alice).end(EndReason::LoggedOut);
    assert!(reply_status(poll, Active));
    stage.at(5_001).await;
    assert_eq!(stage.send_request(&alice).await, "ended");
    stage.at(250_000).await;
    assert!(stage.is_quiet().await, "what is over is not polled");
    assert_eq!(stage.send_request(&alice).await, "ended");
    let ended = crate::events::EventKind::Ended { reason: EndReason::LoggedOut };
    assert_eq!(next_event(&mut events).await, Some(of("alice", ended)));
}

/// T082: an end of all that races the end of a login: the session is out, or never in.
#[tokio::test(start_paused = true)]
async fn login_answered_after_end_of_all_is_aborted() {
    let mut stage = Harness::new();
    let before = stage.log_in("alice").await;
    let login = stage.spawn_login("alice");
    stage.start().await;
    let poll = stage.call("/s/1").await;
    let ac = stage.ac.clone();
    let ending =
        tokio::spawn(async move { ac.end_all_sessions(&UserId::from("alice")).await.unwrap() });
    reply_ok(stage.call("/l/").await);
    reply_ok(stage.call("/l/").await);
    ending.await.unwrap();
    reply_status(poll, Active);
    assert!(login.await.unwrap().is_err());
    assert_eq!(stage.send_request(&before).await, "ended");
    assert!(stage.ac.sessions(&UserId::from("alice")).await.unwrap().is_empty());
}

/// T053: no poll begins while another of the same session is on its way.
#[tokio::test(start_paused = true)]
async fn polls_of_a_session_do_not_overlap() {
    let mut stage =
        Harness::with_builder(|builder| builder.poll_interval(Duration::from_millis(100)));
    let alice = stage.log_in("alice").await;
    let poll = stage.poll_at(100).await;
    let request = tokio::spawn(stage.send_request(&alice));
    stage.at(3_000).await;
    assert!(stage.is_quiet().await);
    reply_status(poll, Active);
    assert_eq!(request.await.unwrap(), "allowed");
    reply_status(stage.call("/s/").await, Closed);
    stage.at(3_010).await;
    assert_eq!(stage.send_request(&alice).await, "ended");
}

/// T111: a wall clock that jumps ahead by less than a lifetime ends no session; each is asked about.
#[tokio::test(start_paused = true)]
async fn wall_clock_that_jumps_costs_one_poll() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let stream = stage.stream(&alice).await;
    stage.at(1_000).await;
    stage.clock.shift_wall_clock(3_600_000);
    let request = tokio::spawn(stage.send_request(&alice));
    let poll = stage.poll_at(1_000).await;
    stage.at(2_000).await;
    assert!(!request.is_finished());
    reply_status(poll, Active);
    assert_eq!(request.await.unwrap(), "allowed");
    stage.at(3_000).await;
    assert!(!stream.end.is_finished() && stream.last() > 2_000);
    assert!(stage.is_quiet().await);
    // And back again: nothing is older than it was.
    stage.clock.shift_wall_clock(-7_200_000);
    assert_eq!(stage.send_request(&alice).await, "allowed");
    assert!(stage.is_quiet().await);
}

/// T179: however far the wall clock is set back, and forward again from there, a session in use is
/// judged by its last good poll: at most one more is sent, and none for what did not grow older.
#[tokio::test(start_paused = true)]
async fn wall_clock_set_back_costs_one_poll_at_most() {
    const DAY: i64 = 86_400_000;
    // To the epoch and before is as far as a clock goes.
    for back in [DAY, 98 * DAY, 100 * DAY, 200 * DAY, 10_000 * DAY, 100_000 * DAY] {
        let mut stage = Harness::new();
        let alice = stage.log_in("alice").await;
        let stream = stage.stream(&alice).await;
        stage.at(1_000).await;
        stage.clock.shift_wall_clock(-back);
        assert_eq!(stage.send_request(&alice).await, "allowed");
        assert!(stage.is_quiet().await);
        // What is known from here on was stated by polls after the jump.
        for seconds in [5, 10, 15, 20] {
            reply_status(stage.poll_at(1_000 * seconds).await, Active);
            stage.at(1_000 * seconds + 500).await;
            let begun = stage.now();
            assert_eq!(
                (stage.send_request(&alice).await.as_str(), stage.now()),
                ("allowed", begun)
            );
            assert!(stage.is_quiet().await);
        }
        // Forward by an hour from there is an hour that nothing is known of; a clock that stands at
        // the epoch was not set to where it should be, and does not move.
        let at = stage.now();
        stage.clock.shift_wall_clock(3_600_000);
        if stage.clock.now().wall.as_millis() > 3_600_000 {
            let request = tokio::spawn(stage.send_request(&alice));
            reply_status(stage.poll_at(at).await, Active);
            assert_eq!((request.await.unwrap().as_str(), stage.now()), ("allowed", at));
        }
        // And where it was before.
        stage.clock.shift_wall_clock(back - 3_600_000);
        let request = tokio::spawn(stage.send_request(&alice));
        let poll = stage.call("/s/").await;
        assert_eq!(stage.now(), at);
        reply_status(poll, Active);
        assert_eq!(request.await.unwrap(), "allowed");
        assert!(stage.is_quiet().await);
        assert!(!stream.end.is_finished());
    }
}

/// T179: a session that was parked while the wall clock stood far back is let in after one poll.
#[tokio::test(start_paused = true)]
async fn parked_session_outlasts_a_clock_set_back() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    stage.at(1_000).await;
    stage.clock.shift_wall_clock(-200 * 86_400_000);
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = polls.clone();
    stage.respond_with(move |_, call| {
        counted.fetch_add(1, Ordering::Relaxed);
        reply_ok(call);
    });
    for (at, costs) in [(600_000, 1), (600_500, 0), (1_200_000, 1)] {
        stage.at(at).await;
        let before = polls.load(Ordering::Relaxed);
        assert_eq!((stage.send_request(&alice).await.as_str(), stage.now()), ("allowed", at));
        assert_eq!(polls.load(Ordering::Relaxed) - before, costs);
    }
}

/// T111: ahead by more than a lifetime is the end of it.
#[tokio::test(start_paused = true)]
async fn wall_clock_past_the_lifetime_ends_the_session() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    stage.clock.shift_wall_clock(12 * 3_600_000);
    assert_eq!(stage.send_request(&alice).await, "ended");
    reply_ok(stage.call("/l/").await);
}

/// T112: a machine that slept: the wall clock went on, the monotonic one did not.
#[tokio::test(start_paused = true)]
async fn machine_that_slept_asks_before_it_allows() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let bob = stage.log_in("bob").await;
    stage.at(1_000).await;
    stage.clock.shift_wall_clock(8 * 3_600_000);
    let requests = [&alice, &bob].map(|credential| tokio::spawn(stage.send_request(credential)));
    let polls = [stage.poll_at(1_000).await, stage.poll_at(1_000).await];
    let [one, other] = polls;
    let (alices, bobs) = if one.path == "/s/0" { (one, other) } else { (other, one) };
    reply_status(alices, Active);
    reply_status(bobs, Closed);
    let [alice, bob] = requests;
    assert_eq!(alice.await.unwrap(), "allowed");
    assert_eq!(bob.await.unwrap(), "ended");
}

/// T112: a process that was stopped for a minute; both clocks went on.
#[tokio::test(start_paused = true)]
async fn process_that_was_stopped_asks_before_it_allows() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    stage.at(1_000).await;
    tokio::time::advance(Duration::from_secs(50)).await;
    let request = tokio::spawn(stage.send_request(&alice));
    let poll = stage.poll_at(51_000).await;
    assert!(!request.is_finished());
    reply_status(poll, Active);
    assert_eq!(request.await.unwrap(), "allowed");
}

/// T112: the same if a poll was on its way, which is over then.
#[tokio::test(start_paused = true)]
async fn process_stopped_during_poll_polls_before_allow() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let poll = stage.poll_at(5_000).await;
    tokio::time::advance(Duration::from_secs(50)).await;
    let says = tokio::spawn(stage.send_request(&alice)).await.unwrap();
    assert_eq!(says, "unavailable");
    assert!(!reply_status(poll, Active));
    stage.respond_with(|_, call| reply_ok(call));
    stage.at(56_000).await;
    assert_eq!(stage.send_request(&alice).await, "allowed");
}

/// A connection that breaks says nothing, and is not waited for.
#[tokio::test(start_paused = true)]
async fn poll_that_is_dropped_has_said_nothing() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    drop(stage.poll_at(5_000).await);
    stage.at(5_001).await;
    assert_eq!(stage.send_request(&alice).await, "allowed");
    reply_ok(stage.call("/management/").await);
    reply_status(stage.poll_at(5_200).await, SessionStatus::Active);
}

/// Durations of every size, those at the edges of their ranges above all.
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
    /// T113: whatever the numbers, there is an engine or a clear word; never a panic.
    #[test]
    fn builders_take_any_number(
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

/// What another layer outside says of the caller is no word of the other login's.
#[tokio::test(start_paused = true)]
async fn outer_layers_session_is_hidden_from_the_resolver() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let presence = stage.ac.clone().with_user_resolver(|parts: &http::request::Parts| {
        let session = parts.extensions.get::<crate::ActiveSession>()?;
        Some(session.user().clone())
    });
    let inner = presence.layer().layer(App);
    let mut whole = stage.ac.layer().layer(inner);
    let bearer = format!("Bearer {}", alice.expose());
    let request = http::Request::get("/0").header("authorization", bearer).body(()).unwrap();
    assert_eq!(whole.call(request).await.unwrap().status(), 401);
}
