//! How engines begin and end, what they tell meanwhile, and how much they take on.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tower::ServiceExt as _;
use tower_layer::Layer as _;

use super::harness::{
    Harness, StoreBehavior, Told, denial_name, next_event, of, reply_not_found, reply_ok,
    reply_status, started,
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

fn ended(name: &str, reason: EndReason) -> Told {
    of(name, EventKind::Ended { reason })
}

/// What was told so far.
async fn told(events: &mut Events) -> Vec<Told> {
    let mut told = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, next_event(events)).await {
        told.push(event);
    }
    told
}

/// Each thing that happens to a session is told once, with its reason.
#[tokio::test(start_paused = true)]
async fn each_event_is_told_once() {
    let mut stage =
        Harness::with_builder(|builder| builder.session_duration(Duration::from_secs(900)));
    let mut events = stage.ac.events();
    let alice = stage.log_in("alice").await;
    let started = |name| of(name, EventKind::Started);
    assert_eq!(told(&mut events).await, [started("alice")]);
    reply_status(stage.poll_at(5_000).await, Walkaway);
    reply_status(stage.poll_at(10_000).await, Walkaway);
    reply_status(stage.poll_at(15_000).await, Active);
    reply_status(stage.poll_at(20_000).await, Active);
    reply_status(stage.poll_at(25_000).await, Closed);
    stage.at(26_000).await;
    let [suspended, resumed] =
        [EventKind::Suspended, EventKind::Resumed].map(|kind| of("alice", kind));
    let closed = ended("alice", EndReason::Upstream(Closed));
    assert_eq!(told(&mut events).await, [suspended, resumed, closed]);
    assert_eq!(stage.send_request(&alice).await, "ended");
    stage.session(&alice).end(EndReason::LoggedOut);
    assert_eq!(told(&mut events).await, [], "an end is told once");

    let bob = stage.log_in("bob").await;
    let carol = stage.log_in("carol").await;
    told(&mut events).await;
    stage.token_store.set_behavior(StoreBehavior::Changes);
    let _live = [&bob, &carol].map(|credential| stage.session(credential).watch());
    stage.respond_with(|_, call| {
        if call.path == "/s/1" {
            reply_not_found(call);
        } else {
            reply_ok(call);
        }
    });
    stage.at(100_000).await;
    let lost = ended("bob", EndReason::UnknownUpstream);
    assert_eq!(told(&mut events).await, [lost, ended("carol", EndReason::TokenChanged)]);
}

/// An end by age, by a logout, and by the engine's own end.
#[tokio::test(start_paused = true)]
async fn ends_that_begin_here_have_their_reasons() {
    let mut stage =
        Harness::with_builder(|builder| builder.session_duration(Duration::from_secs(20)));
    let mut events = stage.ac.events();
    stage.log_in("alice").await;
    stage.at(1_000).await;
    let bob = stage.log_in("bob").await;
    stage.log_in("carol").await;
    told(&mut events).await;
    stage.respond_with(|_, call| reply_ok(call));
    stage.ac.end_all_sessions(&user("bob")).await.unwrap();
    assert_eq!(told(&mut events).await, [ended("bob", EndReason::LoggedOut)]);
    stage.at(20_500).await;
    assert_eq!(told(&mut events).await, [ended("alice", EndReason::Expired)]);
    stage.ac.shutdown().await;
    assert_eq!(told(&mut events).await, [ended("carol", EndReason::Shutdown)]);
    assert_eq!(events.next().await, None);
    assert_eq!(stage.send_request(&bob).await, "ended");
}

/// A session that was not claimed has not started, and so does not end; a refusal is told.
#[tokio::test(start_paused = true)]
async fn unclaimed_session_sends_no_event() {
    let mut stage = Harness::new();
    let mut events = stage.ac.events();
    let login = stage.spawn_login("alice");
    stage.start().await;
    reply_status(stage.call("/s/").await, Cancelled);
    let refused = login.await.unwrap().unwrap_err();
    assert!(matches!(refused, LoginError::Rejected(Cancelled)));
    let refused = of("alice", EventKind::LoginRefused { status: Cancelled });
    assert_eq!(told(&mut events).await, [refused]);
}

