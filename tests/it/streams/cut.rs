//! What a cut looks like on the wire, and whom it does not touch.

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

use super::stage::{BOUND, Caller, Stage, unix_ms};
use crate::support::serve;

pub(crate) async fn connect(url: &str) -> SendRequest<Bytes> {
    let tcp = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    let (send, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(async move { connection.await.ok() });
    send
}

async fn get_over(connection: &SendRequest<Bytes>, caller: &Caller, path: &str) -> RecvStream {
    send_over(connection, caller, Request::get(format!("{}{path}", caller.url))).await
}

/// A gRPC call of either kind, as far as its head goes.
async fn call_over(
    connection: &SendRequest<Bytes>,
    caller: &Caller,
    content_type: &str,
) -> RecvStream {
    let request = Request::post(&caller.url).header("content-type", content_type);
    send_over(connection, caller, request).await
}

async fn send_over(
    connection: &SendRequest<Bytes>,
    caller: &Caller,
    request: request::Builder,
) -> RecvStream {
    let request = request.header("authorization", &caller.bearer).body(()).unwrap();
    let mut connection = connection.clone().ready().await.unwrap();
    let answer = connection.send_request(request, true).unwrap().0.await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body()
}

/// All that comes, and how it ends.
pub(crate) async fn rest(body: &mut RecvStream) -> (Vec<u8>, Option<h2::Error>) {
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
async fn cut_stream_takes_no_other_with_it() {
    let stage = Stage::of(|engine| engine, |layer| layer).await;
    let (alice, bob) = (stage.log_in("alice").await, stage.log_in("bob").await);
    let connection = connect(&stage.url).await;
    let mut alices = get_over(&connection, &alice, "/chunked").await;
    let mut bobs = get_over(&connection, &bob, "/chunked").await;
    stage.act(&alice, Action::Close);
    let (_, end) = rest(&mut alices).await;
    assert_reset(end.as_ref());
    // What was begun goes on, and the connection takes more.
    assert_eq!(bobs.data().await.unwrap().unwrap(), "tick");
    let mut another = get_over(&connection, &bob, "/now").await;
    assert_eq!(rest(&mut another).await.0, b"now");
    stage.finish();
    let (text, end) = rest(&mut bobs).await;
    assert!(end.is_none() && text.ends_with(b"whole"), "{end:?}");
}

/// T087: no last chunk, so that nobody takes it for whole.
#[tokio::test]
async fn download_over_http1_is_aborted() {
    let stage = Stage::of(|engine| engine, |layer| layer).await;
    let alice = stage.log_in("alice").await;
    for path in ["/chunked", "/download"] {
        let alice = if path == "/chunked" { alice.clone() } else { stage.log_in("bob").await };
        let mut tcp = TcpStream::connect(stage.url.trim_start_matches("http://")).await.unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\r\n", alice.bearer);
        tcp.write_all(head.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        tcp.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        stage.act(&alice, Action::Close);
        let mut text = Vec::new();
        // An end of the connection, or a reset.
        tcp.read_to_end(&mut text).await.ok();
        assert!(text.ends_with(b"tick\r\n") || text.ends_with(b"tick"), "{path}");
    }
}

/// An application whose one answer is of this type and consists of what is sent there.
async fn pieces(stage: &Stage, content_type: &'static str) -> (String, mpsc::Sender<Vec<u8>>) {
    let (send, receive) = mpsc::channel(4);
    let receive = Mutex::new(Some(receive));
    let answer = move || {
        let receive: mpsc::Receiver<Vec<u8>> = receive.lock().unwrap().take().unwrap();
        let pieces = stream::unfold(receive, |mut receive| async {
            Some((Ok::<_, Infallible>(receive.recv().await?), receive))
        });
        let body = Body::from_stream(pieces);
        std::future::ready(
            Response::builder().header("content-type", content_type).body(body).unwrap(),
        )
    };
    let answer = std::sync::Arc::new(answer);
    let app = Router::new().route("/", post(move || answer())).layer(stage.layer.clone());
    (serve(app).await, send)
}

fn message(text: &[u8]) -> Vec<u8> {
    let mut message = vec![0];
    message.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
    message.extend_from_slice(text);
    message
}

/// A client that has the first half of a gRPC message.
struct Half {
    stage: Stage,
    caller: Caller,
    pieces: mpsc::Sender<Vec<u8>>,
    body: RecvStream,
}

impl Half {
    async fn of(content_type: &'static str, hold_limit: Duration, first: Vec<u8>) -> Self {
        let stage = Stage::of(|engine| engine, |layer| layer.hold_limit(hold_limit)).await;
        let alice = stage.log_in("alice").await;
        let (url, pieces) = pieces(&stage, content_type).await;
        let connection = connect(&url).await;
        let mut body = {
            let caller = alice.at(url);
            let (body, sent) = tokio::join!(
                call_over(&connection, &caller, content_type),
                pieces.send(first.clone())
            );
            sent.unwrap();
            body
        };
        assert_eq!(body.data().await.unwrap().unwrap(), first);
        Self { stage, caller: alice, pieces, body }
    }
}

const LONG: Duration = Duration::from_secs(30);

/// T090: the message that is half sent may end; the next does not begin.
#[tokio::test]
async fn grpc_message_is_finished_and_no_other_begun() {
    let whole = message(b"half and half");
    for (web, why) in [(false, "16"), (true, "16"), (false, "14"), (true, "14")] {
        let content_type = if web { "application/grpc-web+proto" } else { "application/grpc" };
        let hold_limit = if why == "14" { Duration::ZERO } else { LONG };
        let mut half = Half::of(content_type, hold_limit, whole[..9].to_vec()).await;
        if why == "14" {
            half.stage
                .emulator
                .inject_fault(Fault::new(Endpoint::Status, FaultKind::UnknownStatus));
            half.stage.answers(&half.caller, 503).await;
        } else {
            half.stage.act(&half.caller, Action::Close);
            half.stage.answers(&half.caller, 401).await;
        }
        let more = [&whole[9..], &message(b"the next")[..]].concat();
        half.pieces.send(more).await.unwrap();
        let (mut rest, end) = rest(&mut half.body).await;
        assert!(end.is_none(), "{end:?}");
        let trailers = half.body.trailers().await.unwrap();
        if web {
            assert!(trailers.is_none());
            let trailers = rest.split_off(whole.len() - 9);
            assert_eq!(trailers[0], 0x80);
            assert_eq!(trailers[1..5], u32::try_from(trailers.len() - 5).unwrap().to_be_bytes());
            assert!(trailers[5..].starts_with(format!("grpc-status: {why}\r\n").as_bytes()));
        } else {
            assert_eq!(trailers.unwrap()["grpc-status"], why);
        }
        assert_eq!(rest, whole[9..]);
        // Who produces it sees that nobody listens.
        half.pieces.closed().await;
    }
}

/// T090: a message that does not end within a second is reset, whether nothing comes or more and
/// more.
#[tokio::test]
async fn grpc_message_that_does_not_end_is_reset() {
    for endless in [false, true] {
        let mut first = vec![0];
        first.extend_from_slice(&u32::MAX.to_be_bytes());
        let mut half = Half::of("application/grpc", LONG, first).await;
        let pieces = half.pieces;
        let produced = tokio::spawn(async move {
            while endless && pieces.send(vec![7; 16_384]).await.is_ok() {}
            pieces.closed().await;
        });
        half.stage.act(&half.caller, Action::Close);
        let (_, end) = rest(&mut half.body).await;
        let took = unix_ms() - half.stage.report(&half.caller).ended_at.unwrap();
        assert_reset(end.as_ref());
        let bound = BOUND + Duration::from_secs(1);
        assert!(Duration::from_millis(took) <= bound, "{took} ms, endless: {endless}");
        produced.await.unwrap();
    }
}
