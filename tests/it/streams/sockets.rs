//! What a layer can't reach into: upgraded connections and tasks.

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

use super::cut::{connect, rest};
use super::stage::{Caller, Over, Stage};
use crate::support::trace::{Trace, hear};
use crate::support::{serve, session_of, until};

async fn listen(mut socket: WebSocket) {
    while socket.recv().await.is_some() {}
}

type Client =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn open(caller: &Caller, path: &str) -> Client {
    let url = format!("{}{path}", caller.url.replace("http", "ws"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", caller.bearer.parse().unwrap());
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

/// T088: a handler that ignores the guard is counted, and warned about once.
#[tokio::test]
async fn unguarded_upgrades_are_counted() {
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let heard = warnings.clone();
    let _traced = hear(Trace(Level::WARN, move |line: &str| {
        heard.lock().unwrap().push(line.to_owned());
    }));
    let stage = Stage::of(|engine| engine, |layer| layer).await;
    let alice = stage.log_in("alice").await;
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
    let waits = async |session: ActiveSession, upgrade: WebSocketUpgrade| {
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
        .route("/waits", any(waits))
        .layer(stage.layer.clone());
    let caller = alice.at(serve(app).await);
    let unguarded = || stage.layer.unguarded_upgrades();

    let mut guarded = Vec::new();
    for path in ["/guarded", "/waits"] {
        guarded.push(open(&caller, path).await);
    }
    // An upgrade that is not granted is none.
    let refused = caller.get(Over::Http1, "/bare").header("upgrade", "websocket");
    assert_eq!(refused.send().await.unwrap().status(), 400);
    let bare = open(&caller, "/bare").await;
    until("the first is counted", async || (unguarded() == 1).then_some(())).await;
    // One that knows its session may still take a guard: it is counted when it lets go.
    drop(open(&caller, "/named").await);
    until("the second is counted", async || (unguarded() == 2).then_some(())).await;
    let warned = || warnings.lock().unwrap().iter().filter(|line| line.contains("outlive")).count();
    assert_eq!(warned(), 1);

    stage.act(&alice, Action::Close);
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
    until("the server takes it", async || {
        connection.is_extended_connect_protocol_enabled().then_some(())
    })
    .await;
    let mut request = Request::builder().method(Method::CONNECT).uri(url);
    request = request.extension(Protocol::from_static("websocket"));
    request = request.header("sec-websocket-version", "13");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (answer, send) = connection.send_request(request.body(()).unwrap(), false).unwrap();
    (answer.await.unwrap(), send)
}

/// T089: what is one stream of a connection is a socket like the others.
#[tokio::test]
async fn http2_websocket_is_guarded_and_origin_bound() {
    let stage = Stage::of(|engine| engine, |layer| layer).await;
    let alice = stage.log_in("alice").await;
    let bare = async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(listen);
    let bare = Router::new().route("/bare", any(bare)).layer(stage.layer.clone());
    let site = serve(bare).await;
    let socket = format!("{}/socket", stage.url);
    let connection = connect(&stage.url).await;

    let cookie = alice.bearer.replace("Bearer ", "__Host-activeconnect=");
    for (origin, status) in [
        ("https://elsewhere.example", StatusCode::UNAUTHORIZED),
        ("null", StatusCode::UNAUTHORIZED),
        (stage.url.as_str(), StatusCode::OK),
    ] {
        let headers = [("cookie", cookie.as_str()), ("origin", origin)];
        let (answer, _send) = extended_connect(&connection, &socket, &headers).await;
        assert_eq!(answer.status(), status, "{origin}");
    }

    let bearer = [("authorization", alice.bearer.as_str())];
    let bare = format!("{site}/bare");
    let unguarded = extended_connect(&connect(&site).await, &bare, &bearer).await;
    assert_eq!(unguarded.0.status(), StatusCode::OK);
    until("it is counted", async || (stage.layer.unguarded_upgrades() == 1).then_some(())).await;

    let (answer, _send) = extended_connect(&connection, &socket, &bearer).await;
    let mut answer = answer.into_body();
    // A text message, as it is on the wire (RFC 6455, 5.2).
    let first = answer.data().await.unwrap().unwrap();
    assert!(first.starts_with(b"\x81\x04tick"), "{first:?}");
    stage.act(&alice, Action::Close);
    let (frames, _) = rest(&mut answer).await;
    assert!(frames.ends_with(b"\x88\x07\x03\xf0ended"), "{frames:?}");
    assert_eq!(stage.layer.unguarded_upgrades(), 1);
}

/// T093, T094: any number of tasks may wait, and all are told why.
#[tokio::test]
async fn thousand_that_wait_are_told() {
    let stage = Stage::of(|engine| engine, |layer| layer).await;
    let alice = stage.log_in("alice").await;
    let session = session_of(&stage.ac, alice.bearer.strip_prefix("Bearer ").unwrap()).await;
    let waiting: Vec<_> = (0..1_000)
        .map(|_| {
            let mut guard = session.guard().clone();
            tokio::spawn(async move { guard.revoked().await })
        })
        .collect();
    stage.act(&alice, Action::Close);
    for told in waiting {
        assert_eq!(told.await.unwrap(), Denial::Ended);
    }
    // And so is who asks late.
    assert_eq!(session.revoked().await, Denial::Ended);
}
