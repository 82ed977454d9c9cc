//! A layer's `max_age` requirement: when the gate checks it, and on which clock.

use std::time::Duration;

use http::Request;
use http::request::Parts;
use tower_layer::Layer as _;
use tower_service::Service as _;

use super::harness::{App, Harness, denial_name, reply_ok};
use crate::ActiveconnectLayer;
use crate::engine::Session;
use crate::identity::{SessionCredential, UserId};

const MINUTE: Duration = Duration::from_secs(60);
const MS: Duration = Duration::from_millis(1);
/// The resolution of the stored login time.
const CLAIM_TICK: Duration = Duration::from_millis(16);

/// A harness with an active session, and its credential.
async fn logged_in() -> (Harness, SessionCredential) {
    let mut harness = Harness::new();
    let credential = harness.log_in("alice").await;
    harness.respond_with(|_, call| reply_ok(call));
    (harness, credential)
}

async fn send_through(layer: ActiveconnectLayer, credential: &SessionCredential) -> String {
    let request = Request::get("/0")
        .header("authorization", format!("Bearer {}", credential.expose()))
        .body(())
        .unwrap();
    denial_name(layer.layer(App).call(request).await.unwrap()).await
}

/// Just before and after the limit, with requests in between so that the session stays in use.
#[tokio::test(start_paused = true)]
async fn max_age_expires_on_monotonic_clock() {
    let (harness, credential) = logged_in().await;
    let login = harness.now();
    let layer = || harness.ac.layer().max_age(2 * MINUTE);
    harness.advance_to(login + 40_000).await;
    assert_eq!(send_through(layer(), &credential).await, "allowed");
    harness.advance_to(login + 80_000).await;
    assert_eq!(send_through(layer(), &credential).await, "allowed");
    tokio::time::sleep(Duration::from_secs(40) - CLAIM_TICK).await;
    assert_eq!(send_through(layer(), &credential).await, "allowed", "{}", harness.now() - login);
    tokio::time::sleep(CLAIM_TICK + MS).await;
    assert_eq!(send_through(layer(), &credential).await, "step-up", "{}", harness.now() - login);
    assert_eq!(
        send_through(harness.ac.layer(), &credential).await,
        "allowed",
        "a layer without a maximum age"
    );
    assert_eq!(harness.session(&credential).verdict(), crate::verdict::Verdict::Allow);
}

/// The same on the wall clock, which runs during machine sleep. Setting it back makes no login younger.
#[tokio::test(start_paused = true)]
async fn max_age_expires_on_wall_clock() {
    for (jump, after, expected) in [
        (59_900, 0, "allowed"),
        (60_001, 0, "step-up"),
        (-3_600_000, 59_900, "allowed"),
        (-3_600_000, 60_001, "step-up"),
    ] {
        let (harness, credential) = logged_in().await;
        let login = harness.now();
        harness.clock.shift_wall_clock(jump);
        harness.advance_to(login + after).await;
        let result = send_through(harness.ac.layer().max_age(MINUTE), &credential).await;
        assert_eq!(result, expected, "{jump} {after}");
    }
}

/// A parked session is polled first; then the gate checks the age.
#[tokio::test(start_paused = true)]
async fn max_age_is_checked_after_resume() {
    let (harness, credential) = logged_in().await;
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(send_through(harness.ac.layer().max_age(5 * MINUTE), &credential).await, "step-up");
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(send_through(harness.ac.layer().max_age(30 * MINUTE), &credential).await, "allowed");
}

/// The gate checks the age only at the start of a request.
#[tokio::test(start_paused = true)]
async fn open_stream_outlasts_max_age() {
    let (harness, credential) = logged_in().await;
    let layer = || harness.ac.layer().max_age(MINUTE);
    let request = Request::get("/stream")
        .header("authorization", format!("Bearer {}", credential.expose()))
        .body(())
        .unwrap();
    let response = layer().layer(App).call(request).await.unwrap();
    let mut body = std::pin::pin!(response.into_body());
    let end = harness.now() + 180_000;
    while harness.now() < end {
        let frame = std::future::poll_fn(|cx| http_body::Body::poll_frame(body.as_mut(), cx)).await;
        frame.unwrap().unwrap();
    }
    assert_eq!(send_through(layer(), &credential).await, "step-up");
}

/// With `allow_any_user_session` the gate finds a session that satisfies the layer among those that
/// don't.
#[tokio::test(start_paused = true)]
async fn any_user_session_must_satisfy_the_layer() {
    let mut harness = Harness::new();
    for _ in 0..8 {
        harness.log_in("alice").await;
    }
    // Watchers keep the sessions in use, so that none is parked.
    let alice = UserId::from("alice");
    let sessions = harness.ac.engine().sessions.of_user(&alice);
    let guards: Vec<_> = sessions.iter().map(Session::watch).collect();
    let (push_sender, push_receiver) = tokio::sync::oneshot::channel();
    let (mut session_count, mut push_sender) = (guards.len(), Some(push_sender));
    harness.respond_with(move |_, call| {
        if call.path.starts_with("/authentication/authenticate_user") {
            super::harness::reply_started(call, session_count);
            session_count += 1;
            push_sender.take().map(|sender| sender.send(()));
        } else {
            reply_ok(call);
        }
    });
    tokio::time::sleep(2 * MINUTE).await;
    let ac = harness.ac.with_user_resolver(|_: &Parts| Some("alice".into()));
    let layer = || ac.layer().allow_any_user_session().max_age(MINUTE);
    let unknown = SessionCredential::parse(&[b'g'; 43]).unwrap();
    assert_eq!(send_through(layer(), &unknown).await, "step-up");
    harness.ac.log_in(&alice).await.unwrap();
    push_receiver.await.unwrap();
    assert_eq!(send_through(layer(), &unknown).await, "allowed");
}
