//! What goes on without a look at the clocks, and how far.

use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::Full;
use tower::service_fn;
use tower_layer::Layer as _;
use tower_service::Service as _;

use super::harness::{Harness, reply_ok, reply_status};
use crate::identity::SessionCredential;
use crate::protocol::SessionStatus::Closed;

/// Longer ago than anything known may be.
const AGES: i64 = 20_000;

/// A body that always has a frame, but where it is told to wait.
struct Endless {
    given: usize,
    waits_after: Option<usize>,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.waits_after == Some(self.given) {
            self.waits_after = None;
            return Poll::Pending;
        }
        self.given += 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"frame")))))
    }
}

fn ask(credential: &SessionCredential) -> Request<()> {
    let bearer = format!("Bearer {}", credential.expose());
    Request::get("/").header("authorization", bearer).body(()).unwrap()
}

/// A stream, let through.
async fn open(
    stage: &Harness,
    credential: &SessionCredential,
    waits_after: Option<usize>,
) -> Pin<Box<dyn Body<Data = Bytes, Error = crate::layer::BoxError>>> {
    let app = service_fn(|_| {
        ready(Ok::<_, Infallible>(Response::new(Endless { given: 0, waits_after })))
    });
    Box::pin(stage.ac.layer().layer(app).call(ask(credential)).await.unwrap().into_body())
}

/// How many frames come before it waits or is cut, of so many.
fn frames<B: Body + ?Sized>(body: &mut Pin<Box<B>>, most: usize) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    let mut give = || matches!(body.as_mut().poll_frame(&mut cx), Poll::Ready(Some(Ok(_))));
    (0..most).take_while(|_| give()).count()
}

/// A process that was stopped goes on before its poller does. T112: both clocks are asked again
/// after a few frames.
#[tokio::test(start_paused = true)]
async fn at_most_seven_frames_per_clock_check() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    for before in 0..20 {
        let mut stream = open(&stage, &alice, None).await;
        assert_eq!(frames(&mut stream, before), before);
        stage.clock.shift_wall_clock(AGES);
        let after = frames(&mut stream, 100);
        assert!(after <= 7, "{after} frames, after {before}");
        stage.clock.shift_wall_clock(-AGES);
        assert_eq!(frames(&mut stream, 100), 100, "it was only held");
    }
}

/// What waits may wait for long: the clocks are asked before it goes on.
#[tokio::test(start_paused = true)]
async fn no_frame_after_wait_without_clock_check() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    for before in 0..20 {
        let mut stream = open(&stage, &alice, Some(before)).await;
        assert_eq!(frames(&mut stream, 100), before);
        stage.clock.shift_wall_clock(AGES);
        assert_eq!(frames(&mut stream, 100), 0, "after {before}");
        stage.clock.shift_wall_clock(-AGES);
    }
}

/// The poller says when what is known has grown too old, for those who do not look themselves.
#[tokio::test(start_paused = true)]
async fn no_frame_after_published_staleness() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let _poll = stage.poll_at(5_000).await;
    let mut stream = open(&stage, &alice, None).await;
    assert_eq!(frames(&mut stream, 1), 1);
    // Of the poll that said so when alice logged in.
    stage.at(14_999).await;
    assert_eq!(frames(&mut stream, 1), 1);
    stage.at(15_000).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(frames(&mut stream, 100), 0);
}

/// Nor when the session ended.
#[tokio::test(start_paused = true)]
async fn no_frame_follows_an_end() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let mut stream = open(&stage, &alice, None).await;
    assert_eq!(frames(&mut stream, 1), 1);
    reply_status(stage.poll_at(5_000).await, Closed);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(frames(&mut stream, 100), 0);
}

/// A body that has given all it has is neither cut nor held back when it is asked once more.
#[tokio::test(start_paused = true)]
async fn buffered_body_is_not_terminated() {
    for ended in [true, false] {
        let mut stage = Harness::new();
        let alice = stage.log_in("alice").await;
        let app = service_fn(|_| {
            let body = Full::new(Bytes::from_static(b"whole"));
            ready(Ok::<_, Infallible>(Response::new(body)))
        });
        let answer = stage.ac.layer().layer(app).call(ask(&alice)).await.unwrap();
        let mut body = Box::pin(answer.into_body());
        assert_eq!(frames(&mut body, 1), 1);
        if ended {
            reply_status(stage.poll_at(5_000).await, Closed);
            tokio::time::sleep(Duration::from_millis(1)).await;
        } else {
            stage.clock.shift_wall_clock(AGES);
        }
        let end = poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
        assert!(end.is_none(), "{end:?}");
    }
}

/// A handler may take its time without ever waiting; its answer is held against the clocks.
#[tokio::test(start_paused = true)]
async fn answer_is_as_old_as_its_handler_was_slow() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let clock = stage.clock.clone();
    let app = service_fn(move |_| {
        let clock = clock.clone();
        async move {
            clock.shift_wall_clock(AGES);
            Ok::<_, Infallible>(Response::new(Endless { given: 0, waits_after: None }))
        }
    });
    let layer = stage.ac.layer().hold_limit(Duration::ZERO);
    let answer = layer.layer(app).call(ask(&alice)).await.unwrap();
    assert_eq!(answer.status(), 503);
}

/// A request that was let in, and whose session ended or grew old before it was looked at again,
/// begins nothing.
#[tokio::test(start_paused = true)]
async fn no_handler_begins_for_a_session_that_is_over() {
    for closed in [true, false] {
        let mut stage = Harness::new();
        let alice = stage.log_in("alice").await;
        let app = service_fn(|_| async {
            let began = true;
            assert!(!began, "the handler began");
            Ok::<_, Infallible>(Response::new(Endless { given: 0, waits_after: None }))
        });
        let answer = stage.ac.layer().layer(app).call(ask(&alice));
        let mut answer = pin!(answer);
        let poll = stage.poll_at(5_000).await;
        if closed {
            reply_status(poll, Closed);
        } else {
            stage.at(15_000).await;
            drop(poll);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        let status = answer.as_mut().await.unwrap().status();
        assert_eq!(status, if closed { 401 } else { 503 });
    }
}

/// What is known afresh lets what was held go on.
#[tokio::test(start_paused = true)]
async fn good_poll_resumes_stale_stream() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let mut stream = open(&stage, &alice, None).await;
    stage.respond_with(|now, call| if now > 15_000 { reply_ok(call) } else { _ = call.reset() });
    stage.at(15_001).await;
    assert_eq!(frames(&mut stream, 1), 0);
    stage.at(25_000).await;
    assert_eq!(frames(&mut stream, 100), 100);
}
