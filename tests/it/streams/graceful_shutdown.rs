//! Graceful shutdown of a process with an open stream, over sockets.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use futures_util::stream::{self, StreamExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::support::{approve, builder, enroll_users};

/// T129: a graceful shutdown of the server ends when the engine shuts down, although an endless
/// stream is open: the stream gets its end event, and is cut.
#[tokio::test(flavor = "multi_thread")]
async fn stream_does_not_delay_graceful_shutdown() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let (credential, _) =
        tokio::join!(async { ac.log_in(&"alice".into()).await.unwrap() }, approve(&emulator));
    let silent = || async {
        let hello = stream::once(async { Ok::<_, Infallible>(Event::default().data("hello")) });
        Sse::new(hello.chain(stream::pending())).keep_alive(KeepAlive::default())
    };
    let app = Router::new().route("/events", get(silent)).layer(ac.layer());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn({
        let ac = ac.clone();
        let graceful = axum::serve(listener, app).with_graceful_shutdown(async move {
            stopped.await.unwrap();
            ac.shutdown().await;
        });
        async move { graceful.await }
    });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.get(url).bearer_auth(credential.expose()).send().await.unwrap();
    let mut body = response.bytes_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), "data: hello\n\n");
    let started_at = Instant::now();
    stop.send(()).unwrap();
    let mut rest = Vec::new();
    while let Some(chunk) = body.next().await {
        rest.extend_from_slice(&chunk.unwrap());
    }
    assert!(String::from_utf8(rest).unwrap().contains("event: session-ended"));
    drop(body);
    drop(client);
    tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap().unwrap();
    assert!(started_at.elapsed() < Duration::from_secs(5), "{:?}", started_at.elapsed());
}
