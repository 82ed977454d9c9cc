//! Which response bodies the layer buffers and passes unguarded, and that probing changes no other body.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tower::service_fn;
use tower_layer::Layer as _;
use tower_service::Service as _;

use super::harness::{Harness, reply_status};
use crate::identity::SessionCredential;
use crate::layer::GateBody;
use crate::protocol::SessionStatus::Closed;

enum Step {
    Data(&'static [u8]),
    Trailers,
    Wait,
    Fail,
    End,
}
use Step::*;

/// A body that follows a script. The announced length may be wrong.
struct ScriptedBody {
    remaining: u64,
    steps: VecDeque<Step>,
}

impl ScriptedBody {
    fn body(length: u64, steps: impl IntoIterator<Item = Step>) -> Body {
        Body::new(Self { remaining: length, steps: steps.into_iter().collect() })
    }
}

impl http_body::Body for ScriptedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(match self.steps.pop_front() {
            Some(Data(data)) => {
                self.remaining -= data.len() as u64;
                Some(Ok(Frame::data(data.into())))
            }
            Some(Trailers) => Some(Ok(Frame::trailers(HeaderMap::new()))),
            Some(Wait) => return Poll::Pending,
            Some(Fail) => Some(Err(io::Error::other("failed"))),
            Some(End) | None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

/// Sends a request; returns the response's body and the number of holds on the session when the
/// response arrived.
async fn send_with_method(
    method: Method,
    harness: &Harness,
    alice: &SessionCredential,
    body: Body,
) -> (Pin<Box<GateBody<Body>>>, u64) {
    let body = Arc::new(Mutex::new(Some(body)));
    let app = service_fn(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        ready(Ok::<_, Infallible>(Response::new(body)))
    });
    let bearer = format!("Bearer {}", alice.expose());
    let request = Request::builder().method(method).header("authorization", bearer);
    let mut future = pin!(harness.ac.layer().layer(app).call(request.body(()).unwrap()));
    let response = future.as_mut().await.unwrap();
    // The response future is not dropped yet.
    (Box::pin(response.into_body()), harness.session(alice).held_open())
}

async fn send(
    harness: &Harness,
    alice: &SessionCredential,
    body: Body,
) -> (Pin<Box<GateBody<Body>>>, u64) {
    send_with_method(Method::GET, harness, alice, body).await
}

/// The data that is ready, and how the body goes on: `.` end, `!` error, `…` pending.
fn read_ready(body: &mut Pin<Box<GateBody<Body>>>) -> String {
    let mut cx = Context::from_waker(Waker::noop());
    let mut text = String::new();
    loop {
        let length = body.size_hint().exact();
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    assert!(length.is_none_or(|length| data.len() as u64 <= length));
                    text += std::str::from_utf8(&data).unwrap();
                }
                Err(_) => text += "+trailers",
            },
            Poll::Ready(Some(Err(error))) => return text + "!" + &error.to_string(),
            Poll::Ready(None) => return text + ".",
            Poll::Pending => text += "…",
        }
        if text.ends_with('…') {
            return text;
        }
    }
}

