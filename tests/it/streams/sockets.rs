//! Upgraded connections and tasks, which a layer cannot cut by itself.

use std::sync::{Arc, Mutex};

use activeconnect_emulator::Action;
use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::any;
use bytes::Bytes;
use futures_util::StreamExt as _;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response, StatusCode};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tower_activeconnect::{ActiveSession, Denial};
use tracing::Level;

use super::cut::{connect, read_to_end};
use super::fixture::{Fixture, Transport, UserClient};
use crate::support::log_capture::{LogCapture, capture};
use crate::support::{poll_until, serve, session_of};

async fn listen(mut socket: WebSocket) {
    while socket.recv().await.is_some() {}
}

type Client =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn open(user_client: &UserClient, path: &str) -> Client {
    let url = format!("{}{path}", user_client.url.replace("http", "ws"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", user_client.bearer.parse().unwrap());
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

/// T088: a handler that ignores the guard is counted, and logged once.
#[tokio::test]
async fn unguarded_upgrades_are_counted() {
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let received = warnings.clone();
    let _capture = capture(LogCapture(Level::WARN, move |line: &str| {
        received.lock().unwrap().push(line.to_owned());
    }));
    let fixture = Fixture::of(|engine| engine, |layer| layer).await;
    let alice = fixture.log_in("alice").await;
    let bare = async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(listen);
    let named = async |session: ActiveSession, upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async move |socket| {
            listen(socket).await;
            assert_eq!(session.user().as_str(), "alice");
        })
    };
    let guarded = async |session: ActiveSession, upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async move |socket| {
            let mut socket = session.guard_socket(socket);
            while socket.recv().await.is_some() {}
        })
    };
    let wait_for_end = async |session: ActiveSession, upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async move |mut socket| {
            tokio::select! {
                _ = session.revoked() => drop(socket.send(Message::Close(None)).await),
                _ = socket.recv() => {}
            }
        })
    };
    let app = Router::new()
        .route("/bare", any(bare))
        .route("/named", any(named))
        .route("/guarded", any(guarded))
        .route("/waits", any(wait_for_end))
        .layer(fixture.layer.clone());
    let user_client = alice.at(serve(app).await);
    let unguarded = || fixture.layer.unguarded_upgrades();

    let mut guarded = Vec::new();
    for path in ["/guarded", "/waits"] {
        guarded.push(open(&user_client, path).await);
    }
    // An upgrade that the handler rejects does not count.
    let rejected = user_client.get(Transport::Http1, "/bare").header("upgrade", "websocket");
    assert_eq!(rejected.send().await.unwrap().status(), 400);
    let bare = open(&user_client, "/bare").await;
    poll_until("the first is counted", async || (unguarded() == 1).then_some(())).await;
    // A handler with the session may still take a guard, so it is counted when it drops the
    // session.
    drop(open(&user_client, "/named").await);
    poll_until("the second is counted", async || (unguarded() == 2).then_some(())).await;
    let warned = || warnings.lock().unwrap().iter().filter(|line| line.contains("outlive")).count();
    assert_eq!(warned(), 1);

    fixture.act(&alice, Action::Close);
    for mut socket in guarded {
        while let Some(Ok(_)) = socket.next().await {}
    }
    assert_eq!(unguarded(), 2);
    drop(bare);
}

/// Opens a socket over HTTP/2: an extended CONNECT (RFC 8441).
async fn extended_connect(
    connection: &SendRequest<Bytes>,
    url: &str,
    headers: &[(&str, &str)],
) -> (Response<RecvStream>, SendStream<Bytes>) {
    let mut connection = connection.clone().ready().await.unwrap();
    poll_until("the server takes it", async || {
        connection.is_extended_connect_protocol_enabled().then_some(())
    })
    .await;
    let mut request = Request::builder().method(Method::CONNECT).uri(url);
    request = request.extension(Protocol::from_static("websocket"));
    request = request.header("sec-websocket-version", "13");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (response, send) = connection.send_request(request.body(()).unwrap(), false).unwrap();
    (response.await.unwrap(), send)
}

/// T089: a socket on one stream of an HTTP/2 connection is guarded like others.
#[tokio::test]
async fn http2_websocket_is_guarded_and_origin_bound() {
    let fixture = Fixture::of(|engine| engine, |layer| layer).await;
    let alice = fixture.log_in("alice").await;
    let bare = async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(listen);
    let bare = Router::new().route("/bare", any(bare)).layer(fixture.layer.clone());
    let site = serve(bare).await;
    let socket = format!("{}/socket", fixture.url);
    let connection = connect(&fixture.url).await;

    let cookie = alice.bearer.replace("Bearer ", "__Host-activeconnect=");
    for (origin, status) in [
        ("https://elsewhere.example", StatusCode::UNAUTHORIZED),
        ("null", StatusCode::UNAUTHORIZED),
        (fixture.url.as_str(), StatusCode::OK),
    ] {
        let headers = [("cookie", cookie.as_str()), ("origin", origin)];
        let (response, _send) = extended_connect(&connection, &socket, &headers).await;
        assert_eq!(response.status(), status, "{origin}");
    }

    let bearer = [("authorization", alice.bearer.as_str())];
    let bare = format!("{site}/bare");
    let unguarded = extended_connect(&connect(&site).await, &bare, &bearer).await;
    assert_eq!(unguarded.0.status(), StatusCode::OK);
    poll_until("the upgrade is counted", async || {
        (fixture.layer.unguarded_upgrades() == 1).then_some(())
    })
    .await;

    let (response, _send) = extended_connect(&connection, &socket, &bearer).await;
    let mut response = response.into_body();
    // A text frame on the wire (RFC 6455, 5.2).
    let first = response.data().await.unwrap().unwrap();
    assert!(first.starts_with(b"\x81\x04tick"), "{first:?}");
    fixture.act(&alice, Action::Close);
    let (frames, _) = read_to_end(&mut response).await;
    assert!(frames.ends_with(b"\x88\x07\x03\xf0ended"), "{frames:?}");
    assert_eq!(fixture.layer.unguarded_upgrades(), 1);
}

/// T093, T094: any number of tasks may wait, and all get the denial.
#[tokio::test]
async fn thousand_waiters_learn_of_the_end() {
    let fixture = Fixture::of(|engine| engine, |layer| layer).await;
    let alice = fixture.log_in("alice").await;
    let session = session_of(&fixture.ac, alice.bearer.strip_prefix("Bearer ").unwrap()).await;
    let waiting: Vec<_> = (0..1_000)
        .map(|_| {
            let mut guard = session.guard().clone();
            tokio::spawn(async move { guard.revoked().await })
        })
        .collect();
    fixture.act(&alice, Action::Close);
    for reported in waiting {
        assert_eq!(reported.await.unwrap(), Denial::Ended);
    }
    // A task that waits after the end gets it, too.
    assert_eq!(session.revoked().await, Denial::Ended);
}