/// A reader that is too slow is told how much it missed; the engine goes on meanwhile.
#[tokio::test(start_paused = true)]
async fn slow_reader_is_told_how_many_it_missed() {
    let stage = Harness::new();
    let mut slow = stage.ac.events();
    let mut fast = stage.ac.events();
    let engine = stage.ac.engine();
    let full = (EventKind::LimitReached(Limit::Attempts), None);
    for _ in 0..3_000 {
        engine.shared.events.send(|| Event::new(full.0, stage.clock.now()));
        assert_eq!(next_event(&mut fast).await, Some(full.clone()));
    }
    let Some((EventKind::Lagged(missed), None)) = next_event(&mut slow).await else {
        panic!("it missed some")
    };
    let mut read = 0;
    for event in told(&mut slow).await {
        assert_eq!(event, full);
        read += 1;
    }
    assert_eq!(missed + read, 3_000);
}

/// T106: as many logins wait as may; one more is refused, and none that waits is given up.
#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn one_login_more_than_may_wait_is_refused() {
    use axum::body::Body;
    use tower_service::Service as _;

    // One place is not for anonymous browsers.
    let mut stage = Harness::with_builder(|builder| builder.max_attempts(4));
    let mut events = stage.ac.events();
    let mut routes = stage.ac.routes::<()>();
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
    let refused = login("dave").await;
    assert_eq!(refused.status(), http::StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "10");
    assert!(refused.headers().get("set-cookie").is_none());
    assert_eq!(told(&mut events).await, [(EventKind::LimitReached(Limit::Attempts), None)]);
    let waiting: Vec<_> = stage.ac.engine().login.attempts.all();
    assert_eq!(waiting.len(), 3);
    let now = stage.clock.now();
    assert!(waiting.iter().all(|attempt| attempt.is_pending(now)));
    // They are told of for a minute more than they wait; then there is room again.
    stage.respond_with(|_, call| {
        call.answer(404, "");
    });
    // A client that never stops is told of once a second.
    for step in 0..10 {
        stage.at(1_000 + step * 400).await;
        assert_eq!(login("dave").await.status(), http::StatusCode::TOO_MANY_REQUESTS);
    }
    let unknown = EventKind::Fault(Fault::Service(ClientErrorKind::UnknownApplication));
    let mut expected = vec![(EventKind::LimitReached(Limit::Attempts), None); 5];
    expected[0].0 = unknown;
    assert_eq!(told(&mut events).await, expected);
    stage.at(119_999).await;
    assert_eq!(login("dave").await.status(), http::StatusCode::TOO_MANY_REQUESTS);
    stage.at(120_001).await;
    assert_eq!(login("dave").await.status(), http::StatusCode::ACCEPTED);
}

#[tokio::test(start_paused = true)]
async fn session_limit_rejects_before_push() {
    let mut stage =
        Harness::with_builder(|builder| builder.max_sessions(3).max_sessions_per_user(2));
    let mut events = stage.ac.events();
    let first = stage.log_in("alice").await;
    stage.log_in("alice").await;
    told(&mut events).await;
    let refused = stage.spawn_login("alice").await.unwrap().unwrap_err();
    assert!(matches!(refused, LoginError::LimitReached(Limit::SessionsPerUser)), "{refused}");
    let bob = stage.log_in("bob").await;
    let refused = stage.spawn_login("carol").await.unwrap().unwrap_err();
    assert!(matches!(refused, LoginError::LimitReached(Limit::Sessions)), "{refused}");
    assert_eq!(stage.send_request(&first).await, "allowed");
    assert_eq!(stage.send_request(&bob).await, "allowed");
    let limits: Vec<_> = told(&mut events).await;
    let hit = |limit| (EventKind::LimitReached(limit), None);
    let started = of("bob", EventKind::Started);
    assert_eq!(limits, [hit(Limit::SessionsPerUser), started, hit(Limit::Sessions)]);
    // An end makes room for that user.
    stage.session(&first).end(EndReason::LoggedOut);
    let refused = stage.spawn_login("alice").await.unwrap().unwrap_err();
    assert!(matches!(refused, LoginError::LimitReached(Limit::Sessions)), "{refused}");
}

