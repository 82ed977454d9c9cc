//! What a gated request costs: the time of one `GET` through a bare axum router, through a layer
//! that does nothing, and through the gate, in one run. Only ratios and differences within a run
//! mean anything.
//!
//! ```text
//! cargo bench --bench gate
//! cargo bench --bench gate -- --quick
//! ```
#![allow(clippy::disallowed_methods, reason = "a bench measures")]

use std::convert::Infallible;
use std::hint::black_box;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use tower::{Layer, Service, ServiceExt as _};
use tower_activeconnect::emulator::{Action, Emulator};
use tower_activeconnect::{Activeconnect, Credentials, MemoryTokenStore, SessionCredential};

/// The floor of any layer: axum boxes whatever it is given.
#[derive(Clone)]
struct NoOp<S>(S);

#[derive(Clone)]
struct NoOpLayer;

impl<S> Layer<S> for NoOpLayer {
    type Service = NoOp<S>;

    fn layer(&self, inner: S) -> NoOp<S> {
        NoOp(inner)
    }
}

impl<S: Service<R>, R> Service<R> for NoOp<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}

fn router() -> Router<()> {
    Router::new().route("/", get(async || "hello"))
}

/// A logged-in session before the emulator.
async fn session() -> (Emulator, Activeconnect, SessionCredential) {
    let emulator = Emulator::start().await.expect("a free port");
    let (id, secret) = (emulator.application_id(), emulator.application_secret().clone());
    let credentials = Credentials::new(id, secret).and_then(|c| c.server(emulator.url()));
    let ac = Activeconnect::builder(credentials.expect("they are the emulator's"))
        .token_store(MemoryTokenStore::new())
        .build()
        .expect("the defaults fit");
    let alice = "alice".into();
    ac.enroll(&alice).await.expect("the emulator adds her");
    let phone = emulator.state().users.remove(0).user_id;
    emulator.register_device(&phone).expect("she exists");
    let approve = async {
        while emulator.act(&phone, Action::Approve).is_err() {
            tokio::task::yield_now().await;
        }
    };
    let (credential, ()) = tokio::join!(ac.log_in(&alice), approve);
    (emulator, ac, credential.expect("the phone said yes"))
}

fn request(credential: &SessionCredential) -> Request<Body> {
    let cookies = format!("theme=dark; lang=en; __Host-activeconnect={}", credential.expose());
    Request::get("/").header("cookie", cookies).body(Body::empty()).expect("plain parts")
}

/// One request, polled to its end in place: nothing in here waits.
fn drive<S, B>(service: &S, request: Request<Body>) -> u16
where
    S: Service<Request<Body>, Response = axum::http::Response<B>, Error = Infallible> + Clone,
    B: http_body::Body<Data = bytes::Bytes>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let mut future = std::pin::pin!(service.clone().oneshot(request));
    let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut cx) else {
        panic!("a handler that waits for nothing is ready");
    };
    let status = response.status().as_u16();
    let mut body = std::pin::pin!(response.into_body());
    while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
        black_box(frame.is_ok());
    }
    status
}

/// As many requests are made ahead of being timed.
const BATCH: u64 = 1_000;

fn gate(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let (_emulator, ac, credential) = runtime.block_on(session());
    let _guard = runtime.enter();
    // `with_state`, or each request would apply the layers anew.
    let bare = router().with_state(());
    let noop = router().layer(NoOpLayer).with_state(());
    let gated = router().layer(ac.layer()).with_state(());
    assert_eq!(drive(&gated, Request::new(Body::empty())), 401);
    let mut medians = Vec::new();
    let mut group = c.benchmark_group("gate");
    for (name, service) in [("bare router", bare), ("no-op layer", noop), ("gate, cookie", gated)] {
        assert_eq!(drive(&service, request(&credential)), 200, "{name}");
        let mut samples = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut took = Duration::ZERO;
                for begun in (0..iterations).step_by(BATCH as usize) {
                    let requests =
                        (begun..iterations.min(begun + BATCH)).map(|_| request(&credential));
                    let requests: Vec<_> = requests.collect();
                    let begun = Instant::now();
                    for request in requests {
                        black_box(drive(&service, request));
                    }
                    took += begun.elapsed();
                }
                samples.push(took.as_nanos() as f64 / iterations as f64);
                took
            });
        });
        samples.sort_by(f64::total_cmp);
        medians.push((name, samples[samples.len() / 2]));
    }
    group.finish();
    println!("{:<14} {:>10} {:>16} {:>16}", "", "median ns", "over bare, ns", "over no-op, ns");
    for (name, median) in &medians {
        let (over_bare, over_noop) = (median - medians[0].1, median - medians[1].1);
        println!("{name:<14} {median:>10.0} {over_bare:>16.0} {over_noop:>16.0}");
    }
}

criterion_group!(benches, gate);
criterion_main!(benches);
