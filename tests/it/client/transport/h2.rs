//! HTTP/2 can report that a request was not processed. The client does not resend a signed request,
//! because its nonce is used.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use h2::Reason;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tower_activeconnect::protocol::{AUTHENTICATION_HEADER, AuthenticationHeader};

use crate::support::raw_server::session;
use crate::support::tls_server::{CertificateAuthority, TlsServer, call_in_child};

#[derive(Clone, Copy)]
enum Behaviour {
    Answer,
    /// Responds, and accepts no more requests on this connection.
    AnswerAndLeave,
    /// Sends `RST_STREAM` with this reason.
    Reset(Reason),
    /// Sends `GOAWAY` with this reason, and closes.
    GoAway(Reason),
    /// Sends `GOAWAY` with last stream 0, and closes: the protocol allows a resend.
    GoAwayUnprocessed,
}

type Log = Arc<Mutex<Vec<HeaderMap>>>;

async fn serve(stream: TlsStream<TcpStream>, behaviour: Behaviour, log: Log) {
    if matches!(behaviour, Behaviour::GoAwayUnprocessed) {
        return unprocessed(stream, log).await;
    }
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let host = request.uri().authority().unwrap().to_string();
        log.lock().unwrap().push(request.headers().clone());
        match behaviour {
            Behaviour::Reset(reason) => respond.send_reset(reason),
            Behaviour::GoAway(reason) => connection.abrupt_shutdown(reason),
            _ => {
                let response_bytes = session(&format!("https://{host}"));
                let body =
                    response_bytes.split(|byte| *byte == b'\n').next_back().unwrap().to_vec();
                let head = Response::builder().status(StatusCode::ACCEPTED).body(()).unwrap();
                respond.send_response(head, false).unwrap().send_data(body.into(), true).unwrap();
                if matches!(behaviour, Behaviour::AnswerAndLeave) {
                    connection.graceful_shutdown();
                }
            }
        }
    }
}

/// Writes frames directly: settings, and after a request `GOAWAY` with last stream 0.
async fn unprocessed(mut stream: TlsStream<TcpStream>, log: Log) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == 1 {
            // HEADERS, recorded as received.
            let mut raw = HeaderMap::new();
            raw.insert("x-raw", HeaderValue::from_bytes(hex(&payload).as_bytes()).unwrap());
            log.lock().unwrap().push(raw);
            let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            stream.write_all(&goaway).await.unwrap();
            stream.shutdown().await.unwrap();
            return;
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn call(behaviour: Behaviour) -> ([String; 2], Vec<HeaderMap>, usize) {
    let authority = CertificateAuthority::new();
    let log = Log::default();
    let requests = Arc::clone(&log);
    let server = TlsServer::start(authority.issue("localhost"), "h2", move |stream, _| {
        serve(stream, behaviour, Arc::clone(&requests))
    })
    .await;
    let trusted = authority.pem_file();
    let variables = [("SSL_CERT_FILE", trusted.path().into())];
    let outcome = call_in_child(&server.url(), &variables).await;
    let requests = log.lock().unwrap().clone();
    (outcome, requests, server.connections())
}

fn nonces(requests: &[HeaderMap]) -> HashSet<String> {
    let read = |headers: &HeaderMap| {
        let header = headers[AUTHENTICATION_HEADER.to_ascii_lowercase().as_str()].to_str().unwrap();
        AuthenticationHeader::parse(header).unwrap().nonce.to_owned()
    };
    requests.iter().map(read).collect()
}

#[tokio::test]
async fn two_calls_share_a_connection() {
    let (outcome, requests, connections) = call(Behaviour::Answer).await;
    assert_eq!(outcome, ["ok", "ok"]);
    assert_eq!((nonces(&requests).len(), requests.len(), connections), (2, 2, 1));
}

#[tokio::test]
async fn gracefully_closed_connection_is_replaced() {
    let (outcome, requests, connections) = call(Behaviour::AnswerAndLeave).await;
    assert_eq!(outcome, ["ok", "ok"]);
    assert_eq!((nonces(&requests).len(), requests.len(), connections), (2, 2, 2));
}

#[tokio::test]
async fn refused_stream_is_not_resent() {
    for reason in [Reason::REFUSED_STREAM, Reason::CANCEL, Reason::ENHANCE_YOUR_CALM] {
        let (outcome, requests, _) = call(Behaviour::Reset(reason)).await;
        assert_eq!(outcome, ["Unreachable", "Unreachable"], "{reason:?}");
        // Two calls, two requests, each with its own signature.
        assert_eq!((nonces(&requests).len(), requests.len()), (2, 2), "{reason:?}");
    }
}

#[tokio::test]
async fn goaway_request_is_not_resent() {
    for reason in [Reason::NO_ERROR, Reason::PROTOCOL_ERROR, Reason::INTERNAL_ERROR] {
        let (outcome, requests, _) = call(Behaviour::GoAway(reason)).await;
        assert_eq!(outcome, ["Unreachable", "Unreachable"], "{reason:?}");
        assert_eq!((nonces(&requests).len(), requests.len()), (2, 2), "{reason:?}");
    }
}

#[tokio::test]
async fn unprocessed_request_is_not_resent() {
    let (outcome, requests, connections) = call(Behaviour::GoAwayUnprocessed).await;
    assert_eq!(outcome, ["Unreachable", "Unreachable"]);
    assert_eq!((requests.len(), connections), (2, 2));
}

/// RFC 7541, 6.2.3: no intermediary may put the signature into a header compression table.
#[tokio::test]
async fn signature_is_never_indexed() {
    /// `authentication` in HPACK's Huffman code, with its length.
    const NAME: [u8; 11] = [0x8a, 0x1d, 0xa9, 0x9c, 0xb5, 0x24, 0xc4, 0x1a, 0x4c, 0x7a, 0xbf];
    let (_, requests, _) = call(Behaviour::GoAwayUnprocessed).await;
    for request in requests {
        let headers = request["x-raw"].to_str().unwrap().to_owned();
        assert!(headers.contains(&format!("10{}", hex(&NAME))), "{headers}");
    }
}
