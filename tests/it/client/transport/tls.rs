//! A server that can't prove who it is gets nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::raw::{APPLICATION, Raw, Received, answer, session};
use crate::support::secure::{Authority, Identity, Secure, call_in_child};

/// What a server with this identity received from a child that trusts the authority, and what the
/// child made of it.
async fn call(
    authority: &Authority,
    identity: Identity,
    respond: impl Fn(&Received) -> Vec<u8> + Clone + Send + 'static,
) -> ([String; 2], Vec<Received>, usize) {
    let received = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&received);
    let server = Secure::start(identity, "http/1.1", move |mut stream, number| {
        let (log, respond) = (Arc::clone(&log), respond.clone());
        async move {
            while let Some(request) = Received::read(&mut stream, number).await {
                let bytes = respond(&request);
                log.lock().unwrap().push(request);
                stream.write_all(&bytes).await.unwrap();
            }
        }
    })
    .await;
    let trusted = authority.file();
    let variables = [("SSL_CERT_FILE", trusted.path().into())];
    let outcome = call_in_child(&server.url(), &variables).await;
    let received = received.lock().unwrap().clone();
    (outcome, received, server.connections())
}

fn rings(request: &Received) -> Vec<u8> {
    session(&format!("https://{}", request.header("host").unwrap()))
}

#[tokio::test]
async fn right_certificate_is_trusted() {
    let authority = Authority::new();
    let identity = authority.vouches_for("localhost");
    let (outcome, received, _) = call(&authority, identity, rings).await;
    assert_eq!(outcome, ["ok", "ok"]);
    assert_eq!(received.len(), 2);
    assert!(received.iter().all(Received::asks_for_a_session));
}

#[tokio::test]
async fn untrusted_certificate_gets_no_request() {
    let authority = Authority::new();
    for (flaw, identity) in [
        ("wrong host", authority.vouches_for("elsewhere.example")),
        ("expired", authority.vouches_during("localhost", 2020, 2021)),
        ("not yet valid", authority.vouches_during("localhost", 3000, 3001)),
        ("self-signed", Identity::self_signed("localhost")),
        ("another authority", Authority::new().vouches_for("localhost")),
    ] {
        let (outcome, received, connections) = call(&authority, identity, rings).await;
        assert_eq!(outcome, ["Tls", "Tls"], "{flaw}");
        assert!(received.is_empty(), "{flaw}: {received:?}");
        // One try a call; nothing is tried again with less.
        assert_eq!(connections, 2, "{flaw}");
    }
}

#[tokio::test]
async fn server_without_tls_sees_nothing_but_a_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 16 * 1024];
            let read = stream.read(&mut bytes).await.unwrap();
            log.lock().unwrap().push(bytes[..read].to_vec());
            let _ = stream.write_all(&answer("400 Bad Request", &[], "TLS? Not here.")).await;
            let _ = stream.read_to_end(&mut bytes).await;
            log.lock().unwrap().push(bytes);
        }
    });
    let outcome = call_in_child(&format!("https://localhost:{port}"), &[]).await;
    assert_eq!(outcome, ["Tls", "Tls"]);
    let seen = seen.lock().unwrap().concat();
    assert_eq!(seen[..2], [0x16, 0x03], "a handshake record");
    for words in ["HTTP", "hmac", APPLICATION] {
        assert!(!seen.windows(words.len()).any(|bytes| bytes == words.as_bytes()), "{words}");
    }
}

#[tokio::test]
async fn redirect_from_https_to_http_is_not_followed() {
    let elsewhere = Raw::bystander().await;
    let location = format!("http://localhost:{}/x", elsewhere.address().port());
    let authority = Authority::new();
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"] {
        let location = location.clone();
        let identity = authority.vouches_for("localhost");
        let redirect = move |_: &Received| answer(status, &[("location", &location)], "{}");
        let (outcome, received, _) = call(&authority, identity, redirect).await;
        assert_eq!(outcome, ["InvalidResponse", "InvalidResponse"], "{status}");
        assert_eq!(received.len(), 2);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(elsewhere.connections(), 0);
}

/// A session whose URLs lack the `s` is refused as of another origin.
#[tokio::test]
async fn plain_status_url_from_a_secure_server_is_refused() {
    let authority = Authority::new();
    let downgrade =
        |request: &Received| session(&format!("http://{}", request.header("host").unwrap()));
    let (outcome, _, _) = call(&authority, authority.vouches_for("localhost"), downgrade).await;
    assert_eq!(outcome, ["OriginMismatch", "OriginMismatch"]);
}
