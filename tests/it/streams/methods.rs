//! Special requests: other methods, and denied uploads.

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::fixture::Fixture;

/// The bytes of the response to a raw HTTP/1.1 request.
async fn raw(fixture: &Fixture, request: &str) -> String {
    let mut tcp = TcpStream::connect(fixture.url.trim_start_matches("http://")).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    tcp.read_to_string(&mut text).await.unwrap();
    text
}

/// T120
#[tokio::test]
async fn head_gets_get_response_without_body() {
    let fixture = Fixture::of(|engine| engine, |layer| layer).await;
    let alice = fixture.log_in("alice").await;
    for bearer in [alice.bearer.clone(), "Bearer nobody".to_owned()] {
        for accept in ["application/json", "text/html"] {
            let head = |method: &str| {
                format!(
                    "{method} /now HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept: {accept}\r\n\
                     authorization: {bearer}\r\n\r\n"
                )
            };
            let (get, head) =
                (raw(&fixture, &head("GET")).await, raw(&fixture, &head("HEAD")).await);
            let (get, _) = get.split_once("\r\n\r\n").unwrap();
            let (head, body) = head.split_once("\r\n\r\n").unwrap();
            assert_eq!(head.lines().next(), get.lines().next());
            assert_eq!(body, "");
        }
    }
}

/// T121, T122: no method is exempt from the gate. A preflight has no credential, so applications
/// put the CORS layer outside.
#[tokio::test]
async fn every_method_is_gated() {
    let fixture = Fixture::of(|engine| engine, |layer| layer).await;
    let client = || reqwest::Client::builder().no_proxy();
    let clients =
        [client(), client().http2_prior_knowledge()].map(|client| client.build().unwrap());
    let odd = Method::from_bytes(b"ODD").unwrap();
    for method in [Method::OPTIONS, Method::TRACE, Method::PUT, odd] {
        for client in &clients {
            let request = client.request(method.clone(), format!("{}/now", fixture.url));
            let preflight = request.header("access-control-request-method", "GET");
            assert_eq!(preflight.send().await.unwrap().status(), 401, "{method}");
        }
    }
    let connect =
        raw(&fixture, "CONNECT other:443 HTTP/1.1\r\nhost: other:443\r\nconnection: close\r\n\r\n");
    assert!(connect.await.starts_with("HTTP/1.1 401"));
}

/// T125: a denied client gets the response before its upload is read, and the connection closes.
#[tokio::test]
async fn denied_upload_is_not_read() {
    let fixture = Fixture::of(|engine| engine, |layer| layer).await;
    for expects in ["expect: 100-continue\r\n", ""] {
        let head = format!(
            "POST /upload HTTP/1.1\r\nhost: x\r\n{expects}content-length: 1000000000\r\n\r\n"
        );
        let response = raw(&fixture, &head).await;
        assert!(response.starts_with("HTTP/1.1 401"), "{response}");
        assert_eq!(fixture.uploaded.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}
