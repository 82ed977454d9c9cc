//! Truncated responses and invalid HTTP.

use tower_activeconnect::client::ClientErrorKind;
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::protocol::StatusReading;

use crate::support::raw_server::{STATUS_ACTIVE, Step, chunk, head, response, status_after};

const CHUNKED: &[(&str, &str)] =
    &[("content-type", "application/json"), ("transfer-encoding", "chunked")];

async fn kind(steps: Vec<Step>) -> ClientErrorKind {
    status_after(steps).await.0.unwrap_err().kind()
}

/// The part that reads as active arrives, but not the announced length.
#[tokio::test]
async fn truncated_body_is_no_response() {
    let mut head = head("200 OK", &[("content-length", "100")]);
    head.extend(STATUS_ACTIVE.bytes());
    for end in [Step::Close, Step::Reset] {
        assert_eq!(kind(vec![Step::Send(head.clone()), end]).await, ClientErrorKind::Unreachable);
    }
}

#[tokio::test]
async fn unterminated_chunked_body_is_no_response() {
    for cut in ["", "0\r\n", "5\r\nab"] {
        let mut bytes = head("200 OK", CHUNKED);
        bytes.extend(chunk(STATUS_ACTIVE.as_bytes()));
        bytes.extend(cut.bytes());
        let steps = vec![Step::Send(bytes), Step::Close];
        assert_eq!(kind(steps).await, ClientErrorKind::Unreachable, "{cut:?}");
    }
}

#[tokio::test]
async fn whole_chunked_body_is_read() {
    let mut bytes = head("200 OK", CHUNKED);
    let (first, second) = STATUS_ACTIVE.as_bytes().split_at(20);
    for part in [first, second, b""] {
        bytes.extend(chunk(part));
    }
    let read = status_after(vec![Step::Send(bytes)]).await.0;
    assert_eq!(read.unwrap(), StatusReading::Status(SessionStatus::Active));
}

#[tokio::test]
async fn connection_broken_before_response_is_unreachable() {
    for end in [Step::Close, Step::Reset] {
        assert_eq!(kind(vec![end.clone()]).await, ClientErrorKind::Unreachable);
        let half = Step::Send(b"HTTP/1.1 200 OK\r\ncontent-ty".to_vec());
        assert_eq!(kind(vec![half, end]).await, ClientErrorKind::Unreachable);
    }
}

#[tokio::test]
async fn malformed_http_is_an_error() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\0\0\0\0\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
        "\r\n\r\n\r\n",
    ] {
        let steps = vec![Step::Send(garbage.into()), Step::Close];
        assert_eq!(kind(steps).await, ClientErrorKind::Unreachable, "{garbage:?}");
    }
}

#[tokio::test]
async fn interim_response_is_skipped() {
    for interim in ["100 Continue", "102 Processing", "103 Early Hints"] {
        let mut bytes = head(interim, &[]);
        bytes.extend(response("200 OK", &[], STATUS_ACTIVE));
        let read = status_after(vec![Step::Send(bytes)]).await.0;
        assert_eq!(read.unwrap(), StatusReading::Status(SessionStatus::Active), "{interim}");
    }
}
