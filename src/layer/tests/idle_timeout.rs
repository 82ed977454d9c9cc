//! Sessions that are not used, in paused time: what counts as a use, and when and where they end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use tower_layer::Layer as _;
use tower_service::Service as _;

use super::harness::{App, Harness, denial_name, next_event, of, reply_ok};
use crate::identity::SessionCredential;
use crate::layer::ActiveconnectLayer;
use crate::verdict::Denial;
use crate::{EndReason, EventKind};

const TIMEOUT: Duration = Duration::from_secs(40);

/// Alice has just logged in; the service goes on saying yes, and is logged out at when it is told.
async fn logged_in(timeout: Duration) -> (Harness, SessionCredential, Arc<Mutex<Vec<u64>>>) {
    let mut stage = Harness::with_builder(|builder| builder.idle_timeout(timeout));
    let alice = stage.log_in("alice").await;
    let logouts = Arc::new(Mutex::new(Vec::new()));
    let told = logouts.clone();
    stage.respond_with(move |now, call| {
        if call.path.starts_with("/l/") {
            told.lock().unwrap().push(now);
        }
        reply_ok(call);
    });
    (stage, alice, logouts)
}

async fn ask(layer: ActiveconnectLayer, credential: &SessionCredential) -> String {
    let request = Request::get("/0")
        .header("authorization", format!("Bearer {}", credential.expose()))
        .body(())
        .unwrap();
    denial_name(layer.layer(App).call(request).await.unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn session_idles_out_after_last_request() {
    let (stage, alice, logouts) = logged_in(TIMEOUT).await;
    let mut events = stage.ac.events();
    for at in [39_999, 60_000, 99_999] {
        stage.at(at).await;
        assert_eq!(stage.send_request(&alice).await, "allowed", "after {at} ms");
    }
    stage.at(139_998).await;
    assert_eq!(stage.session(&alice).verdict(), crate::Verdict::Allow);
    stage.at(139_999).await;
    assert_eq!(stage.send_request(&alice).await, "ended");
    stage.at(140_100).await;
    let idle = EventKind::Ended { reason: EndReason::Idle };
    assert_eq!(next_event(&mut events).await, Some(of("alice", idle)));
    assert_eq!(*logouts.lock().unwrap(), [139_999]);
}

/// A stream keeps its session polled, but is no use of it: it is cut at the very moment.
#[tokio::test(start_paused = true)]
async fn open_stream_is_no_use() {
    // The shorter one is over before the session is polled for the first time.
    for (timeout, begun, end) in [(TIMEOUT, 10_000, 50_000), (Duration::from_secs(1), 500, 1_500)] {
        let (stage, alice, logouts) = logged_in(timeout).await;
        stage.at(begun).await;
        let stream = stage.stream(&alice).await;
        assert_eq!(stream.end.await.unwrap(), (end, Denial::Ended));
        stage.at(end + 100).await;
        assert_eq!(*logouts.lock().unwrap(), [end]);
    }
}

#[tokio::test(start_paused = true)]
async fn passive_layers_and_refusals_are_no_use() {
    let (stage, alice, _) = logged_in(TIMEOUT).await;
    let passive = || stage.ac.layer().passive();
    let too_careful = || stage.ac.layer().require_methods([crate::AuthMethod::Facial]);
    for at in [10_000, 20_000, 30_000, 39_999] {
        stage.at(at).await;
        assert_eq!(ask(passive(), &alice).await, "allowed", "after {at} ms");
        assert_eq!(ask(too_careful(), &alice).await, "step-up", "after {at} ms");
    }
    stage.at(40_000).await;
    assert_eq!(ask(passive(), &alice).await, "ended");
    assert_eq!(stage.send_request(&alice).await, "ended");
}

/// It lets nothing in from that moment on; the next sweep logs it out at the service.
#[tokio::test(start_paused = true)]
async fn parked_session_ends_at_its_use_and_by_the_sweep() {
    let (stage, alice, logouts) = logged_in(Duration::from_secs(600)).await;
    stage.at(599_999).await;
    assert_eq!(stage.session(&alice).phase(), crate::engine::Phase::Parked);
    assert_eq!(stage.send_request(&alice).await, "allowed");
    stage.at(1_199_999).await;
    assert_eq!(stage.send_request(&alice).await, "ended");
    assert_eq!(stage.send_request(&alice).await, "ended");
    stage.at(1_260_000).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let logouts = logouts.lock().unwrap().clone();
    assert!(matches!(logouts[..], [at] if (1_199_999..=1_260_000).contains(&at)), "{logouts:?}");
}

/// A machine that slept: its monotonic clock stood still.
#[tokio::test(start_paused = true)]
async fn timeout_counts_on_the_clock_that_says_longer() {
    for (jump, expected) in [(29_999, "allowed"), (30_000, "ended"), (-3_600_000, "allowed")] {
        let (stage, alice, _) = logged_in(TIMEOUT).await;
        stage.at(9_000).await;
        assert_eq!(stage.send_request(&alice).await, "allowed");
        stage.at(19_000).await;
        stage.clock.shift_wall_clock(jump);
        assert_eq!(stage.send_request(&alice).await, expected, "{jump}");
    }
}

/// A slow login is not idle: it counts from the claim.
#[tokio::test(start_paused = true)]
async fn timeout_counts_from_the_claim() {
    let mut stage = Harness::with_builder(|builder| builder.idle_timeout(Duration::from_secs(1)));
    let login = stage.spawn_login("alice");
    stage.start().await;
    stage.at(20_000).await;
    stage.respond_with(|_, call| reply_ok(call));
    let alice = login.await.unwrap().unwrap();
    let claimed = stage.now();
    stage.at(claimed + 999).await;
    assert_eq!(stage.send_request(&alice).await, "allowed");
    stage.at(claimed + 1_999).await;
    assert_eq!(stage.send_request(&alice).await, "ended");
}

#[tokio::test(start_paused = true)]
async fn without_a_timeout_no_session_is_idle() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    stage.respond_with(|_, call| reply_ok(call));
    stage.at(11 * 3_600_000).await;
    assert_eq!(stage.send_request(&alice).await, "allowed");
}

#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn of_the_routes_those_behind_the_gate_are_a_use() {
    use axum::body::Body;

    for (route, is_use) in
        [("/status", false), ("/events", false), ("/verify", true), ("/sessions", true)]
    {
        let (stage, alice, _) = logged_in(TIMEOUT).await;
        stage.at(30_000).await;
        let mut routes = stage.ac.routes::<()>();
        let request = Request::get(route)
            .header("authorization", format!("Bearer {}", alice.expose()))
            .header("accept", "application/json")
            .body(Body::empty())
            .unwrap();
        // The stream stays open.
        let response = routes.call(request).await.unwrap();
        assert_eq!(response.status(), 200, "{route}");
        stage.at(40_000).await;
        let said = ask(stage.ac.layer().passive(), &alice).await;
        assert_eq!(said, if is_use { "allowed" } else { "ended" }, "{route}");
    }
}
