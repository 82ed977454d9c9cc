//! Responses that are valid HTTP without a status.

use tower_activeconnect::client::ClientErrorKind;
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::protocol::StatusReading;

use crate::support::raw_server::{
    RawServer, STATUS_ACTIVE, Step, authenticate, head, response, status_after,
};

async fn kind(bytes: Vec<u8>) -> ClientErrorKind {
    status_after(vec![Step::Send(bytes)]).await.0.unwrap_err().kind()
}

#[tokio::test]
async fn captive_portal_page_is_invalid() {
    let page = "<!DOCTYPE html><html><body>Please log in to the Wi-Fi. active</body></html>";
    let html = response("200 OK", &[("content-type", "text/html")], page);
    assert_eq!(kind(html.clone()).await, ClientErrorKind::InvalidResponse);
    let raw = RawServer::start(move |_| vec![Step::Send(html.clone())]).await;
    let error = authenticate(&raw.client()).await.unwrap_err();
    assert_eq!(error.kind(), ClientErrorKind::InvalidResponse);
}

#[tokio::test]
async fn response_without_body_is_invalid() {
    for bytes in [
        head("204 No Content", &[]),
        head("205 Reset Content", &[("content-length", "0")]),
        response("200 OK", &[], ""),
        response("200 OK", &[], "null"),
        response("200 OK", &[], "{}"),
    ] {
        assert_eq!(kind(bytes).await, ClientErrorKind::InvalidResponse);
    }
}

/// The client requested no range.
#[tokio::test]
async fn partial_content_is_invalid() {
    let range = [("content-range", "bytes 0-76/99")];
    let part = response("206 Partial Content", &range, STATUS_ACTIVE);
    assert_eq!(kind(part).await, ClientErrorKind::InvalidResponse);
}

#[tokio::test]
async fn status_in_error_response_is_ignored() {
    use ClientErrorKind::*;
    for (status, expected) in [
        ("300 Multiple Choices", InvalidResponse),
        ("304 Not Modified", InvalidResponse),
        ("400 Bad Request", InvalidResponse),
        ("402 Payment Required", InvalidResponse),
        ("403 Forbidden", SignatureRejected),
        ("404 Not Found", UnknownSession),
        ("407 Proxy Authentication Required", InvalidResponse),
        ("410 Gone", UnknownSession),
        ("418 Teapot", InvalidResponse),
        ("429 Too Many Requests", RateLimited(None)),
        ("500 Internal Server Error", ServerError(500)),
        ("502 Bad Gateway", ServerError(502)),
        ("503 Service Unavailable", ServerError(503)),
        ("599 Mystery", ServerError(599)),
        ("999 Mystery", InvalidResponse),
    ] {
        assert_eq!(kind(response(status, &[], STATUS_ACTIVE)).await, expected, "{status}");
    }
}

#[tokio::test]
async fn unrequested_upgrade_is_invalid() {
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
    let kind = kind(head("101 Switching Protocols", &upgrade)).await;
    assert_eq!(kind, ClientErrorKind::InvalidResponse);
}

#[tokio::test]
async fn content_type_is_ignored() {
    for content_type in ["application/json", "text/plain", "text/html; charset=iso-8859-1", ""] {
        let bytes = response("200 OK", &[("content-type", content_type)], STATUS_ACTIVE);
        let read = status_after(vec![Step::Send(bytes)]).await.0;
        assert_eq!(read.unwrap(), StatusReading::Status(SessionStatus::Active), "{content_type}");
    }
}
