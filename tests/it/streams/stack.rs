//! The layer among other layers: readiness, permits, timeouts, compression.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use activeconnect_emulator::{Action, Endpoint, Fault, FaultKind};
use axum::Router;
use axum::body::Body;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::stream::{self, StreamExt as _};
use http::{Request, Response};
use tower::buffer::Buffer;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShed;
use tower::timeout::Timeout;
use tower::util::BoxCloneService;
use tower::{BoxError, Layer as _, Service, ServiceExt as _, service_fn};
use tower_activeconnect::layer::BoxError as AnyError;
use tower_http::compression::CompressionLayer;

use super::fixture::{Fixture, Transport, UserClient};
use crate::support::{advance, serve};

type Boxed = BoxCloneService<Request<Body>, Response<Body>, BoxError>;

fn boxed<S, B>(service: S) -> Boxed
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<AnyError>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<AnyError>,
{
    BoxCloneService::new(
        service.map_response(|response| response.map(Body::new)).map_err(Into::into),
    )
}

/// A service that enforces Tower's contract: it panics if it is called before it is ready.
#[derive(Default)]
struct Strict {
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false }
    }
}

impl Service<Request<Body>> for Strict {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called before it was ready");
        ready(Ok(Response::new(Body::from("in"))))
    }
}

fn request(user_client: &UserClient) -> Request<Body> {
    Request::get("/").header("authorization", &user_client.bearer).body(Body::empty()).unwrap()
}

async fn status(service: &mut Boxed, request: Request<Body>) -> u16 {
    let response = service.ready().await.unwrap().call(request).await.unwrap();
    response.status().as_u16()
}

const FIVE: Duration = Duration::from_secs(5);

/// Polls every five seconds; all sessions are parked.
async fn fixture() -> Fixture {
    Fixture::of(|engine| engine.poll_interval(FIVE), |layer| layer).await
}

async fn park(fixture: &Fixture) {
    advance(Duration::from_secs(130), FIVE).await;
    let polls = fixture.emulator.state().calls.status;
    advance(Duration::from_secs(20), FIVE).await;
    assert_eq!(fixture.emulator.state().calls.status, polls, "not parked");
}

/// T116, T118: inside any stack, parked and known sessions are allowed, and anonymous clients are
/// denied.
#[tokio::test]
async fn each_stack_serves_parked_known_and_anonymous() {
    let fixture = fixture().await;
    let alice = fixture.log_in("alice").await;
    let layer = || fixture.layer.clone();
    let limit = || GlobalConcurrencyLimitLayer::new(1);
    for (name, mut service) in [
        ("nothing", boxed(layer().layer(Strict::default()))),
        ("buffer outside", boxed(Buffer::new(layer().layer(Strict::default()), 1))),
        ("buffer inside", boxed(layer().layer(Buffer::new(Strict::default(), 1)))),
        ("load shed outside", boxed(LoadShed::new(layer().layer(Strict::default())))),
        ("load shed inside", boxed(layer().layer(LoadShed::new(Strict::default())))),
        ("limit outside", boxed(limit().layer(layer().layer(Strict::default())))),
        ("limit inside", boxed(layer().layer(limit().layer(Strict::default())))),
    ] {
        park(&fixture).await;
        assert_eq!(status(&mut service, request(&alice)).await, 200, "parked, {name}");
        assert_eq!(status(&mut service, request(&alice)).await, 200, "known, {name}");
        assert_eq!(status(&mut service, Request::new(Body::empty())).await, 401, "{name}");
        assert_eq!(status(&mut service, request(&alice)).await, 200, "after a denial, {name}");
    }
}

/// T117
#[tokio::test]
async fn readiness_is_that_of_the_inner_service() {
    #[derive(Clone)]
    struct Never;
    impl Service<Request<Body>> for Never {
        type Response = Response<Body>;
        type Error = &'static str;
        type Future = Ready<Result<Response<Body>, &'static str>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            Poll::Ready(Err("never ready"))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            unreachable!("the service is not ready")
        }
    }
    let fixture = fixture().await;
    assert_eq!(fixture.layer.layer(Never).ready().await.err(), Some("never ready"));
    // A busy inner service is busy through the layer.
    let limit = GlobalConcurrencyLimitLayer::new(1);
    let (mut one, mut two) = {
        let service = fixture.layer.layer(limit.layer(Strict::default()));
        (service.clone(), service)
    };
    one.ready().await.unwrap();
    assert!(futures_util::poll!(std::pin::pin!(two.ready())).is_pending());
    drop(one);
    two.ready().await.unwrap();
}

