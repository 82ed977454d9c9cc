//! Which answers pass without a guard, and that no other loses anything by being asked.

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

use crate::layer::GateBody;
use super::harness::{Harness, reply_status};
use crate::identity::SessionCredential;
use crate::protocol::SessionStatus::Closed;

enum Step {
    Gives(&'static [u8]),
    Trailers,
    Waits,
    Fails,
    Ends,
}
use Step::*;

/// A body that says how long it is, which may not be true, and does this.
struct Steps {
    left: u64,
    steps: VecDeque<Step>,
}

impl Steps {
    fn body(length: u64, steps: impl IntoIterator<Item = Step>) -> Body {
        Body::new(Self { left: length, steps: steps.into_iter().collect() })
    }
}

impl http_body::Body for Steps {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(match self.steps.pop_front() {
            Some(Gives(data)) => {
                self.left -= data.len() as u64;
                Some(Ok(Frame::data(data.into())))
            }
            Some(Trailers) => Some(Ok(Frame::trailers(HeaderMap::new()))),
            Some(Waits) => return Poll::Pending,
            Some(Fails) => Some(Err(io::Error::other("failed"))),
            Some(Ends) | None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The answer to this request of alice's, and how many held her session open once it was there.
async fn answer_to(
    method: Method,
    stage: &Harness,
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
    let mut answer = pin!(stage.ac.layer().layer(app).call(request.body(()).unwrap()));
    let response = answer.as_mut().await.unwrap();
    // While what gave it is still there.
    (Box::pin(response.into_body()), stage.session(alice).held_open())
}

async fn answer(
    stage: &Harness,
    alice: &SessionCredential,
    body: Body,
) -> (Pin<Box<GateBody<Body>>>, u64) {
    answer_to(Method::GET, stage, alice, body).await
}

/// All that comes, as far as it comes without waiting, and how it goes on.
fn read(body: &mut Pin<Box<GateBody<Body>>>) -> String {
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

async fn end(stage: &mut Harness) {
    reply_status(stage.poll_at(5_000).await, Closed);
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// It left with its head, as far as the gate is concerned.
#[tokio::test(start_paused = true)]
async fn small_ready_body_is_unguarded() {
    let most = vec![b'a'; 64 * 1024];
    for bytes in [Bytes::from_static(b"whole"), most.into()] {
        let mut stage = Harness::new();
        let alice = stage.log_in("alice").await;
        let (mut body, held_open) = answer(&stage, &alice, Body::from(bytes.clone())).await;
        assert_eq!(held_open, 0);
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        assert!(!body.is_end_stream());
        end(&mut stage).await;
        assert_eq!(read(&mut body), format!("{}.", std::str::from_utf8(&bytes).unwrap()));
        assert!(body.is_end_stream());
    }
}

fn others() -> [(Body, &'static str); 8] {
    [
        (Steps::body(5, [Gives(b"wh"), Gives(b"ole")]), "whole."),
        (Steps::body(5, [Gives(b"whole"), Trailers]), "whole+trailers."),
        (Steps::body(5, [Gives(b"wh"), Waits, Gives(b"ole")]), "wh…"),
        (Steps::body(5, [Waits, Gives(b"whole")]), "whole."),
        (Steps::body(5, [Gives(b"wh")]), "wh."),
        (Steps::body(5, [Ends]), "."),
        (Steps::body(5, [Fails]), "!failed"),
        (Steps::body(0, [Trailers]), "+trailers."),
    ]
}

/// What the look at it has taken comes first.
#[tokio::test(start_paused = true)]
async fn other_bodies_are_unchanged() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    for (body, text) in others() {
        let length = body.size_hint().exact();
        let (mut body, held_open) = answer(&stage, &alice, body).await;
        assert_eq!(body.size_hint().exact(), length, "{text}");
        assert!(!body.is_end_stream(), "{text}");
        assert_eq!(held_open, 1, "{text}");
        assert_eq!(read(&mut body), text);
    }
}

/// As an answer's to HEAD that says how long the other would be; and what is empty.
#[tokio::test(start_paused = true)]
async fn answer_at_its_end_is_left_alone() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    for length in [0, 5] {
        let (body, held_open) = answer(&stage, &alice, Steps::body(length, [])).await;
        assert!(body.is_end_stream());
        assert_eq!((body.size_hint().exact(), held_open), (Some(length), 0));
    }
}

/// A server throws it away: what is read once must not be read for that.
#[tokio::test(start_paused = true)]
async fn body_of_an_answer_to_head_is_not_asked() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let (mut body, held_open) =
        answer_to(Method::HEAD, &stage, &alice, Steps::body(5, [Gives(b"whole")])).await;
    assert_eq!((read(&mut body).as_str(), held_open), ("whole.", 1));
}

/// The cause of an error is found where it was.
#[tokio::test(start_paused = true)]
async fn errors_are_those_of_the_body() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    for steps in [vec![Fails], vec![Gives(b"wh"), Fails]] {
        let (mut body, _) = answer(&stage, &alice, Steps::body(5, steps)).await;
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

/// An answer that was held back until the status was known again leaves as any other.
#[tokio::test(start_paused = true)]
async fn held_response_passes_unguarded() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let clock = stage.clock.clone();
    let app = service_fn(move |_: Request<()>| {
        // Longer than anything known may be old.
        clock.shift_wall_clock(20_000);
        ready(Ok::<_, Infallible>(Response::new(Body::from("whole"))))
    });
    let bearer = format!("Bearer {}", alice.expose());
    let request = Request::get("/").header("authorization", bearer).body(()).unwrap();
    let mut answer = pin!(stage.ac.layer().layer(app).call(request));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(answer.as_mut().poll(&mut cx).is_pending());
    stage.clock.shift_wall_clock(-20_000);
    let mut body = Box::pin(answer.as_mut().await.unwrap().into_body());
    assert_eq!(stage.session(&alice).held_open(), 0);
    assert_eq!(read(&mut body), "whole.");
}

/// The outer layer finds whole what the inner one has let out whole.
#[tokio::test(start_paused = true)]
async fn layer_inside_a_layer_changes_nothing() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let app = axum::Router::<()>::new()
        .route("/", axum::routing::get(async || "whole"))
        .layer(stage.ac.layer())
        .layer(stage.ac.layer());
    let bearer = format!("Bearer {}", alice.expose());
    let request = Request::get("/").header("authorization", bearer).body(Body::empty()).unwrap();
    let answer = tower::ServiceExt::oneshot(app, request).await.unwrap();
    assert_eq!(stage.session(&alice).held_open(), 0);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "whole");
}

/// Also what was taken before the end.
#[tokio::test(start_paused = true)]
async fn no_frame_of_other_bodies_after_end() {
    let large = Bytes::from(vec![b'a'; 64 * 1024 + 1]);
    for (body, text) in others().into_iter().chain([(Body::from(large), "large")]) {
        let mut stage = Harness::new();
        let alice = stage.log_in("alice").await;
        let (mut body, _) = answer(&stage, &alice, body).await;
        end(&mut stage).await;
        let read = read(&mut body);
        assert!(read.starts_with("!the session is no longer allowed"), "{text}: {read}");
    }
}