async fn close_session(harness: &mut Harness) {
    reply_status(harness.next_poll_at(5_000).await, Closed);
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// A buffered body counts as sent together with the response head.
#[tokio::test(start_paused = true)]
async fn small_ready_body_is_unguarded() {
    let longest = vec![b'a'; 64 * 1024];
    for bytes in [Bytes::from_static(b"whole"), longest.into()] {
        let mut harness = Harness::new();
        let alice = harness.log_in("alice").await;
        let (mut body, held_open) = send(&harness, &alice, Body::from(bytes.clone())).await;
        assert_eq!(held_open, 0);
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        assert!(!body.is_end_stream());
        close_session(&mut harness).await;
        assert_eq!(read_ready(&mut body), format!("{}.", std::str::from_utf8(&bytes).unwrap()));
        assert!(body.is_end_stream());
    }
}

fn guarded_bodies() -> [(Body, &'static str); 8] {
    [
        (ScriptedBody::body(5, [Data(b"wh"), Data(b"ole")]), "whole."),
        (ScriptedBody::body(5, [Data(b"whole"), Trailers]), "whole+trailers."),
        (ScriptedBody::body(5, [Data(b"wh"), Wait, Data(b"ole")]), "wh…"),
        (ScriptedBody::body(5, [Wait, Data(b"whole")]), "whole."),
        (ScriptedBody::body(5, [Data(b"wh")]), "wh."),
        (ScriptedBody::body(5, [End]), "."),
        (ScriptedBody::body(5, [Fail]), "!failed"),
        (ScriptedBody::body(0, [Trailers]), "+trailers."),
    ]
}

/// The prefetched frame comes first.
#[tokio::test(start_paused = true)]
async fn guarded_bodies_are_unchanged() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    for (body, text) in guarded_bodies() {
        let length = body.size_hint().exact();
        let (mut body, held_open) = send(&harness, &alice, body).await;
        assert_eq!(body.size_hint().exact(), length, "{text}");
        assert!(!body.is_end_stream(), "{text}");
        assert_eq!(held_open, 1, "{text}");
        assert_eq!(read_ready(&mut body), text);
    }
}

/// Empty bodies, also with a length, as in a response to `HEAD`.
#[tokio::test(start_paused = true)]
async fn empty_body_is_unguarded() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    for length in [0, 5] {
        let (body, held_open) = send(&harness, &alice, ScriptedBody::body(length, [])).await;
        assert!(body.is_end_stream());
        assert_eq!((body.size_hint().exact(), held_open), (Some(length), 0));
    }
}

/// The server discards this body, so the layer must not consume it.
#[tokio::test(start_paused = true)]
async fn body_of_head_response_is_not_polled() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let (mut body, held_open) =
        send_with_method(Method::HEAD, &harness, &alice, ScriptedBody::body(5, [Data(b"whole")]))
            .await;
    assert_eq!((read_ready(&mut body).as_str(), held_open), ("whole.", 1));
}

/// The layer does not wrap errors of the body.
#[tokio::test(start_paused = true)]
async fn body_errors_keep_their_source() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    for steps in [vec![Fail], vec![Data(b"wh"), Fail]] {
        let (mut body, _) = send(&harness, &alice, ScriptedBody::body(5, steps)).await;
        let error = loop {
            match body.frame().await.unwrap() {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        let error = error.downcast::<axum::Error>().unwrap().into_inner();
        assert!(error.is::<io::Error>(), "{error:?}");
    }
}

/// A response that was held until the status was fresh again is not guarded.
#[tokio::test(start_paused = true)]
async fn held_response_passes_unguarded() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let clock = harness.clock.clone();
    let app = service_fn(move |_: Request<()>| {
        // Longer than the staleness limit.
        clock.shift_wall_clock(20_000);
        ready(Ok::<_, Infallible>(Response::new(Body::from("whole"))))
    });
    let bearer = format!("Bearer {}", alice.expose());
    let request = Request::get("/").header("authorization", bearer).body(()).unwrap();
    let mut future = pin!(harness.ac.layer().layer(app).call(request));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut cx).is_pending());
    harness.clock.shift_wall_clock(-20_000);
    let mut body = Box::pin(future.as_mut().await.unwrap().into_body());
    assert_eq!(harness.session(&alice).held_open(), 0);
    assert_eq!(read_ready(&mut body), "whole.");
}

/// The outer layer buffers a body that the inner layer buffered.
#[tokio::test(start_paused = true)]
async fn nested_layers_keep_buffered_body() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let app = axum::Router::<()>::new()
        .route("/", axum::routing::get(async || "whole"))
        .layer(harness.ac.layer())
        .layer(harness.ac.layer());
    let bearer = format!("Bearer {}", alice.expose());
    let request = Request::get("/").header("authorization", bearer).body(Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(app, request).await.unwrap();
    assert_eq!(harness.session(&alice).held_open(), 0);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "whole");
}

/// Also a frame that was prefetched before the end.
#[tokio::test(start_paused = true)]
async fn guarded_body_is_cut_after_session_end() {
    let large = Bytes::from(vec![b'a'; 64 * 1024 + 1]);
    for (body, expected) in guarded_bodies().into_iter().chain([(Body::from(large), "large")]) {
        let mut harness = Harness::new();
        let alice = harness.log_in("alice").await;
        let (mut body, _) = send(&harness, &alice, body).await;
        close_session(&mut harness).await;
        let text = read_ready(&mut body);
        assert!(text.starts_with("!the session is no longer allowed"), "{expected}: {text}");
    }
}
