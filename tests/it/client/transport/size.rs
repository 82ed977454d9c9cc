//! Responses above 64 KiB are rejected, with any length, form and encoding.

use tower_activeconnect::client::ClientErrorKind;

use crate::support::raw_server::{
    RawServer, STATUS_ACTIVE, Step, chunk, head, response, status_after,
};

const LIMIT: usize = 64 * 1024;

/// The bytes that the kernel may buffer beyond what the client read, in both sockets.
const BUFFERED: usize = 128 * 1024;

async fn error_and_server(steps: Vec<Step>) -> RawServer {
    let (read, raw) = status_after(steps).await;
    let error = read.unwrap_err();
    assert_eq!(error.kind(), ClientErrorKind::InvalidResponse, "{error}");
    raw
}

async fn rejected_early(steps: Vec<Step>) {
    let raw = error_and_server(steps).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(raw.sent() < LIMIT + BUFFERED, "{} bytes were read", raw.sent());
}

/// The status with spaces up to this length.
fn padded_status(length: usize) -> Vec<u8> {
    let mut body = STATUS_ACTIVE.as_bytes().to_vec();
    body.resize(length, b' ');
    body
}

fn in_chunks(body: &[u8]) -> Vec<u8> {
    let mut bytes = head("200 OK", &[("transfer-encoding", "chunked")]);
    for part in body.chunks(1_000).chain([&[][..]]) {
        bytes.extend(chunk(part));
    }
    bytes
}

#[tokio::test]
async fn body_limit_is_64_kib() {
    let exact = padded_status(LIMIT);
    for bytes in [response("200 OK", &[], &exact), in_chunks(&exact)] {
        let read = status_after(vec![Step::Send(bytes)]).await.0;
        assert!(read.is_ok(), "{read:?}");
    }
    let more = padded_status(LIMIT + 1);
    for bytes in [response("200 OK", &[], &more), in_chunks(&more)] {
        error_and_server(vec![Step::Send(bytes)]).await;
    }
    let mut until_the_end = head("200 OK", &[]);
    until_the_end.extend(&more);
    error_and_server(vec![Step::Send(until_the_end), Step::Close]).await;
}

#[tokio::test]
async fn endless_body_is_abandoned_after_64_kib() {
    let started_at = Step::Send(head("200 OK", &[("transfer-encoding", "chunked")]));
    rejected_early(vec![started_at, Step::Endless(chunk(&[b' '; 1_000]))]).await;
    let started_at = Step::Send(head("200 OK", &[]));
    rejected_early(vec![started_at, Step::Endless(vec![b' '; 1_000])]).await;
}

/// Rejected by its announced length, without reading the body.
#[tokio::test]
async fn announced_5_gb_body_is_rejected_unread() {
    for length in ["65537", "5368709120", "9223372036854775807"] {
        let announced = head("200 OK", &[("content-length", length)]);
        let started_at = std::time::Instant::now();
        error_and_server(vec![Step::Send(announced)]).await;
        assert!(started_at.elapsed() < std::time::Duration::from_secs(1));
    }
    let announced = head("200 OK", &[("content-length", "5368709120")]);
    rejected_early(vec![Step::Send(announced), Step::Endless(vec![b' '; 1_000])]).await;
}

#[tokio::test]
async fn error_bodies_are_limited() {
    let started_at =
        Step::Send(head("500 Internal Server Error", &[("transfer-encoding", "chunked")]));
    rejected_early(vec![started_at, Step::Endless(chunk(&[b' '; 1_000]))]).await;
}

/// `{"session_status":"active"}` in each encoding.
const ENCODED: [(&str, &[u8]); 4] = [
    ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01\x1b\x00\xe4\xff{\"session_status\":\"active\"}\x0b\xeeW\xb4\x1b\x00\x00\x00"),
    ("deflate", b"x\x01\x01\x1b\x00\xe4\xff{\"session_status\":\"active\"}\x93\x08\x0a>"),
    ("br", b"\xa0\x01\x10{\"session_status\":\"active\"}\x03"),
    ("zstd", b"(\xb5/\xfd \x1b\xd9\x00\x00{\"session_status\":\"active\"}"),
];

#[tokio::test]
async fn content_encoding_is_not_supported() {
    for (encoding, body) in ENCODED {
        let encoded = response("200 OK", &[("content-encoding", encoding)], body);
        let raw = error_and_server(vec![Step::Send(encoded)]).await;
        for request in raw.requests() {
            assert_eq!(request.header("accept-encoding"), None);
        }
    }
}

/// The limit counts bytes on the wire, since the client does not decompress.
#[tokio::test]
async fn compressed_bomb_stops_at_64_kib() {
    for (encoding, body) in ENCODED {
        let headers = [("content-encoding", encoding), ("transfer-encoding", "chunked")];
        let mut started_at = head("200 OK", &headers);
        started_at.extend(chunk(&body[..body.len() - 1]));
        rejected_early(vec![Step::Send(started_at), Step::Endless(chunk(&[0; 1_000]))]).await;
    }
}

/// Headers have their own limit, that of the HTTP library.
#[tokio::test]
async fn huge_headers_are_rejected() {
    for endless in
        ["x: y\r\n".repeat(100), format!("x: {}\r\n", "y".repeat(10_000)), "y".repeat(999)]
    {
        let started_at = Step::Send(b"HTTP/1.1 200 OK\r\nx: y\r\nz: ".to_vec());
        let (read, raw) = status_after(vec![started_at, Step::Endless(endless.into())]).await;
        assert_eq!(read.unwrap_err().kind(), ClientErrorKind::Unreachable);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert!(raw.sent() < 512 * 1024 + BUFFERED, "{} bytes were read", raw.sent());
    }
}
