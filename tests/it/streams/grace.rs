//! Handlers that still run when their session ends, and those who produce what nobody may have.

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

use super::stage::{BOUND, Caller, Over, Stage, unix_ms};
use crate::support::{pass, serve, until};

/// What a handler tells of itself.
#[derive(Clone, Default)]
struct Work {
    begun: Arc<AtomicBool>,
    done: Arc<AtomicBool>,
    dropped: Arc<AtomicBool>,
}

struct TellsDrop(Arc<AtomicBool>);

impl Drop for TellsDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// One who asks a handler that works until it is told; the session ends in the middle.
struct Interrupted {
    stage: Stage,
    alice: Caller,
    work: Work,
    go: watch::Sender<bool>,
    answer: tokio::task::JoinHandle<reqwest::Response>,
}

impl Interrupted {
    async fn of(over: Over, grace: Option<Duration>) -> Self {
        let stage = Stage::of(
            |engine| engine,
            |layer| match grace {
                Some(grace) => layer.grace(grace),
                None => layer,
            },
        )
        .await;
        let alice = stage.log_in("alice").await;
        let (go, told) = watch::channel(false);
        let work = Work::default();
        let works = work.clone();
        let handler = async move || {
            let _tells = TellsDrop(works.dropped.clone());
            works.begun.store(true, Ordering::Release);
            told.clone().wait_for(|told| *told).await.unwrap();
            works.done.store(true, Ordering::Release);
            ([("x-result", "secret")], "secret")
        };
        let app = Router::new().route("/work", get(handler)).layer(stage.layer.clone());
        let caller = alice.at(serve(app).await);
        let asked = caller.get(over, "/work").send();
        let answer = tokio::spawn(async { asked.await.unwrap() });
        until("it works", async || work.begun.load(Ordering::Acquire).then_some(())).await;
        stage.act(&alice, Action::Close);
        Self { stage, alice, work, go, answer }
    }

    /// Nothing of the handler's answer leaves.
    async fn denied(self) -> (bool, u64) {
        let patience = Duration::from_secs(20);
        let answer = tokio::time::timeout(patience, self.answer).await.expect("no answer").unwrap();
        assert_eq!(answer.status(), 401);
        assert!(!answer.headers().contains_key("x-result"));
        assert!(!answer.text().await.unwrap().contains("secret"));
        assert!(self.work.dropped.load(Ordering::Acquire));
        let took = unix_ms() - self.stage.report(&self.alice).ended_at.unwrap();
        (self.work.done.load(Ordering::Acquire), took)
    }
}

/// T092.
#[tokio::test]
async fn handler_finishes_within_grace() {
    for over in [Over::Http1, Over::Http2] {
        let interrupted = Interrupted::of(over, None).await;
        interrupted.stage.answers(&interrupted.alice, 401).await;
        assert!(!interrupted.work.dropped.load(Ordering::Acquire));
        interrupted.go.send_replace(true);
        assert!(interrupted.denied().await.0);
    }
}

/// T092.
#[tokio::test]
async fn work_is_dropped_when_the_grace_is_over() {
    for grace in [Duration::ZERO, Duration::from_millis(700)] {
        let interrupted = Interrupted::of(Over::Http1, Some(grace)).await;
        let (done, took) = interrupted.denied().await;
        assert!(!done);
        let took = Duration::from_millis(took);
        assert!(grace <= took && took <= BOUND + grace, "{took:?} of {grace:?}");
    }
}

/// T092: nobody waits for them to give up.
#[tokio::test]
async fn producer_sees_dropped_stream() {
    let stage = Stage::of(|engine| engine, |layer| layer).await;
    let alice = stage.log_in("alice").await;
    let (gone, mut is_gone) = watch::channel(0);
    let gone = Arc::new(gone);
    let handler = async move || {
        let (send, receive) = mpsc::channel::<&str>(1);
        tokio::spawn(async move {
            send.send("first").await.unwrap();
            send.closed().await;
            gone.send_modify(|gone| *gone += 1);
        });
        Body::from_stream(stream::unfold(receive, |mut receive| async {
            Some((Ok::<_, Infallible>(receive.recv().await?), receive))
        }))
    };
    let app = Router::new().route("/", get(handler)).layer(stage.layer.clone());
    let caller = alice.at(serve(app).await);
    let mut answers = Vec::new();
    for over in [Over::Http1, Over::Http2] {
        let mut answer = caller.get(over, "/").send().await.unwrap();
        assert_eq!(answer.chunk().await.unwrap().unwrap(), "first");
        answers.push(answer);
    }
    stage.act(&alice, Action::Close);
    // Before the client does anything about it.
    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, is_gone.wait_for(|gone| *gone == 2)).await.unwrap().unwrap();
}

/// T084: a session that panics had a part in is parked like any other.
#[tokio::test]
async fn panics_leave_no_guard() {
    let five = Duration::from_secs(5);
    let stage = Stage::of(|engine| engine.poll_interval(five), |layer| layer).await;
    let alice = stage.log_in("alice").await;
    async fn at_once(_: ActiveSession) -> &'static str {
        tokio::task::yield_now().await;
        panic!("as it is to")
    }
    let later = async || {
        let first = stream::once(async { Ok::<_, Infallible>("first") });
        let panics = stream::once(async { panic!("as it is to") });
        Body::from_stream(first.chain(panics))
    };
    let app = Router::new().route("/at-once", get(at_once)).route("/later", get(later));
    let caller = alice.at(serve(app.layer(stage.layer.clone())).await);
    for path in ["/at-once", "/later"] {
        for _ in 0..10 {
            let answer = caller.get(Over::Http1, path).send().await;
            let whole = match answer {
                Ok(answer) => answer.text().await,
                Err(error) => Err(error),
            };
            assert!(whole.is_err(), "{path}");
        }
    }
    pass(Duration::from_secs(130), five).await;
    let polls = stage.emulator.state().calls.status;
    pass(Duration::from_secs(60), five).await;
    assert_eq!(stage.emulator.state().calls.status, polls, "something keeps it live");
}
