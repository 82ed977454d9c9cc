//! The idle timeout: which requests count as use, and when an idle session ends.

use crate::events::EndReason;
use crate::events::EventKind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use tower_layer::Layer as _;
use tower_service::Service as _;

use super::harness::{App, Harness, denial_name, next_event, reply_ok, user_event};
use crate::ActiveconnectLayer;
use crate::identity::SessionCredential;
use crate::verdict::Denial;

const TIMEOUT: Duration = Duration::from_secs(40);

/// A harness with an active session of alice, and the times of logouts at the service.
async fn logged_in(timeout: Duration) -> (Harness, SessionCredential, Arc<Mutex<Vec<u64>>>) {
    let mut harness = Harness::with_builder(|builder| builder.idle_timeout(timeout));
    let alice = harness.log_in("alice").await;
    let logouts = Arc::new(Mutex::new(Vec::new()));
    let logout_times = logouts.clone();
    harness.respond_with(move |now, call| {
        if call.path.starts_with("/l/") {
            logout_times.lock().unwrap().push(now);
        }
        reply_ok(call);
    });
    (harness, alice, logouts)
}

async fn send_through(layer: ActiveconnectLayer, credential: &SessionCredential) -> String {
    let request = Request::get("/0")
        .header("authorization", format!("Bearer {}", credential.expose()))
        .body(())
        .unwrap();
    denial_name(layer.layer(App).call(request).await.unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn session_idles_out_after_last_request() {
    let (harness, alice, logouts) = logged_in(TIMEOUT).await;
    let mut events = harness.ac.events();
    for at in [39_999, 60_000, 99_999] {
        harness.advance_to(at).await;
        assert_eq!(harness.send_request(&alice).await, "allowed", "after {at} ms");
    }
    harness.advance_to(139_998).await;
    assert_eq!(harness.session(&alice).verdict(), crate::verdict::Verdict::Allow);
    harness.advance_to(139_999).await;
    assert_eq!(harness.send_request(&alice).await, "ended");
    harness.advance_to(140_100).await;
    let idle = EventKind::Ended { reason: EndReason::Idle };
    assert_eq!(next_event(&mut events).await, Some(user_event("alice", idle)));
    assert_eq!(*logouts.lock().unwrap(), [139_999]);
}

/// A stream keeps its session polled, but does not count as use: the idle timeout cuts it.
#[tokio::test(start_paused = true)]
async fn open_stream_does_not_reset_idle_timeout() {
    // The shorter timeout ends before the first poll.
    for (timeout, opened_at, end) in
        [(TIMEOUT, 10_000, 50_000), (Duration::from_secs(1), 500, 1_500)]
    {
        let (harness, alice, logouts) = logged_in(timeout).await;
        harness.advance_to(opened_at).await;
        let stream = harness.stream(&alice).await;
        assert_eq!(stream.end.await.unwrap(), (end, Denial::Ended));
        harness.advance_to(end + 100).await;
        assert_eq!(*logouts.lock().unwrap(), [end]);
    }
}

#[tokio::test(start_paused = true)]
async fn passive_and_denied_requests_do_not_reset_idle() {
    let (harness, alice, _) = logged_in(TIMEOUT).await;
    let passive = || harness.ac.layer().passive();
    let strict = || harness.ac.layer().require_methods([crate::protocol::AuthMethod::Facial]);
    for at in [10_000, 20_000, 30_000, 39_999] {
        harness.advance_to(at).await;
        assert_eq!(send_through(passive(), &alice).await, "allowed", "after {at} ms");
        assert_eq!(send_through(strict(), &alice).await, "step-up", "after {at} ms");
    }
    harness.advance_to(40_000).await;
    assert_eq!(send_through(passive(), &alice).await, "ended");
    assert_eq!(harness.send_request(&alice).await, "ended");
}

/// The gate denies requests from the timeout on; the next sweep logs out at the service.
#[tokio::test(start_paused = true)]
async fn parked_session_idles_out_on_use_and_sweep() {
    let (harness, alice, logouts) = logged_in(Duration::from_secs(600)).await;
    harness.advance_to(599_999).await;
    assert_eq!(harness.session(&alice).phase(), crate::engine::Phase::Parked);
    assert_eq!(harness.send_request(&alice).await, "allowed");
    harness.advance_to(1_199_999).await;
    assert_eq!(harness.send_request(&alice).await, "ended");
    assert_eq!(harness.send_request(&alice).await, "ended");
    harness.advance_to(1_260_000).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let logouts = logouts.lock().unwrap().clone();
    assert!(matches!(logouts[..], [at] if (1_199_999..=1_260_000).contains(&at)), "{logouts:?}");
}

/// During machine sleep the monotonic clock stops.
#[tokio::test(start_paused = true)]
async fn idle_timeout_uses_the_later_clock() {
    for (jump, expected) in [(29_999, "allowed"), (30_000, "ended"), (-3_600_000, "allowed")] {
        let (harness, alice, _) = logged_in(TIMEOUT).await;
        harness.advance_to(9_000).await;
        assert_eq!(harness.send_request(&alice).await, "allowed");
        harness.advance_to(19_000).await;
        harness.clock.shift_wall_clock(jump);
        assert_eq!(harness.send_request(&alice).await, expected, "{jump}");
    }
}

/// A slow login is not idle: the timeout starts with the claim.
#[tokio::test(start_paused = true)]
async fn idle_timeout_counts_from_the_claim() {
    let mut harness = Harness::with_builder(|builder| builder.idle_timeout(Duration::from_secs(1)));
    let login = harness.spawn_login("alice");
    harness.reply_next_start().await;
    harness.advance_to(20_000).await;
    harness.respond_with(|_, call| reply_ok(call));
    let alice = login.await.unwrap().unwrap();
    let claimed = harness.now();
    harness.advance_to(claimed + 999).await;
    assert_eq!(harness.send_request(&alice).await, "allowed");
    harness.advance_to(claimed + 1_999).await;
    assert_eq!(harness.send_request(&alice).await, "ended");
}

#[tokio::test(start_paused = true)]
async fn no_idle_timeout_by_default() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    harness.respond_with(|_, call| reply_ok(call));
    harness.advance_to(11 * 3_600_000).await;
    assert_eq!(harness.send_request(&alice).await, "allowed");
}

#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn only_gated_routes_reset_idle_timeout() {
    use axum::body::Body;

    for (route, is_use) in
        [("/status", false), ("/events", false), ("/verify", true), ("/sessions", true)]
    {
        let (harness, alice, _) = logged_in(TIMEOUT).await;
        harness.advance_to(30_000).await;
        let mut routes = harness.ac.routes::<()>();
        let request = Request::get(route)
            .header("authorization", format!("Bearer {}", alice.expose()))
            .header("accept", "application/json")
            .body(Body::empty())
            .unwrap();
        // The event stream stays open.
        let response = routes.call(request).await.unwrap();
        assert_eq!(response.status(), 200, "{route}");
        harness.advance_to(40_000).await;
        let result = send_through(harness.ac.layer().passive(), &alice).await;
        assert_eq!(result, if is_use { "allowed" } else { "ended" }, "{route}");
    }
}
