//! What a layer requires of a login, in paused time: when it is judged, by which clock, and what it
//! leaves alone.

use std::time::Duration;

use http::Request;
use http::request::Parts;
use tower_layer::Layer as _;
use tower_service::Service as _;

use super::harness::{App, Harness, denial_name, reply_ok};
use crate::engine::Session;
use crate::identity::{SessionCredential, UserId};
use crate::layer::ActiveconnectLayer;

const MINUTE: Duration = Duration::from_secs(60);
const MS: Duration = Duration::from_millis(1);
/// As fine as the moment of a login is kept.
const TICK: Duration = Duration::from_millis(16);

/// A service that goes on saying yes, a user who is logged in, and their session.
async fn logged_in() -> (Harness, SessionCredential) {
    let mut stage = Harness::new();
    let credential = stage.log_in("alice").await;
    stage.respond_with(|_, call| reply_ok(call));
    (stage, credential)
}

async fn ask(layer: ActiveconnectLayer, credential: &SessionCredential) -> String {
    let request = Request::get("/0")
        .header("authorization", format!("Bearer {}", credential.expose()))
        .body(())
        .unwrap();
    denial_name(layer.layer(App).call(request).await.unwrap()).await
}

/// Both sides of the limit, with requests in between so that the session stays in use.
#[tokio::test(start_paused = true)]
async fn login_is_too_old_past_max_age() {
    let (stage, credential) = logged_in().await;
    let login = stage.now();
    let layer = || stage.ac.layer().max_age(2 * MINUTE);
    stage.at(login + 40_000).await;
    assert_eq!(ask(layer(), &credential).await, "allowed");
    stage.at(login + 80_000).await;
    assert_eq!(ask(layer(), &credential).await, "allowed");
    tokio::time::sleep(Duration::from_secs(40) - TICK).await;
    assert_eq!(ask(layer(), &credential).await, "allowed", "{}", stage.now() - login);
    tokio::time::sleep(TICK + MS).await;
    assert_eq!(ask(layer(), &credential).await, "step-up", "{}", stage.now() - login);
    assert_eq!(ask(stage.ac.layer(), &credential).await, "allowed", "only where it is required");
    assert_eq!(stage.session(&credential).verdict(), crate::Verdict::Allow);
}

/// The same on the wall clock, which goes on while a machine sleeps; set back it makes no login young.
#[tokio::test(start_paused = true)]
async fn login_is_too_old_by_the_wall_clock() {
    for (jump, after, expected) in [
        (59_900, 0, "allowed"),
        (60_001, 0, "step-up"),
        (-3_600_000, 59_900, "allowed"),
        (-3_600_000, 60_001, "step-up"),
    ] {
        let (stage, credential) = logged_in().await;
        let login = stage.now();
        stage.clock.shift_wall_clock(jump);
        stage.at(login + after).await;
        let said = ask(stage.ac.layer().max_age(MINUTE), &credential).await;
        assert_eq!(said, expected, "{jump} {after}");
    }
}

/// A parked session is asked about first, and judged then.
#[tokio::test(start_paused = true)]
async fn parked_session_is_judged_when_it_is_awake() {
    let (stage, credential) = logged_in().await;
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(ask(stage.ac.layer().max_age(5 * MINUTE), &credential).await, "step-up");
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(ask(stage.ac.layer().max_age(30 * MINUTE), &credential).await, "allowed");
}

/// Judged at the start alone: a stream that has begun outlives it.
#[tokio::test(start_paused = true)]
async fn stream_that_began_in_time_goes_on() {
    let (stage, credential) = logged_in().await;
    let layer = || stage.ac.layer().max_age(MINUTE);
    let request = Request::get("/stream")
        .header("authorization", format!("Bearer {}", credential.expose()))
        .body(())
        .unwrap();
    let response = layer().layer(App).call(request).await.unwrap();
    let mut body = std::pin::pin!(response.into_body());
    let until = stage.now() + 180_000;
    while stage.now() < until {
        let frame = std::future::poll_fn(|cx| http_body::Body::poll_frame(body.as_mut(), cx)).await;
        frame.unwrap().unwrap();
    }
    assert_eq!(ask(layer(), &credential).await, "step-up");
}

/// Where any session of a user will do, one that satisfies the layer is found among those that
/// don't.
#[tokio::test(start_paused = true)]
async fn any_session_means_any_that_satisfies() {
    let mut stage = Harness::new();
    for _ in 0..8 {
        stage.log_in("alice").await;
    }
    // In use, so that none is parked.
    let alice = UserId::from("alice");
    let sessions = stage.ac.engine().sessions.of_user(&alice);
    let guards: Vec<_> = sessions.iter().map(Session::watch).collect();
    let (wants_more, heard) = tokio::sync::oneshot::channel();
    let (mut started, mut wants_more) = (guards.len(), Some(wants_more));
    stage.respond_with(move |_, call| {
        if call.path.starts_with("/authentication/authenticate_user") {
            super::harness::started(call, started);
            started += 1;
            wants_more.take().map(|told| told.send(()));
        } else {
            reply_ok(call);
        }
    });
    tokio::time::sleep(2 * MINUTE).await;
    let ac = stage.ac.with_user_resolver(|_: &Parts| Some("alice".into()));
    let layer = || ac.layer().allow_any_user_session().max_age(MINUTE);
    let nobodys = SessionCredential::parse(&[b'g'; 43]).unwrap();
    assert_eq!(ask(layer(), &nobodys).await, "step-up");
    stage.ac.log_in(&alice).await.unwrap();
    heard.await.unwrap();
    assert_eq!(ask(layer(), &nobodys).await, "allowed");
}
