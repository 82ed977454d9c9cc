//! The life cycle of engines and sessions: events, limits, shutdown.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tower::ServiceExt as _;
use tower_layer::Layer as _;

use super::harness::{
    Harness, KindAndUser, StoreBehavior, denial_name, next_event, reply_not_found, reply_ok,
    reply_started, reply_status, user_event,
};
use crate::UserId;
use crate::client::ClientErrorKind;
use crate::events::{EndReason, Event, EventKind, Events, Fault, Limit};
use crate::login::LoginError;
use crate::protocol::SessionStatus;
use crate::protocol::SessionStatus::{Active, Cancelled, Closed, Walkaway};
use crate::verdict::Denial;

fn user(name: &str) -> UserId {
    UserId::from(name)
}

fn ended(name: &str, reason: EndReason) -> KindAndUser {
    user_event(name, EventKind::Ended { reason })
}

/// The events that are ready.
async fn drain(events: &mut Events) -> Vec<KindAndUser> {
    let mut drained = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, next_event(events)).await {
        drained.push(event);
    }
    drained
}

/// The engine sends each event of a session once, with its reason.
#[tokio::test(start_paused = true)]
async fn each_event_is_sent_once() {
    let mut harness =
        Harness::with_builder(|builder| builder.session_duration(Duration::from_secs(900)));
    let mut events = harness.ac.events();
    let alice = harness.log_in("alice").await;
    let started = |name| user_event(name, EventKind::Started);
    assert_eq!(drain(&mut events).await, [started("alice")]);
    reply_status(harness.next_poll_at(5_000).await, Walkaway);
    reply_status(harness.next_poll_at(10_000).await, Walkaway);
    reply_status(harness.next_poll_at(15_000).await, Active);
    reply_status(harness.next_poll_at(20_000).await, Active);
    reply_status(harness.next_poll_at(25_000).await, Closed);
    harness.advance_to(26_000).await;
    let [suspended, resumed] =
        [EventKind::Suspended, EventKind::Resumed].map(|kind| user_event("alice", kind));
    let closed = ended("alice", EndReason::Upstream(Closed));
    assert_eq!(drain(&mut events).await, [suspended, resumed, closed]);
    assert_eq!(harness.send_request(&alice).await, "ended");
    harness.session(&alice).end(EndReason::LoggedOut);
    assert_eq!(drain(&mut events).await, [], "an end is reported once");

    let bob = harness.log_in("bob").await;
    let carol = harness.log_in("carol").await;
    drain(&mut events).await;
    harness.token_store.set_behavior(StoreBehavior::ReturnsOtherToken);
    let _live = [&bob, &carol].map(|credential| harness.session(credential).watch());
    harness.respond_with(|_, call| {
        if call.path == "/s/1" {
            reply_not_found(call);
        } else {
            reply_ok(call);
        }
    });
    harness.advance_to(100_000).await;
    let unknown = ended("bob", EndReason::UnknownUpstream);
    assert_eq!(drain(&mut events).await, [unknown, ended("carol", EndReason::TokenChanged)]);
}

/// Ends by age, by logout and by shutdown.
#[tokio::test(start_paused = true)]
async fn local_ends_report_their_reason() {
    let mut harness =
        Harness::with_builder(|builder| builder.session_duration(Duration::from_secs(20)));
    let mut events = harness.ac.events();
    harness.log_in("alice").await;
    harness.advance_to(1_000).await;
    let bob = harness.log_in("bob").await;
    harness.log_in("carol").await;
    drain(&mut events).await;
    harness.respond_with(|_, call| reply_ok(call));
    harness.ac.end_all_sessions(&user("bob")).await.unwrap();
    assert_eq!(drain(&mut events).await, [ended("bob", EndReason::LoggedOut)]);
    harness.advance_to(20_500).await;
    assert_eq!(drain(&mut events).await, [ended("alice", EndReason::Expired)]);
    harness.ac.shutdown().await;
    assert_eq!(drain(&mut events).await, [ended("carol", EndReason::Shutdown)]);
    assert_eq!(events.next().await, None);
    assert_eq!(harness.send_request(&bob).await, "ended");
}

