//! URLs from the service: they must have the service's origin, or no call is sent.

use tower_activeconnect::client::ClientErrorKind;
use tower_activeconnect::protocol::Dialect;

use crate::support::raw_server::{
    LOGOUT_PATH, RawServer, ReceivedRequest, SESSION_SECRET, SESSION_TOKEN, STATUS_ACTIVE,
    STATUS_PATH, Step, authenticate, response, session_at,
};

async fn rejection_of(status_url: String, logout_url: String) -> ClientErrorKind {
    let urls = format!("{status_url:?} {logout_url:?}");
    let raw =
        RawServer::start(move |_| vec![Step::Send(session_at(&status_url, &logout_url))]).await;
    let error = authenticate(&raw.client()).await.map(|_| panic!("accepted: {urls}")).unwrap_err();
    assert_eq!(raw.requests().len(), 1);
    error.kind()
}

/// `PORT` and `OTHER` stand for ports that are known once the servers run.
async fn hostile_urls(hostile_urls: &[&str]) {
    let elsewhere = RawServer::unused().await;
    for (number, trick) in hostile_urls.iter().enumerate() {
        for status_is_bad in [true, false] {
            let trick = (*trick).to_owned();
            let other = elsewhere.address().port();
            let raw = RawServer::start(move |request| {
                let host = request.header("host").unwrap();
                let port = host.rsplit(':').next().unwrap();
                let valid = format!("http://{host}/x");
                let hostile = trick.replace("PORT", port).replace("OTHER", &other.to_string());
                let (status, logout) =
                    if status_is_bad { (hostile, valid) } else { (valid, hostile) };
                vec![Step::Send(session_at(&status, &logout))]
            })
            .await;
            let result = authenticate(&raw.client()).await;
            let Err(error) = result else { panic!("accepted: {:?}", hostile_urls[number]) };
            assert!(
                matches!(
                    error.kind(),
                    ClientErrorKind::OriginMismatch | ClientErrorKind::InvalidResponse
                ),
                "{error}"
            );
            assert_eq!(raw.requests().len(), 1);
        }
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn url_of_other_origin_is_rejected_without_call() {
    hostile_urls(&[
        "http://127.0.0.1:OTHER/x",
        "https://127.0.0.1:PORT/x",
        "http://127.0.0.2:PORT/x",
        "http://localhost:PORT/x",
        "http://[::1]:PORT/x",
        "http://[::ffff:127.0.0.1]:PORT/x",
        "http://127.0.0.1/x",
        "http://169.254.169.254/latest/meta-data",
        "http://evil.example/x",
        "http://127.0.0.1.evil.example:PORT/x",
        "ftp://127.0.0.1:PORT/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:,x",
    ])
    .await;
}

#[tokio::test]
async fn ambiguous_url_is_rejected() {
    hostile_urls(&[
        "http://127.0.0.1:PORT@127.0.0.1:OTHER/x",
        "http://user@127.0.0.1:PORT/x",
        "http://user:password@127.0.0.1:PORT/x",
        "http://127.0.0.1:PORT/x#fragment",
        "http://127.0.0.1:PORT\\@127.0.0.1:OTHER/x",
        "http:\\\\127.0.0.1:PORT\\x",
        "http://127.0.0.1:\tPORT/x",
        "http://127.0.0.1:PORT/\tx",
        "http://127.0.0.1:PORT/x\n",
        " http://127.0.0.1:PORT/x",
        "http://127.0.0.1:PORT/x ",
        "http://127.0.0.1.:PORT/x",
        "http://127.0.0.1:PORT/http://127.0.0.1:OTHER/x",
        "http://127.0.0.1:PORT/x?u=http://127.0.0.1:OTHER/x",
        "http://127.0.0.1:PORT/\u{e9}",
        "http://\u{ff11}27.0.0.1:PORT/x",
        "http://127。0。0。1:PORT/x",
        "//127.0.0.1:PORT/x",
        "/x",
        "x",
        "http:",
        "",
    ])
    .await;
}

/// Other spellings of the loopback, which the URL parser reads as `127.0.0.1`.
#[tokio::test]
async fn other_spelling_of_host_is_rejected() {
    hostile_urls(&["http://0x7f.1:PORT/x", "http://2130706433:PORT/x", "http://127.1:PORT/x"])
        .await;
    hostile_urls(&[
        "http://0177.0.0.1:PORT/x",
        "http://127.0.0.1:0PORT/x",
        "http:127.0.0.1:PORT/x",
    ])
    .await;
}

#[tokio::test]
async fn error_kind_tells_cause() {
    let valid = "http://127.0.0.1:1/x";
    for (url, expected) in [
        ("http://127.0.0.1:2/x", ClientErrorKind::OriginMismatch),
        ("http://user@127.0.0.1:2/x", ClientErrorKind::OriginMismatch),
        ("nonsense", ClientErrorKind::InvalidResponse),
    ] {
        assert_eq!(rejection_of(url.to_owned(), valid.to_owned()).await, expected, "{url}");
    }
}

#[tokio::test]
async fn session_urls_are_called_signed() {
    let raw =
        RawServer::with_session(vec![Step::Send(response("200 OK", &[], STATUS_ACTIVE))]).await;
    let client = raw.client();
    let session = authenticate(&client).await.unwrap();
    client.status(&session).await.unwrap();
    let _ = client.logout(&session).await;
    let requests = raw.requests();
    let [_, status, logout] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((status.method.as_str(), status.target.as_str()), ("GET", STATUS_PATH));
    assert_eq!((logout.method.as_str(), logout.target.as_str()), ("POST", LOGOUT_PATH));
    for request in [status, logout] {
        assert_eq!(request.authentication_header().client_id, SESSION_TOKEN);
        assert!(request.is_signed(Dialect::default(), SESSION_SECRET));
    }
}

/// A recorded signature is invalid for another call.
#[tokio::test]
async fn signature_is_bound_to_url_and_time() {
    let raw =
        RawServer::with_session(vec![Step::Send(response("200 OK", &[], STATUS_ACTIVE))]).await;
    let client = raw.client();
    let session = authenticate(&client).await.unwrap();
    client.status(&session).await.unwrap();
    let status = raw.requests().remove(1);
    let other_url = ReceivedRequest { target: LOGOUT_PATH.to_owned(), ..status.clone() };
    let mut later = status.clone();
    for (name, value) in &mut later.headers {
        if name.ends_with("-timestamp") {
            *value = (value.parse::<u64>().unwrap() + 1).to_string();
        }
    }
    assert!(status.is_signed(Dialect::default(), SESSION_SECRET));
    assert!(!other_url.is_signed(Dialect::default(), SESSION_SECRET));
    assert!(!later.is_signed(Dialect::default(), SESSION_SECRET));
    assert!(!status.is_signed(Dialect::default(), "another secret"));
}

/// The client does not poll a session of another server.
#[tokio::test]
async fn session_urls_are_checked_at_each_use() {
    let (ours, elsewhere) = (RawServer::with_session(vec![]).await, RawServer::unused().await);
    let session = authenticate(&ours.client()).await.unwrap();
    let status = elsewhere.client().status(&session).await.unwrap_err();
    let logout = elsewhere.client().logout(&session).await.unwrap_err();
    assert_eq!(status.kind(), ClientErrorKind::OriginMismatch);
    assert_eq!(logout.kind(), ClientErrorKind::OriginMismatch);
    assert_eq!((ours.requests().len(), elsewhere.connections()), (1, 0));
}
