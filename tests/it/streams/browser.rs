//! `EventSource` and `WebSocket` in Chromium.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use activeconnect_emulator::Action;
use axum::Router;
use axum::extract::Request;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::middleware::{Next, from_fn};
use axum::response::Html;
use axum::response::sse::{Event, Sse};
use axum::routing::{any, get, post};
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc;
use tower_activeconnect::ActiveSession;

use super::fixture::Fixture;
use crate::support::chromium::Chromium;
use crate::support::{approve, enroll_users, serve};

/// Logs in, opens both streams, and reports what they receive.
const PAGE: &str = r#"<!doctype html><title>page</title><script type="module">
const report = text => fetch("/report", { method: "POST", body: text });
const headers = { "content-type": "application/json" };
await fetch("/auth/login", { method: "POST", headers, body: '{"username":"alice"}' });
for (let status = ""; status !== "active";) {
    await new Promise(resolve => setTimeout(resolve, 100));
    status = (await (await fetch("/auth/status")).json()).status;
}
const events = new EventSource("/events");
events.onopen = () => report("events open");
events.addEventListener("session-ended", event => report("events " + event.data));
events.onerror = () => { if (events.readyState === EventSource.CLOSED) report("events closed"); };
const socket = new WebSocket("/socket".replace(/^/, location.origin.replace("http", "ws")));
socket.onopen = () => report("socket open");
socket.onclose = event => report(`socket ${event.code} ${event.reason}`);
</script>"#;

async fn listen(session: ActiveSession, socket: WebSocket) {
    let mut socket = session.guard_socket(socket);
    while socket.recv().await.is_some() {}
}

/// `EventSource` reconnects once, is denied, and stops; a socket closes with 1008.
#[tokio::test]
async fn browser_sees_end_and_does_not_reconnect() {
    let fixture = Fixture::of(|engine| engine, |layer| layer).await;
    enroll_users(&fixture.emulator, &fixture.ac, &["alice"]).await;
    let (report, mut reports) = mpsc::unbounded_channel();
    let requests = Arc::new(AtomicU32::new(0));
    let counts = requests.clone();
    let count = from_fn(move |request: Request, next: Next| {
        if request.uri().path() == "/events" {
            counts.fetch_add(1, Ordering::Relaxed);
        }
        next.run(request)
    });
    let events = async || {
        let first = stream::once(async { Ok::<_, Infallible>(Event::default().data("first")) });
        Sse::new(first.chain(stream::pending()))
    };
    let socket = async |session: ActiveSession, upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(|socket| listen(session, socket))
    };
    let app = Router::new()
        .route("/events", get(events))
        .route("/socket", any(socket))
        .layer(fixture.layer.clone())
        .layer(count)
        .nest("/auth", fixture.ac.routes())
        .route("/", get(async || Html(PAGE)))
        .route("/report", post(async move |text: String| report.send(text).unwrap()));
    let url = serve(app).await;
    let Some(_chromium) = Chromium::open(&url).await else { return };
    let session = approve(&fixture.emulator).await;
    let mut next = async || {
        let patience = Duration::from_secs(30);
        tokio::time::timeout(patience, reports.recv()).await.expect("no report").unwrap()
    };
    let mut opened = [next().await, next().await];
    opened.sort();
    assert_eq!(opened, ["events open", "socket open"]);
    fixture.emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    let mut ends = [next().await, next().await, next().await];
    ends.sort();
    assert_eq!(ends, ["events closed", "events {\"status\":\"closed\"}", "socket 1008 ended"]);
    assert_eq!(requests.load(Ordering::Relaxed), 2);
}