/// A session that is not claimed sends neither a start nor an end; a decline sends an event.
#[tokio::test(start_paused = true)]
async fn unclaimed_session_sends_no_event() {
    let mut harness = Harness::new();
    let mut events = harness.ac.events();
    let login = harness.spawn_login("alice");
    harness.reply_next_start().await;
    reply_status(harness.next_call("/s/").await, Cancelled);
    let error = login.await.unwrap().unwrap_err();
    assert!(matches!(error, LoginError::Rejected(Cancelled)));
    let rejected = user_event("alice", EventKind::LoginRejected { status: Cancelled });
    assert_eq!(drain(&mut events).await, [rejected]);
}

/// A slow reader gets the number of events that it missed; the engine does not wait for it.
#[tokio::test(start_paused = true)]
async fn slow_reader_gets_count_of_missed_events() {
    let harness = Harness::new();
    let mut slow = harness.ac.events();
    let mut fast = harness.ac.events();
    let engine = harness.ac.engine();
    let full = (EventKind::LimitReached(Limit::Attempts), None);
    for _ in 0..3_000 {
        engine.shared.events.send(|| Event::new(full.0, harness.clock.now()));
        assert_eq!(next_event(&mut fast).await, Some(full.clone()));
    }
    let Some((EventKind::Lagged(missed), None)) = next_event(&mut slow).await else {
        panic!("the slow reader missed events")
    };
    let mut read = 0;
    for event in drain(&mut slow).await {
        assert_eq!(event, full);
        read += 1;
    }
    assert_eq!(missed + read, 3_000);
}

