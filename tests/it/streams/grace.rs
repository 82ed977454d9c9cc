//! Handlers that run when their session ends, and producers of streams that are cut.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use activeconnect_emulator::Action;
use axum::Router;
use axum::body::Body;
use axum::routing::get;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tower_activeconnect::ActiveSession;

use super::fixture::{BOUND, Fixture, Transport, UserClient, unix_ms};
use crate::support::{advance, poll_until, serve};

/// Reports the progress of a handler.
#[derive(Clone, Default)]
struct Work {
    started_at: Arc<AtomicBool>,
    done: Arc<AtomicBool>,
    dropped: Arc<AtomicBool>,
}

struct DropSignal(Arc<AtomicBool>);

impl Drop for DropSignal {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A request whose session ends while the handler runs.
struct Interrupted {
    fixture: Fixture,
    alice: UserClient,
    work: Work,
    go: watch::Sender<bool>,
    response: tokio::task::JoinHandle<reqwest::Response>,
}

impl Interrupted {
    async fn of(transport: Transport, grace: Option<Duration>) -> Self {
        let fixture = Fixture::of(
            |engine| engine,
            |layer| match grace {
                Some(grace) => layer.grace(grace),
                None => layer,
            },
        )
        .await;
        let alice = fixture.log_in("alice").await;
        let (go, reported) = watch::channel(false);
        let work = Work::default();
        let works = work.clone();
        let handler = async move || {
            let _tells = DropSignal(works.dropped.clone());
            works.started_at.store(true, Ordering::Release);
            reported.clone().wait_for(|reported| *reported).await.unwrap();
            works.done.store(true, Ordering::Release);
            ([("x-result", "secret")], "secret")
        };
        let app = Router::new().route("/work", get(handler)).layer(fixture.layer.clone());
        let user_client = alice.at(serve(app).await);
        let response = user_client.get(transport, "/work").send();
        let response = tokio::spawn(async { response.await.unwrap() });
        poll_until("it works", async || work.started_at.load(Ordering::Acquire).then_some(()))
            .await;
        fixture.act(&alice, Action::Close);
        Self { fixture, alice, work, go, response }
    }

    /// The denial; asserts that no part of the handler's response is sent.
    async fn denied(self) -> (bool, u64) {
        let patience = Duration::from_secs(20);
        let response = tokio::time::timeout(patience, self.response)
            .await
            .expect("the handler responds in time")
            .unwrap();
        assert_eq!(response.status(), 401);
        assert!(!response.headers().contains_key("x-result"));
        assert!(!response.text().await.unwrap().contains("secret"));
        assert!(self.work.dropped.load(Ordering::Acquire));
        let took = unix_ms() - self.fixture.report(&self.alice).ended_at.unwrap();
        (self.work.done.load(Ordering::Acquire), took)
    }
}

/// T092
#[tokio::test]
async fn handler_finishes_within_grace() {
    for transport in [Transport::Http1, Transport::Http2] {
        let interrupted = Interrupted::of(transport, None).await;
        interrupted.fixture.responses(&interrupted.alice, 401).await;
        assert!(!interrupted.work.dropped.load(Ordering::Acquire));
        interrupted.go.send_replace(true);
        assert!(interrupted.denied().await.0);
    }
}

/// T092
#[tokio::test]
async fn handler_is_dropped_after_grace() {
    for grace in [Duration::ZERO, Duration::from_millis(700)] {
        let interrupted = Interrupted::of(Transport::Http1, Some(grace)).await;
        let (done, took) = interrupted.denied().await;
        assert!(!done);
        let took = Duration::from_millis(took);
        assert!(grace <= took && took <= BOUND + grace, "{took:?} of {grace:?}");
    }
}

/// T092: producers are not waited for.
#[tokio::test]
async fn producer_sees_dropped_stream() {
    let fixture = Fixture::of(|engine| engine, |layer| layer).await;
    let alice = fixture.log_in("alice").await;
    let (dropped, mut is_gone) = watch::channel(0);
    let dropped = Arc::new(dropped);
    let handler = async move || {
        let (send, receive) = mpsc::channel::<&str>(1);
        tokio::spawn(async move {
            send.send("first").await.unwrap();
            send.closed().await;
            dropped.send_modify(|dropped| *dropped += 1);
        });
        Body::from_stream(stream::unfold(receive, |mut receive| async {
            Some((Ok::<_, Infallible>(receive.recv().await?), receive))
        }))
    };
    let app = Router::new().route("/", get(handler)).layer(fixture.layer.clone());
    let user_client = alice.at(serve(app).await);
    let mut responses = Vec::new();
    for transport in [Transport::Http1, Transport::Http2] {
        let mut response = user_client.get(transport, "/").send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "first");
        responses.push(response);
    }
    fixture.act(&alice, Action::Close);
    // Before the client reacts.
    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, is_gone.wait_for(|dropped| *dropped == 2))
        .await
        .unwrap()
        .unwrap();
}

/// T084: after panics of its handlers a session is parked as usual.
#[tokio::test]
async fn panics_leak_no_guard() {
    let five = Duration::from_secs(5);
    let fixture = Fixture::of(|engine| engine.poll_interval(five), |layer| layer).await;
    let alice = fixture.log_in("alice").await;
    async fn at_once(_: ActiveSession) -> &'static str {
        tokio::task::yield_now().await;
        panic!("the session is parked")
    }
    let later = async || {
        let first = stream::once(async { Ok::<_, Infallible>("first") });
        let panics = stream::once(async { panic!("the session is parked") });
        Body::from_stream(first.chain(panics))
    };
    let app = Router::new().route("/at-once", get(at_once)).route("/later", get(later));
    let user_client = alice.at(serve(app.layer(fixture.layer.clone())).await);
    for path in ["/at-once", "/later"] {
        for _ in 0..10 {
            let response = user_client.get(Transport::Http1, path).send().await;
            let is_complete = match response {
                Ok(response) => response.text().await,
                Err(error) => Err(error),
            };
            assert!(is_complete.is_err(), "{path}");
        }
    }
    advance(Duration::from_secs(130), five).await;
    let polls = fixture.emulator.state().calls.status;
    advance(Duration::from_secs(60), five).await;
    assert_eq!(fixture.emulator.state().calls.status, polls, "something keeps it live");
}