/// T118: a first request that waits for a hanging service holds the only permit no longer than one
/// poll.
#[tokio::test]
async fn parked_request_blocks_others_for_one_poll() {
    let fixture = fixture().await;
    let (alice, bob) = (fixture.log_in("alice").await, fixture.log_in("bob").await);
    park(&fixture).await;
    let hangs = Fault::new(Endpoint::Status, FaultKind::Hang);
    fixture.emulator.inject_fault(hangs.for_user(&alice.session.user_id));
    let limit = GlobalConcurrencyLimitLayer::new(1);
    let mut one = boxed(fixture.layer.layer(limit.layer(Strict::default())));
    let mut two = one.clone();
    let alices = one.ready().await.unwrap().call(request(&alice));
    let started_at = tokio::time::Instant::now();
    let (alices, bobs) = tokio::join!(alices, status(&mut two, request(&bob)));
    assert_eq!((alices.unwrap().status().as_u16(), bobs), (503, 200));
    let took = started_at.elapsed();
    assert!(took <= Duration::from_millis(3_500 + 1_000), "{took:?}");
}

/// T119: the poll continues when no request waits for it any more.
#[tokio::test]
async fn outer_timeout_does_not_end_the_poll() {
    let fixture = fixture().await;
    let alice = fixture.log_in("alice").await;
    park(&fixture).await;
    let before = fixture.emulator.state().calls.status;
    let slow =
        Fault::new(Endpoint::Status, FaultKind::Delay).with_delay(Duration::from_millis(700));
    fixture.emulator.inject_fault(slow.times(1));
    let gated = fixture.layer.layer(Strict::default());
    let mut service = boxed(Timeout::new(gated.clone(), Duration::from_millis(100)));
    let late = service.ready().await.unwrap().call(request(&alice)).await;
    assert!(late.unwrap_err().is::<tower::timeout::error::Elapsed>());
    assert_eq!(status(&mut boxed(gated), request(&alice)).await, 200);
    assert_eq!(fixture.emulator.state().calls.status - before, 1);
}

/// A timeout inside is the handler's own error.
#[tokio::test]
async fn inner_timeout_response_is_forwarded() {
    let fixture = fixture().await;
    let alice = fixture.log_in("alice").await;
    let slow =
        service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, BoxError>>());
    let mut service = boxed(fixture.layer.layer(Timeout::new(slow, Duration::from_millis(50))));
    let late = service.ready().await.unwrap().call(request(&alice)).await;
    assert!(late.unwrap_err().is::<tower::timeout::error::Elapsed>());
}

/// Compressed or not: a partial file does not look complete, and no event is written into an
/// encoding.
#[tokio::test]
async fn compressed_stream_ends_without_marker() {
    let compression = || {
        CompressionLayer::new().compress_when(
            |_: http::StatusCode, _: http::Version, _: &http::HeaderMap, _: &http::Extensions| true,
        )
    };
    let pieces = || {
        stream::repeat(()).then(async |()| {
            tokio::time::sleep(Duration::from_millis(10)).await;
            "piece of it "
        })
    };
    let routes = || {
        Router::new()
            .route("/file", get(async move || Body::from_stream(pieces().map(Ok::<_, Infallible>))))
            .route(
                "/sse",
                get(async move || {
                    Sse::new(
                        pieces().map(|piece| Ok::<_, Infallible>(Event::default().data(piece))),
                    )
                }),
            )
    };
    let fixture = Fixture::of(|engine| engine, |layer| layer).await;
    let alice = fixture.log_in("alice").await;
    let inside = serve(routes().layer(compression()).layer(fixture.layer.clone())).await;
    let outside = serve(routes().layer(fixture.layer.clone()).layer(compression())).await;
    // If no frame was sent yet, an end event would stand alone.
    let quiet = async || {
        let headers = [("content-type", "text/event-stream"), ("content-encoding", "gzip")];
        (headers, Body::from_stream(stream::pending::<Result<&str, Infallible>>()))
    };
    let quiet = Router::new().route("/quiet", get(quiet)).layer(fixture.layer.clone());
    let quiet = alice.at(serve(quiet).await).get(Transport::Http1, "/quiet").send().await.unwrap();
    let mut asked = Vec::new();
    for (site, url) in [("inside", inside), ("outside", outside)] {
        for path in ["/file", "/sse"] {
            for transport in [Transport::Http1, Transport::Http2] {
                let request =
                    alice.at(url.clone()).get(transport, path).header("accept-encoding", "gzip");
                let response = request.send().await.unwrap();
                assert_eq!(response.headers()["content-encoding"], "gzip");
                asked.push((site, path, transport, tokio::spawn(response.bytes())));
            }
        }
    }
    fixture.act(&alice, Action::Close);
    for (site, path, transport, rest) in asked {
        assert_eq!(rest.await.unwrap().is_ok(), path == "/sse", "{site} {path} {transport:?}");
    }
    assert_eq!(quiet.bytes().await.unwrap(), "");
}
