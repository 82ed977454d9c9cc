//! What a stream costs that ends with its session: the time of a frame, guarded and not, and the
//! time from an end to the last of ten thousand streams that are cut, all of one session and one
//! each of ten thousand.
//!
//! Prints a table, and `target/bench/streams.json`: rows of a name and nanoseconds a frame, or
//! milliseconds for all.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench may fail, and measures"
)]

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_activeconnect::{Activeconnect, Credentials, MemoryTokenStore, SessionCredential};

const FRAMES: usize = 64;
const STREAMS: usize = 10_000;

#[tokio::main]
async fn main() {
    let quick = !std::env::args().any(|argument| argument == "--bench");
    let rounds = if quick { 100 } else { 20_000 };
    let mut rows = Vec::new();
    let mut row = |name: &str, key: &str, value: f64| {
        println!("{name:<40}{value:>12.1} {key}");
        rows.push(json!({ "name": name, key: value }));
    };
    row("frame, unguarded", "ns", frame(rounds, false).await);
    row("frame, guarded", "ns", frame(rounds, true).await);
    row("cut 10,000 streams of one session", "ms", cut(1).await);
    row("cut one stream each of 10,000 sessions", "ms", cut(STREAMS).await);
    write(&rows);
}

fn write(rows: &[Value]) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    let text = serde_json::to_string_pretty(rows).unwrap();
    std::fs::write(folder.join("streams.json"), text + "\n").unwrap();
}

/// An engine that does not poll meanwhile.
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

/// Nanoseconds a frame.
async fn frame(rounds: u32, guarded: bool) -> f64 {
    let ac = engine();
    let session = ac.bench_session(&"alice".into(), false);
    let request = || request(&session);
    let inner = service_fn(async |_: Request<()>| {
        let frames =
            (0..FRAMES).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"frame"))));
        Ok::<_, Infallible>(Response::new(StreamBody::new(stream::iter(frames))))
    });
    let mut took = Duration::ZERO;
    for _ in 0..rounds {
        took += if guarded {
            drain(ac.layer().layer(inner).oneshot(request()).await.unwrap().into_body()).await
        } else {
            drain(inner.oneshot(request()).await.unwrap().into_body()).await
        };
    }
    took.as_secs_f64() * 1e9 / f64::from(rounds) / FRAMES as f64
}

async fn drain(body: impl Body<Data = Bytes>) -> Duration {
    let mut body = std::pin::pin!(body);
    let begun = Instant::now();
    let mut frames = 0;
    while let Some(frame) = body.frame().await {
        std::hint::black_box(frame.ok().unwrap());
        frames += 1;
    }
    assert_eq!(frames, FRAMES);
    begun.elapsed()
}

/// Milliseconds from the end of so many sessions until the last stream is cut.
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
        let answer = ac.layer().layer(inner).oneshot(request(credential)).await.unwrap();
        let mut body = answer.into_body();
        let (waits, waiting) = tokio::sync::oneshot::channel();
        streams.push(tokio::spawn(async move {
            assert!(body.frame().await.unwrap().is_ok());
            // It is in the runtime's hands; the next poll registers it.
            waits.send(()).unwrap();
            assert!(body.frame().await.unwrap().is_err());
            Instant::now()
        }));
        waiting.await.unwrap();
    }
    // Those that were last may still be on their way into the wait; an end is seen all the same.
    let ended = Instant::now();
    let shutdown = tokio::spawn(async move { ac.shutdown().await });
    let mut last = ended;
    for stream in streams {
        last = last.max(stream.await.unwrap());
    }
    shutdown.await.unwrap();
    (last - ended).as_secs_f64() * 1e3
}
