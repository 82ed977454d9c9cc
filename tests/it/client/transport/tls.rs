//! A server without a trusted certificate receives no request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::raw_server::{APPLICATION, RawServer, ReceivedRequest, response, session};
use crate::support::tls_server::{
    CertificateAuthority, ServerCertificate, TlsServer, call_in_child,
};

/// The requests that a server with this certificate received from a child process that trusts the
/// authority, and the child's results.
async fn call(
    authority: &CertificateAuthority,
    identity: ServerCertificate,
    respond: impl Fn(&ReceivedRequest) -> Vec<u8> + Clone + Send + 'static,
) -> ([String; 2], Vec<ReceivedRequest>, usize) {
    let received = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&received);
    let server = TlsServer::start(identity, "http/1.1", move |mut stream, number| {
        let (log, respond) = (Arc::clone(&log), respond.clone());
        async move {
            while let Some(request) = ReceivedRequest::read(&mut stream, number).await {
                let bytes = respond(&request);
                log.lock().unwrap().push(request);
                stream.write_all(&bytes).await.unwrap();
            }
        }
    })
    .await;
    let trusted = authority.pem_file();
    let variables = [("SSL_CERT_FILE", trusted.path().into())];
    let outcome = call_in_child(&server.url(), &variables).await;
    let received = received.lock().unwrap().clone();
    (outcome, received, server.connections())
}

fn sends_push(request: &ReceivedRequest) -> Vec<u8> {
    session(&format!("https://{}", request.header("host").unwrap()))
}

#[tokio::test]
async fn valid_certificate_is_trusted() {
    let authority = CertificateAuthority::new();
    let identity = authority.issue("localhost");
    let (outcome, received, _) = call(&authority, identity, sends_push).await;
    assert_eq!(outcome, ["ok", "ok"]);
    assert_eq!(received.len(), 2);
    assert!(received.iter().all(ReceivedRequest::is_authenticate_user));
}

#[tokio::test]
async fn untrusted_certificate_gets_no_request() {
    let authority = CertificateAuthority::new();
    for (flaw, identity) in [
        ("wrong host", authority.issue("elsewhere.example")),
        ("expired", authority.issue_valid("localhost", 2020, 2021)),
        ("not yet valid", authority.issue_valid("localhost", 3000, 3001)),
        ("self-signed", ServerCertificate::self_signed("localhost")),
        ("another authority", CertificateAuthority::new().issue("localhost")),
    ] {
        let (outcome, received, connections) = call(&authority, identity, sends_push).await;
        assert_eq!(outcome, ["Tls", "Tls"], "{flaw}");
        assert!(received.is_empty(), "{flaw}: {received:?}");
        // One attempt per call, without a weaker retry.
        assert_eq!(connections, 2, "{flaw}");
    }
}

#[tokio::test]
async fn server_without_tls_receives_only_a_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let observed = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&observed);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 16 * 1024];
            let read = stream.read(&mut bytes).await.unwrap();
            log.lock().unwrap().push(bytes[..read].to_vec());
            let _ = stream.write_all(&response("400 Bad Request", &[], "TLS? Not here.")).await;
            let _ = stream.read_to_end(&mut bytes).await;
            log.lock().unwrap().push(bytes);
        }
    });
    let outcome = call_in_child(&format!("https://localhost:{port}"), &[]).await;
    assert_eq!(outcome, ["Tls", "Tls"]);
    let observed = observed.lock().unwrap().concat();
    assert_eq!(observed[..2], [0x16, 0x03], "a handshake record");
    for words in ["HTTP", "hmac", APPLICATION] {
        assert!(!observed.windows(words.len()).any(|bytes| bytes == words.as_bytes()), "{words}");
    }
}

#[tokio::test]
async fn redirect_from_https_to_http_is_not_followed() {
    let elsewhere = RawServer::unused().await;
    let location = format!("http://localhost:{}/x", elsewhere.address().port());
    let authority = CertificateAuthority::new();
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"] {
        let location = location.clone();
        let identity = authority.issue("localhost");
        let redirect =
            move |_: &ReceivedRequest| response(status, &[("location", &location)], "{}");
        let (outcome, received, _) = call(&authority, identity, redirect).await;
        assert_eq!(outcome, ["InvalidResponse", "InvalidResponse"], "{status}");
        assert_eq!(received.len(), 2);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(elsewhere.connections(), 0);
}

/// Session URLs with `http` have another origin and are rejected.
#[tokio::test]
async fn http_status_url_of_https_server_is_rejected() {
    let authority = CertificateAuthority::new();
    let downgrade =
        |request: &ReceivedRequest| session(&format!("http://{}", request.header("host").unwrap()));
    let (outcome, _, _) = call(&authority, authority.issue("localhost"), downgrade).await;
    assert_eq!(outcome, ["OriginMismatch", "OriginMismatch"]);
}
