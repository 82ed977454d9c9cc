//! What a guarded stream costs: a request with 64 frames and with one frame, through a no-op layer,
//! through the gate, and through the baseline gate, which leaves the stream unguarded; and the time
//! from the end until the last of ten thousand streams is cut, for streams of one session and of
//! ten thousand sessions.
//!
//! ```text
//! cargo bench --features __bench,tonic --bench streams                      # table, and target/bench/streams.json
//! cargo bench --features __bench,tonic --bench streams -- --instructions    # only those; needs valgrind
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench may fail, and measures"
)]

#[path = "../gate/baseline.rs"]
mod baseline;
#[path = "../support/mod.rs"]
mod support;

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use baseline::BaselineLayer;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::json;
use support::Case;
use support::service::{NoOpLayer, requests};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_activeconnect::identity::SessionCredential;
use tower_activeconnect::{Activeconnect, Credentials, MemoryTokenStore};

const STREAMS: usize = 10_000;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let mut rows = support::measure("streams", cases());
    if !std::env::args().any(|argument| argument == "--instructions") {
        let ns = |name| rows.iter().find(|row| row["name"] == name)?["median_ns"].as_f64();
        if let Some((guarded, unguarded)) = ns(GUARDED).zip(ns(UNGUARDED)) {
            let ratio = guarded / unguarded;
            println!("a request with 64 frames, guarded against unguarded: {ratio:.2}");
            rows.push(json!({ "name": "64 frames, guarded against unguarded", "ratio": ratio }));
        }
        for (name, sessions) in [("of one session", 1), ("each of 10,000 sessions", STREAMS)] {
            // The best of several rounds, to exclude other work of the machine.
            let ms = (0..5).map(|_| runtime.block_on(cut(sessions))).reduce(f64::min).unwrap();
            let name = format!("cut 10,000 streams {name}");
            println!("{name:<45} {ms:>9.1} ms");
            rows.push(json!({ "name": name, "ms": ms }));
        }
    }
    support::write("streams", &rows);
}

fn cases() -> Vec<Case> {
    let ac = engine();
    let session = ac.bench_session(&"alice".into(), false);
    let ask = |uri: &'static str| {
        let cookie = format!("__Host-activeconnect={}", session.expose());
        move || {
            let request = Request::get(uri).header("cookie", &cookie);
            request.body(Body::empty()).unwrap()
        }
    };
    let noop = router().layer(NoOpLayer).with_state(());
    let gate = router().layer(ac.layer()).with_state(());
    let sessions = std::slice::from_ref(&session);
    let unguarded = router().layer(BaselineLayer::new(sessions).unguarded()).with_state(());
    vec![
        Case::new("1 frame, no-op layer", requests(noop.clone(), ask("/1"), (200, 1))),
        Case::new("1 frame, gate", requests(gate.clone(), ask("/1"), (200, 1)))
            .over("1 frame, no-op layer"),
        // Subtracts the cost of the request, which leaves 63 frames.
        Case::new("64 frames, no-op layer", requests(noop, ask("/64"), (200, 64)))
            .over("1 frame, no-op layer"),
        Case::new(GUARDED, requests(gate, ask("/64"), (200, 64)))
            .over("1 frame, gate")
            .against("64 frames, no-op layer"),
        Case::new(UNGUARDED, requests(unguarded, ask("/64"), (200, 64))),
    ]
}

const GUARDED: &str = "64 frames, gate";
const UNGUARDED: &str = "64 frames, baseline, unguarded";

fn router() -> Router<()> {
    let frames = |count| {
        let frames =
            (0..count).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"frame"))));
        Body::new(StreamBody::new(stream::iter(frames)))
    };
    Router::new()
        .route("/1", get(async move || frames(1)))
        .route("/64", get(async move || frames(64)))
}

/// An engine that does not poll during the measurement.
fn engine() -> Activeconnect {
    let hour = Duration::from_secs(3600);
    let credentials = Credentials::new("APPLICATION", "MXG9EDN581U33XTPLPFT75V2").unwrap();
    Activeconnect::builder(credentials)
        .token_store(MemoryTokenStore::new())
        .poll_interval(hour)
        .max_staleness(2 * hour)
        .build()
        .unwrap()
}

fn request(session: &SessionCredential) -> Request<()> {
    let bearer = format!("Bearer {}", session.expose());
    Request::get("/").header("authorization", bearer).body(()).unwrap()
}

/// The milliseconds from the end of this many sessions until the last stream is cut.
async fn cut(sessions: usize) -> f64 {
    let ac = engine();
    let inner = service_fn(async |_: Request<()>| {
        let first = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"first")))]);
        let body = StreamBody::new(futures_util::StreamExt::chain(first, stream::pending()));
        Ok::<_, Infallible>(Response::new(body))
    });
    let credentials: Vec<_> = (0..sessions)
        .map(|n| ac.bench_session(&format!("user-{n:07}").as_str().into(), false))
        .collect();
    let mut streams = Vec::new();
    for credential in credentials.iter().cycle().take(STREAMS) {
        let response = ac.layer().layer(inner).oneshot(request(credential)).await.unwrap();
        let mut body = response.into_body();
        let (waits, waiting) = tokio::sync::oneshot::channel();
        streams.push(tokio::spawn(async move {
            assert!(body.frame().await.unwrap().is_ok());
            // The runtime owns the stream; its next poll registers the waker.
            waits.send(()).unwrap();
            assert!(body.frame().await.unwrap().is_err());
            Instant::now()
        }));
        waiting.await.unwrap();
    }
    // The last streams may not be waiting yet; they see the end all the same.
    let ended = Instant::now();
    let shutdown = tokio::spawn(async move { ac.shutdown().await });
    let mut last = ended;
    for stream in streams {
        last = last.max(stream.await.unwrap());
    }
    shutdown.await.unwrap();
    (last - ended).as_secs_f64() * 1e3
}