/// T106: a login beyond the limit of pending logins is rejected, and all pending logins stay.
#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn login_beyond_max_attempts_is_rejected() {
    use axum::body::Body;
    use tower_service::Service as _;

    // One slot is reserved: anonymous browsers cannot take it.
    let mut harness = Harness::with_builder(|builder| builder.max_attempts(4));
    let mut events = harness.ac.events();
    let mut routes = harness.ac.routes::<()>();
    let mut login = async |name: &str| {
        let request = http::Request::post("/login")
            .header("content-type", "application/json")
            .body(Body::from(format!(r#"{{"username":"{name}"}}"#)))
            .unwrap();
        routes.call(request).await.unwrap()
    };
    for name in ["alice", "bob", "carol"] {
        assert_eq!(login(name).await.status(), http::StatusCode::ACCEPTED);
    }
    let response = login("dave").await;
    assert_eq!(response.status(), http::StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "10");
    assert!(response.headers().get("set-cookie").is_none());
    assert_eq!(drain(&mut events).await, [(EventKind::LimitReached(Limit::Attempts), None)]);
    let attempts: Vec<_> = harness.ac.engine().login.attempts.all();
    assert_eq!(attempts.len(), 3);
    let now = harness.clock.now();
    assert!(attempts.iter().all(|attempt| attempt.is_pending(now)));
    // The engine keeps each attempt for a minute after its deadline; then slots are free again.
    harness.respond_with(|_, call| {
        call.answer(404, "");
    });
    // The limit sends at most one event a second.
    for step in 0..10 {
        harness.advance_to(1_000 + step * 400).await;
        assert_eq!(login("dave").await.status(), http::StatusCode::TOO_MANY_REQUESTS);
    }
    let unknown = EventKind::Fault(Fault::Service(ClientErrorKind::UnknownApplication));
    let mut expected = vec![(EventKind::LimitReached(Limit::Attempts), None); 5];
    expected[0].0 = unknown;
    assert_eq!(drain(&mut events).await, expected);
    harness.advance_to(119_999).await;
    assert_eq!(login("dave").await.status(), http::StatusCode::TOO_MANY_REQUESTS);
    harness.advance_to(120_001).await;
    assert_eq!(login("dave").await.status(), http::StatusCode::ACCEPTED);
}

#[tokio::test(start_paused = true)]
async fn session_limit_rejects_before_push() {
    let mut harness =
        Harness::with_builder(|builder| builder.max_sessions(3).max_sessions_per_user(2));
    let mut events = harness.ac.events();
    let first = harness.log_in("alice").await;
    harness.log_in("alice").await;
    drain(&mut events).await;
    let error = harness.spawn_login("alice").await.unwrap().unwrap_err();
    assert!(matches!(error, LoginError::LimitReached(Limit::SessionsPerUser)), "{error}");
    let bob = harness.log_in("bob").await;
    let error = harness.spawn_login("carol").await.unwrap().unwrap_err();
    assert!(matches!(error, LoginError::LimitReached(Limit::Sessions)), "{error}");
    assert_eq!(harness.send_request(&first).await, "allowed");
    assert_eq!(harness.send_request(&bob).await, "allowed");
    let limits: Vec<_> = drain(&mut events).await;
    let hit = |limit| (EventKind::LimitReached(limit), None);
    let started = user_event("bob", EventKind::Started);
    assert_eq!(limits, [hit(Limit::SessionsPerUser), started, hit(Limit::Sessions)]);
    // An end frees a slot of that user, but none in total.
    harness.session(&first).end(EndReason::LoggedOut);
    let error = harness.spawn_login("alice").await.unwrap().unwrap_err();
    assert!(matches!(error, LoginError::LimitReached(Limit::Sessions)), "{error}");
}

/// T129: a shutdown cuts streams, cancels pending logins and leaves no task.
#[tokio::test(start_paused = true)]
async fn shutdown_ends_streams_logins_and_tasks() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let stream = harness.stream(&alice).await;
    let login = harness.spawn_login("bob");
    harness.reply_next_start().await;
    reply_status(harness.next_call("/s/1").await, SessionStatus::Pending);
    let poll = harness.next_call("/s/1").await;
    let (started_at, ac) = (harness.now(), harness.ac.clone());
    let shutdown = tokio::spawn(async move { ac.shutdown().await });
    let logout = harness.next_call("/l/1").await;
    assert_eq!(stream.end.await.unwrap(), (started_at, Denial::Ended));
    assert!(login.await.unwrap().is_err());
    assert!(!shutdown.is_finished());
    reply_ok(logout);
    shutdown.await.unwrap();
    assert_eq!(harness.now(), started_at);
    assert!(!reply_status(poll, Active), "the poll is aborted");
    assert_eq!(harness.send_request(&alice).await, "ended");
    let error = harness.spawn_login("carol").await.unwrap().unwrap_err();
    assert!(matches!(error, LoginError::Aborted));
    harness.ac.shutdown().await;
    harness.advance_to(3_600_000).await;
    assert!(harness.has_no_calls().await);
    assert_eq!(harness.ac.engine().open_watches(), 0);
    let service = harness.respond_with(|_, _| {});
    drop(harness);
    service.await.unwrap();
}

/// A shutdown waits at most 5 s for a service that does not respond.
#[tokio::test(start_paused = true)]
async fn shutdown_waits_at_most_5_s() {
    for behavior in [StoreBehavior::ReturnsToken, StoreBehavior::Hangs] {
        let mut harness = Harness::new();
        harness.token_store.set_behavior(behavior);
        let login = harness.spawn_login("bob");
        let mut unanswered = Vec::new();
        harness.respond_with(move |_, call| {
            if call.path.starts_with("/authentication/") {
                reply_started(call, 0);
            } else {
                unanswered.push(call);
            }
        });
        harness.advance_to(1_000).await;
        let shutdown = tokio::spawn({
            let ac = harness.ac.clone();
            async move { ac.shutdown().await }
        });
        assert!(login.await.unwrap().is_err());
        shutdown.await.unwrap();
        assert!((5_000..=6_000).contains(&harness.now()), "{}", harness.now());
        harness.ac.shutdown().await;
    }
}

/// A request that waits for a parked session's poll gets a response at shutdown.
#[tokio::test(start_paused = true)]
async fn shutdown_ends_waiting_request() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let mut unanswered = Vec::new();
    harness.respond_with(move |now, call| {
        if now < 70_000 {
            reply_ok(call);
        } else {
            unanswered.push(call);
        }
    });
    harness.advance_to(200_000).await;
    let request = tokio::spawn(harness.send_request(&alice));
    harness.advance_to(201_000).await;
    assert!(!request.is_finished());
    harness.ac.shutdown().await;
    assert_eq!((request.await.unwrap().as_str(), harness.now()), ("ended", 201_000));
}