/// T129: a shutdown cuts what is open, withdraws what rings, and leaves no task.
#[tokio::test(start_paused = true)]
async fn shutdown_leaves_nothing_behind() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let stream = stage.stream(&alice).await;
    let login = stage.spawn_login("bob");
    stage.start().await;
    reply_status(stage.call("/s/1").await, SessionStatus::Pending);
    let poll = stage.call("/s/1").await;
    let (begun, ac) = (stage.now(), stage.ac.clone());
    let shutdown = tokio::spawn(async move { ac.shutdown().await });
    let logout = stage.call("/l/1").await;
    assert_eq!(stream.end.await.unwrap(), (begun, Denial::Ended));
    assert!(login.await.unwrap().is_err());
    assert!(!shutdown.is_finished());
    reply_ok(logout);
    shutdown.await.unwrap();
    assert_eq!(stage.now(), begun);
    assert!(!reply_status(poll, Active), "the caller has gone");
    assert_eq!(stage.send_request(&alice).await, "ended");
    let refused = stage.spawn_login("carol").await.unwrap().unwrap_err();
    assert!(matches!(refused, LoginError::Aborted));
    stage.ac.shutdown().await;
    stage.at(3_600_000).await;
    assert!(stage.is_quiet().await);
    assert_eq!(stage.ac.engine().open_watches(), 0);
    let service = stage.respond_with(|_, _| {});
    drop(stage);
    service.await.unwrap();
}

/// A service that does not answer holds no shutdown up for longer than 5 s.
#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_five_seconds_at_most() {
    for mood in [StoreBehavior::Names, StoreBehavior::Hangs] {
        let mut stage = Harness::new();
        stage.token_store.set_behavior(mood);
        let login = stage.spawn_login("bob");
        let mut heard = Vec::new();
        stage.respond_with(move |_, call| {
            if call.path.starts_with("/authentication/") {
                started(call, 0);
            } else {
                heard.push(call);
            }
        });
        stage.at(1_000).await;
        let shutdown = tokio::spawn({
            let ac = stage.ac.clone();
            async move { ac.shutdown().await }
        });
        assert!(login.await.unwrap().is_err());
        shutdown.await.unwrap();
        assert!((5_000..=6_000).contains(&stage.now()), "{}", stage.now());
        stage.ac.shutdown().await;
    }
}

/// A request that waits for the poll of a parked session is answered when the engine shuts down.
#[tokio::test(start_paused = true)]
async fn waiting_request_ends_with_the_engine() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let mut unanswered = Vec::new();
    stage.respond_with(move |now, call| {
        if now < 70_000 {
            reply_ok(call);
        } else {
            unanswered.push(call);
        }
    });
    stage.at(200_000).await;
    let request = tokio::spawn(stage.send_request(&alice));
    stage.at(201_000).await;
    assert!(!request.is_finished());
    stage.ac.shutdown().await;
    assert_eq!((request.await.unwrap().as_str(), stage.now()), ("ended", 201_000));
}

