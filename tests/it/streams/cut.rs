//! A cut on the wire, and the streams that it must not affect.

use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use activeconnect_emulator::{Action, Endpoint, Fault, FaultKind};
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use futures_util::stream;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{Request, request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::fixture::{BOUND, Fixture, UserClient, unix_ms};
use crate::support::serve;

pub(crate) async fn connect(url: &str) -> SendRequest<Bytes> {
    let tcp = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    let (send, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(async move { connection.await.ok() });
    send
}

async fn get_over(
    connection: &SendRequest<Bytes>,
    user_client: &UserClient,
    path: &str,
) -> RecvStream {
    send_over(connection, user_client, Request::get(format!("{}{path}", user_client.url))).await
}

/// A gRPC call of either kind, up to the response head.
async fn call_over(
    connection: &SendRequest<Bytes>,
    user_client: &UserClient,
    content_type: &str,
) -> RecvStream {
    let request = Request::post(&user_client.url).header("content-type", content_type);
    send_over(connection, user_client, request).await
}

async fn send_over(
    connection: &SendRequest<Bytes>,
    user_client: &UserClient,
    request: request::Builder,
) -> RecvStream {
    let request = request.header("authorization", &user_client.bearer).body(()).unwrap();
    let mut connection = connection.clone().ready().await.unwrap();
    let response = connection.send_request(request, true).unwrap().0.await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body()
}

/// The remaining bytes, and how the body ends.
pub(crate) async fn read_to_end(body: &mut RecvStream) -> (Vec<u8>, Option<h2::Error>) {
    let mut bytes = Vec::new();
    let reading = async {
        while let Some(data) = body.data().await {
            match data {
                Ok(data) => {
                    bytes.extend_from_slice(&data);
                    body.flow_control().release_capacity(data.len()).unwrap();
                }
                Err(error) => return Some(error),
            }
        }
        None
    };
    let end = tokio::time::timeout(Duration::from_secs(20), reading).await.expect("no end");
    (bytes, end)
}

fn assert_reset(end: Option<&h2::Error>) {
    let end = end.expect("no orderly end");
    assert!(end.is_reset() && end.is_remote(), "{end}");
    assert_eq!(end.reason(), Some(Reason::INTERNAL_ERROR));
}

/// T087, T089.
#[tokio::test]
async fn cut_stream_spares_other_streams() {
    let fixture = Fixture::of(|engine| engine, |layer| layer).await;
    let (alice, bob) = (fixture.log_in("alice").await, fixture.log_in("bob").await);
    let connection = connect(&fixture.url).await;
    let mut alices = get_over(&connection, &alice, "/chunked").await;
    let mut bobs = get_over(&connection, &bob, "/chunked").await;
    fixture.act(&alice, Action::Close);
    let (_, end) = read_to_end(&mut alices).await;
    assert_reset(end.as_ref());
    // The other streams continue, and the connection accepts more.
    assert_eq!(bobs.data().await.unwrap().unwrap(), "tick");
    let mut another = get_over(&connection, &bob, "/now").await;
    assert_eq!(read_to_end(&mut another).await.0, b"now");
    fixture.finish();
    let (text, end) = read_to_end(&mut bobs).await;
    assert!(end.is_none() && text.ends_with(b"whole"), "{end:?}");
}

/// T087: no last chunk, so that the download is not taken for complete.
#[tokio::test]
async fn download_over_http1_is_aborted() {
    let fixture = Fixture::of(|engine| engine, |layer| layer).await;
    let alice = fixture.log_in("alice").await;
    for path in ["/chunked", "/download"] {
        let alice = if path == "/chunked" { alice.clone() } else { fixture.log_in("bob").await };
        let mut tcp = TcpStream::connect(fixture.url.trim_start_matches("http://")).await.unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\r\n", alice.bearer);
        tcp.write_all(head.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        tcp.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        fixture.act(&alice, Action::Close);
        let mut text = Vec::new();
        // An end of the connection, or a reset.
        tcp.read_to_end(&mut text).await.ok();
        assert!(text.ends_with(b"tick\r\n") || text.ends_with(b"tick"), "{path}");
    }
}

/// An application whose response has this content type and the pieces sent to the channel.
async fn pieces(fixture: &Fixture, content_type: &'static str) -> (String, mpsc::Sender<Vec<u8>>) {
    let (send, receive) = mpsc::channel(4);
    let receive = Mutex::new(Some(receive));
    let response = move || {
        let receive: mpsc::Receiver<Vec<u8>> = receive.lock().unwrap().take().unwrap();
        let pieces = stream::unfold(receive, |mut receive| async {
            Some((Ok::<_, Infallible>(receive.recv().await?), receive))
        });
        let body = Body::from_stream(pieces);
        std::future::ready(
            Response::builder().header("content-type", content_type).body(body).unwrap(),
        )
    };
    let response = std::sync::Arc::new(response);
    let app = Router::new().route("/", post(move || response())).layer(fixture.layer.clone());
    (serve(app).await, send)
}

fn message(text: &[u8]) -> Vec<u8> {
    let mut message = vec![0];
    message.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
    message.extend_from_slice(text);
    message
}

/// A client that received the first half of a gRPC message.
struct PausedMessage {
    fixture: Fixture,
    user_client: UserClient,
    pieces: mpsc::Sender<Vec<u8>>,
    body: RecvStream,
}

impl PausedMessage {
    async fn of(content_type: &'static str, hold_limit: Duration, first: Vec<u8>) -> Self {
        let fixture = Fixture::of(|engine| engine, |layer| layer.hold_limit(hold_limit)).await;
        let alice = fixture.log_in("alice").await;
        let (url, pieces) = pieces(&fixture, content_type).await;
        let connection = connect(&url).await;
        let mut body = {
            let user_client = alice.at(url);
            let (body, sent) = tokio::join!(
                call_over(&connection, &user_client, content_type),
                pieces.send(first.clone())
            );
            sent.unwrap();
            body
        };
        assert_eq!(body.data().await.unwrap().unwrap(), first);
        Self { fixture, user_client: alice, pieces, body }
    }
}

const LONG: Duration = Duration::from_secs(30);

/// T090: a half-sent message may end; the next one does not start.
#[tokio::test]
async fn grpc_message_is_completed_before_end() {
    let message_bytes = message(b"half and half");
    for (web, reason) in [(false, "16"), (true, "16"), (false, "14"), (true, "14")] {
        let content_type = if web { "application/grpc-web+proto" } else { "application/grpc" };
        let hold_limit = if reason == "14" { Duration::ZERO } else { LONG };
        let mut half =
            PausedMessage::of(content_type, hold_limit, message_bytes[..9].to_vec()).await;
        if reason == "14" {
            half.fixture
                .emulator
                .inject_fault(Fault::new(Endpoint::Status, FaultKind::UnknownStatus));
            half.fixture.responses(&half.user_client, 503).await;
        } else {
            half.fixture.act(&half.user_client, Action::Close);
            half.fixture.responses(&half.user_client, 401).await;
        }
        let more = [&message_bytes[9..], &message(b"the next")[..]].concat();
        half.pieces.send(more).await.unwrap();
        let (mut read_to_end, end) = read_to_end(&mut half.body).await;
        assert!(end.is_none(), "{end:?}");
        let trailers = half.body.trailers().await.unwrap();
        if web {
            assert!(trailers.is_none());
            let trailers = read_to_end.split_off(message_bytes.len() - 9);
            assert_eq!(trailers[0], 0x80);
            assert_eq!(trailers[1..5], u32::try_from(trailers.len() - 5).unwrap().to_be_bytes());
            assert!(trailers[5..].starts_with(format!("grpc-status: {reason}\r\n").as_bytes()));
        } else {
            assert_eq!(trailers.unwrap()["grpc-status"], reason);
        }
        assert_eq!(read_to_end, message_bytes[9..]);
        // The producer sees that the receiver is dropped.
        half.pieces.closed().await;
    }
}

/// T090: a message that does not end within a second is reset, whether or not more bytes come.
#[tokio::test]
async fn unfinished_grpc_message_is_reset() {
    for endless in [false, true] {
        let mut first = vec![0];
        first.extend_from_slice(&u32::MAX.to_be_bytes());
        let mut half = PausedMessage::of("application/grpc", LONG, first).await;
        let pieces = half.pieces;
        let produced = tokio::spawn(async move {
            while endless && pieces.send(vec![7; 16_384]).await.is_ok() {}
            pieces.closed().await;
        });
        half.fixture.act(&half.user_client, Action::Close);
        let (_, end) = read_to_end(&mut half.body).await;
        let took = unix_ms() - half.fixture.report(&half.user_client).ended_at.unwrap();
        assert_reset(end.as_ref());
        let bound = BOUND + Duration::from_secs(1);
        assert!(Duration::from_millis(took) <= bound, "{took} ms, endless: {endless}");
        produced.await.unwrap();
    }
}