/// Dropping the future of a shutdown aborts all tasks.
#[tokio::test(start_paused = true)]
async fn dropped_shutdown_aborts() {
    let mut harness = Harness::new();
    let login = harness.spawn_login("alice");
    let _start = harness.next_call("/authentication/authenticate_user").await;
    let limit = Duration::from_secs(1);
    tokio::time::timeout(limit, harness.ac.shutdown()).await.unwrap_err();
    assert!(login.await.unwrap().is_err());
    let service = harness.respond_with(|_, call| {
        call.reset();
    });
    drop(harness);
    service.await.unwrap();
}

/// T131: dropping the last handle ends all sessions and tasks, also with a poll in flight.
#[tokio::test(start_paused = true)]
async fn dropping_last_handle_ends_all() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let stream = harness.stream(&alice).await;
    let session = harness.session(&alice);
    let poll = harness.next_poll_at(5_000).await;
    let service = harness.respond_with(|_, _| {});
    let mut events = harness.ac.events();
    drop(harness);
    service.await.unwrap();
    assert!(!reply_status(poll, Active));
    assert_eq!(stream.end.await.unwrap().1, Denial::Ended);
    assert_eq!(session.verdict(), crate::verdict::Verdict::Ended);
    assert_eq!(session.held_open(), 0);
    assert_eq!(next_event(&mut events).await, Some(ended("alice", EndReason::Shutdown)));
    assert_eq!(events.next().await, None);
}

/// `oneshot` drops the service, and with it the last handle, while the handler still runs.
#[tokio::test(start_paused = true)]
async fn running_handler_keeps_engine_alive() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let session = harness.session(&alice);
    let app = tower::service_fn(async |_: Request<()>| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, Infallible>(Response::new(String::from("done")))
    });
    let bearer = format!("Bearer {}", alice.expose());
    let request = Request::get("/").header("authorization", bearer).body(()).unwrap();
    let response = harness.ac.layer().layer(app).oneshot(request);
    drop(harness);
    assert_eq!(response.await.unwrap().status(), 200);
    assert_eq!(session.verdict(), crate::verdict::Verdict::Ended);
}

/// T130: engines in one process share no state.
#[tokio::test(start_paused = true)]
async fn engines_are_isolated() {
    let (mut first, mut second) = (Harness::new(), Harness::new());
    let first_alice = first.log_in("alice").await;
    let second_alice = second.log_in("alice").await;
    assert_eq!(second.send_request(&first_alice).await, "no-session");
    assert_eq!(first.send_request(&second_alice).await, "no-session");
    first.ac.shutdown().await;
    assert_eq!(first.send_request(&first_alice).await, "ended");
    assert_eq!(second.send_request(&second_alice).await, "allowed");
    reply_status(second.next_poll_at(5_000).await, Active);
    assert_eq!(second.ac.health().sessions, 1);
    drop(first);
    reply_status(second.next_poll_at(10_000).await, Active);
    assert_eq!(second.send_request(&second_alice).await, "allowed");
}

/// An engine whose runtime is dropped does not panic, and allows requests only until the last status
/// is stale.
#[test]
fn dropped_runtime_stops_engine() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let dropped = runtime();
    let (harness, alice) = dropped.block_on(async {
        let mut harness = Harness::new();
        let alice = harness.log_in("alice").await;
        let _login = harness.spawn_login("bob");
        harness.reply_next_start().await;
        let _poll = harness.next_call("/s/1").await;
        (harness, alice)
    });
    drop(dropped);
    runtime().block_on(async {
        let result = harness.ac.log_in(&user("carol")).await;
        assert!(matches!(result.unwrap_err(), LoginError::Aborted));
        // Only the wall clock runs, so the status becomes stale by the wall clock.
        harness.clock.shift_wall_clock(20_000);
        assert_eq!(denial_name(harness.request("/0", &alice).await).await, "unavailable");
        let session = harness.ac.sessions(&user("alice")).await.unwrap()[0].id();
        harness.ac.end_session(&user("alice"), &session).await.unwrap();
        assert_eq!(denial_name(harness.request("/0", &alice).await).await, "ended");
        harness.ac.shutdown().await;
    });
    drop(harness);
}
