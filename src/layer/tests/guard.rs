//! How many read_frames the guard passes between two clock checks.

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

/// Longer than the staleness limit, in milliseconds.
const PAST_STALENESS_MS: i64 = 20_000;

/// An endless body that is always ready, except once after `pending_after` read_frames.
struct EndlessBody {
    sent: usize,
    pending_after: Option<usize>,
}

impl Body for EndlessBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.pending_after == Some(self.sent) {
            self.pending_after = None;
            return Poll::Pending;
        }
        self.sent += 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"frame")))))
    }
}

fn request(credential: &SessionCredential) -> Request<()> {
    let bearer = format!("Bearer {}", credential.expose());
    Request::get("/").header("authorization", bearer).body(()).unwrap()
}

async fn open_stream(
    harness: &Harness,
    credential: &SessionCredential,
    pending_after: Option<usize>,
) -> Pin<Box<dyn Body<Data = Bytes, Error = crate::layer::BoxError>>> {
    let app = service_fn(|_| {
        ready(Ok::<_, Infallible>(Response::new(EndlessBody { sent: 0, pending_after })))
    });
    Box::pin(harness.ac.layer().layer(app).call(request(credential)).await.unwrap().into_body())
}

/// Reads up to `max` read_frames; returns the number that are ready before the body is pending or cut.
fn read_frames<B: Body + ?Sized>(body: &mut Pin<Box<B>>, max: usize) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    let mut is_frame = || matches!(body.as_mut().poll_frame(&mut cx), Poll::Ready(Some(Ok(_))));
    (0..max).take_while(|_| is_frame()).count()
}

/// T112: after a process stop a stream may resume before the poller does. The guard reads both clocks
/// again after a few read_frames.
#[tokio::test(start_paused = true)]
async fn at_most_seven_frames_per_clock_check() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    for before in 0..20 {
        let mut stream = open_stream(&harness, &alice, None).await;
        assert_eq!(read_frames(&mut stream, before), before);
        harness.clock.shift_wall_clock(PAST_STALENESS_MS);
        let after = read_frames(&mut stream, 100);
        assert!(after <= 7, "{after} frames, after {before}");
        harness.clock.shift_wall_clock(-PAST_STALENESS_MS);
        assert_eq!(read_frames(&mut stream, 100), 100, "the stream was held, not cut");
    }
}

/// After a pending body the guard reads the clocks before the next frame.
#[tokio::test(start_paused = true)]
async fn no_frame_after_wait_without_clock_check() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    for before in 0..20 {
        let mut stream = open_stream(&harness, &alice, Some(before)).await;
        assert_eq!(read_frames(&mut stream, 100), before);
        harness.clock.shift_wall_clock(PAST_STALENESS_MS);
        assert_eq!(read_frames(&mut stream, 100), 0, "after {before}");
        harness.clock.shift_wall_clock(-PAST_STALENESS_MS);
    }
}

/// The poller publishes staleness for streams between two clock checks.
#[tokio::test(start_paused = true)]
async fn no_frame_after_published_staleness() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let _poll = harness.next_poll_at(5_000).await;
    let mut stream = open_stream(&harness, &alice, None).await;
    assert_eq!(read_frames(&mut stream, 1), 1);
    // 15 s after the poll of alice's login.
    harness.advance_to(14_999).await;
    assert_eq!(read_frames(&mut stream, 1), 1);
    harness.advance_to(15_000).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(read_frames(&mut stream, 100), 0);
}

#[tokio::test(start_paused = true)]
async fn no_frame_after_session_end() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let mut stream = open_stream(&harness, &alice, None).await;
    assert_eq!(read_frames(&mut stream, 1), 1);
    reply_status(harness.next_poll_at(5_000).await, Closed);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(read_frames(&mut stream, 100), 0);
}

/// The end of a buffered body is neither held nor cut.
#[tokio::test(start_paused = true)]
async fn buffered_body_is_not_terminated() {
    for ended in [true, false] {
        let mut harness = Harness::new();
        let alice = harness.log_in("alice").await;
        let app = service_fn(|_| {
            let body = Full::new(Bytes::from_static(b"whole"));
            ready(Ok::<_, Infallible>(Response::new(body)))
        });
        let response = harness.ac.layer().layer(app).call(request(&alice)).await.unwrap();
        let mut body = Box::pin(response.into_body());
        assert_eq!(read_frames(&mut body, 1), 1);
        if ended {
            reply_status(harness.next_poll_at(5_000).await, Closed);
            tokio::time::sleep(Duration::from_millis(1)).await;
        } else {
            harness.clock.shift_wall_clock(PAST_STALENESS_MS);
        }
        let end = poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
        assert!(end.is_none(), "{end:?}");
    }
}

/// The gate checks the clocks after a handler that blocks without yielding.
#[tokio::test(start_paused = true)]
async fn response_is_checked_after_slow_handler() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let clock = harness.clock.clone();
    let app = service_fn(move |_| {
        let clock = clock.clone();
        async move {
            clock.shift_wall_clock(PAST_STALENESS_MS);
            Ok::<_, Infallible>(Response::new(EndlessBody { sent: 0, pending_after: None }))
        }
    });
    let layer = harness.ac.layer().hold_limit(Duration::ZERO);
    let response = layer.layer(app).call(request(&alice)).await.unwrap();
    assert_eq!(response.status(), 503);
}

/// A request is allowed, but its session ends or becomes stale before the response future is
/// polled: the handler does not start.
#[tokio::test(start_paused = true)]
async fn handler_does_not_start_after_session_end() {
    for closed in [true, false] {
        let mut harness = Harness::new();
        let alice = harness.log_in("alice").await;
        let app = service_fn(|_| async {
            let started = true;
            assert!(!started, "the handler started");
            Ok::<_, Infallible>(Response::new(EndlessBody { sent: 0, pending_after: None }))
        });
        let mut future = pin!(harness.ac.layer().layer(app).call(request(&alice)));
        let poll = harness.next_poll_at(5_000).await;
        if closed {
            reply_status(poll, Closed);
        } else {
            harness.advance_to(15_000).await;
            drop(poll);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        let status = future.as_mut().await.unwrap().status();
        assert_eq!(status, if closed { 401 } else { 503 });
    }
}

/// A good poll resumes a held stream.
#[tokio::test(start_paused = true)]
async fn good_poll_resumes_stale_stream() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let mut stream = open_stream(&harness, &alice, None).await;
    harness.respond_with(|now, call| if now > 15_000 { reply_ok(call) } else { _ = call.reset() });
    harness.advance_to(15_001).await;
    assert_eq!(read_frames(&mut stream, 1), 0);
    harness.advance_to(25_000).await;
    assert_eq!(read_frames(&mut stream, 100), 100);
}
