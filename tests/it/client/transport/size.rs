//! Answers that are too big: refused after 64 KiB, whatever their length, form or encoding.

use tower_activeconnect::client::ClientErrorKind;

use crate::support::raw::{Raw, STATUS_ACTIVE, Step, answer, chunk, head, status_of};

const LIMIT: usize = 64 * 1024;

/// What the kernel may hold of an answer beyond what was read: both sockets' buffers.
const ON_THE_WAY: usize = 128 * 1024;

async fn refused(steps: Vec<Step>) -> Raw {
    let (read, raw) = status_of(steps).await;
    let error = read.unwrap_err();
    assert_eq!(error.kind(), ClientErrorKind::InvalidResponse, "{error}");
    raw
}

async fn refused_early(steps: Vec<Step>) {
    let raw = refused(steps).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(raw.sent() < LIMIT + ON_THE_WAY, "{} bytes were taken", raw.sent());
}

/// The statement, and blanks up to this length.
fn padded(length: usize) -> Vec<u8> {
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
async fn sixty_four_kibibytes_are_read_and_not_one_more() {
    let exact = padded(LIMIT);
    for bytes in [answer("200 OK", &[], &exact), in_chunks(&exact)] {
        let read = status_of(vec![Step::Send(bytes)]).await.0;
        assert!(read.is_ok(), "{read:?}");
    }
    let more = padded(LIMIT + 1);
    for bytes in [answer("200 OK", &[], &more), in_chunks(&more)] {
        refused(vec![Step::Send(bytes)]).await;
    }
    let mut until_the_end = head("200 OK", &[]);
    until_the_end.extend(&more);
    refused(vec![Step::Send(until_the_end), Step::Close]).await;
}

#[tokio::test]
async fn endless_body_is_left_after_sixty_four_kibibytes() {
    let begun = Step::Send(head("200 OK", &[("transfer-encoding", "chunked")]));
    refused_early(vec![begun, Step::Endless(chunk(&[b' '; 1_000]))]).await;
    let begun = Step::Send(head("200 OK", &[]));
    refused_early(vec![begun, Step::Endless(vec![b' '; 1_000])]).await;
}

/// Refused by its announced length: the body does not come, and is not waited for.
#[tokio::test]
async fn five_gigabytes_are_refused_before_the_first_byte() {
    for length in ["65537", "5368709120", "9223372036854775807"] {
        let announced = head("200 OK", &[("content-length", length)]);
        let begun = std::time::Instant::now();
        refused(vec![Step::Send(announced)]).await;
        assert!(begun.elapsed() < std::time::Duration::from_secs(1));
    }
    let announced = head("200 OK", &[("content-length", "5368709120")]);
    refused_early(vec![Step::Send(announced), Step::Endless(vec![b' '; 1_000])]).await;
}

#[tokio::test]
async fn error_answers_are_limited_too() {
    let begun = Step::Send(head("500 Internal Server Error", &[("transfer-encoding", "chunked")]));
    refused_early(vec![begun, Step::Endless(chunk(&[b' '; 1_000]))]).await;
}

/// `{"session_status":"active"}` in each encoding.
const ENCODED: [(&str, &[u8]); 4] = [
    ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01\x1b\x00\xe4\xff{\"session_status\":\"active\"}\x0b\xeeW\xb4\x1b\x00\x00\x00"),
    ("deflate", b"x\x01\x01\x1b\x00\xe4\xff{\"session_status\":\"active\"}\x93\x08\x0a>"),
    ("br", b"\xa0\x01\x10{\"session_status\":\"active\"}\x03"),
    ("zstd", b"(\xb5/\xfd \x1b\xd9\x00\x00{\"session_status\":\"active\"}"),
];

#[tokio::test]
async fn no_encoding_is_asked_for_or_undone() {
    for (encoding, body) in ENCODED {
        let encoded = answer("200 OK", &[("content-encoding", encoding)], body);
        let raw = refused(vec![Step::Send(encoded)]).await;
        for request in raw.requests() {
            assert_eq!(request.header("accept-encoding"), None);
        }
    }
}

/// A bomb counts by the bytes on the wire, since it is never opened.
#[tokio::test]
async fn compressed_bomb_stops_at_64_kib() {
    for (encoding, body) in ENCODED {
        let headers = [("content-encoding", encoding), ("transfer-encoding", "chunked")];
        let mut begun = head("200 OK", &headers);
        begun.extend(chunk(&body[..body.len() - 1]));
        refused_early(vec![Step::Send(begun), Step::Endless(chunk(&[0; 1_000]))]).await;
    }
}

/// Headers have a bound of their own, that of the HTTP library.
#[tokio::test]
async fn huge_headers_are_an_error_and_not_read_for_ever() {
    for endless in
        ["x: y\r\n".repeat(100), format!("x: {}\r\n", "y".repeat(10_000)), "y".repeat(999)]
    {
        let begun = Step::Send(b"HTTP/1.1 200 OK\r\nx: y\r\nz: ".to_vec());
        let (read, raw) = status_of(vec![begun, Step::Endless(endless.into())]).await;
        assert_eq!(read.unwrap_err().kind(), ClientErrorKind::Unreachable);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert!(raw.sent() < 512 * 1024 + ON_THE_WAY, "{} bytes were taken", raw.sent());
    }
}