/// The caller of a shutdown may give up: then nothing is waited for.
#[tokio::test(start_paused = true)]
async fn shutdown_that_is_given_up_aborts() {
    let mut stage = Harness::new();
    let login = stage.spawn_login("alice");
    let _start = stage.call("/authentication/authenticate_user").await;
    let within = Duration::from_secs(1);
    tokio::time::timeout(within, stage.ac.shutdown()).await.unwrap_err();
    assert!(login.await.unwrap().is_err());
    let service = stage.respond_with(|_, call| {
        call.reset();
    });
    drop(stage);
    service.await.unwrap();
}

/// T131: the last handle that is dropped ends everything, also while polls are on their way.
#[tokio::test(start_paused = true)]
async fn last_handle_leaves_nothing_behind() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let stream = stage.stream(&alice).await;
    let waits = stage.session(&alice);
    let poll = stage.poll_at(5_000).await;
    let service = stage.respond_with(|_, _| {});
    let mut events = stage.ac.events();
    drop(stage);
    service.await.unwrap();
    assert!(!reply_status(poll, Active));
    assert_eq!(stream.end.await.unwrap().1, Denial::Ended);
    assert_eq!(waits.verdict(), crate::session::Verdict::Ended);
    assert_eq!(waits.held_open(), 0);
    assert_eq!(next_event(&mut events).await, Some(ended("alice", EndReason::Shutdown)));
    assert_eq!(events.next().await, None);
}

/// A service may be dropped as soon as it was called, as by `oneshot`, and the last handle with it.
#[tokio::test(start_paused = true)]
async fn engine_runs_as_long_as_a_handler() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let waits = stage.session(&alice);
    let app = tower::service_fn(async |_: Request<()>| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, Infallible>(Response::new(String::from("done")))
    });
    let bearer = format!("Bearer {}", alice.expose());
    let request = Request::get("/").header("authorization", bearer).body(()).unwrap();
    let answer = stage.ac.layer().layer(app).oneshot(request);
    drop(stage);
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(waits.verdict(), crate::session::Verdict::Ended);
}

/// T130: engines of one process know nothing of each other.
#[tokio::test(start_paused = true)]
async fn engines_of_one_process_share_nothing() {
    let (mut one, mut other) = (Harness::new(), Harness::new());
    let alice = one.log_in("alice").await;
    let also_alice = other.log_in("alice").await;
    assert_eq!(other.send_request(&alice).await, "no-session");
    assert_eq!(one.send_request(&also_alice).await, "no-session");
    one.ac.shutdown().await;
    assert_eq!(one.send_request(&alice).await, "ended");
    assert_eq!(other.send_request(&also_alice).await, "allowed");
    reply_status(other.poll_at(5_000).await, Active);
    assert_eq!(other.ac.health().sessions, 1);
    drop(one);
    reply_status(other.poll_at(10_000).await, Active);
    assert_eq!(other.send_request(&also_alice).await, "allowed");
}

/// An engine whose runtime is dropped under it panics nowhere, and lets no request in for longer than
/// what it knows is fresh.
#[test]
fn runtime_that_is_dropped_takes_the_engine_with_it() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let first = runtime();
    let (stage, alice) = first.block_on(async {
        let mut stage = Harness::new();
        let alice = stage.log_in("alice").await;
        let _ringing = stage.spawn_login("bob");
        stage.start().await;
        let _flying = stage.call("/s/1").await;
        (stage, alice)
    });
    drop(first);
    runtime().block_on(async {
        let refused = stage.ac.log_in(&user("carol")).await;
        assert!(matches!(refused.unwrap_err(), LoginError::Aborted));
        // No clock goes on but the wall's; by that the session is over in the end.
        stage.clock.shift_wall_clock(20_000);
        assert_eq!(denial_name(stage.request("/0", &alice).await).await, "unavailable");
        let session = stage.ac.sessions(&user("alice")).await.unwrap()[0].id();
        stage.ac.end_session(&user("alice"), &session).await.unwrap();
        assert_eq!(denial_name(stage.request("/0", &alice).await).await, "ended");
        stage.ac.shutdown().await;
    });
    drop(stage);
}
