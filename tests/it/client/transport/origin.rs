//! URLs that the service names: of its own origin, without tricks, or nothing is sent there.

use tower_activeconnect::client::ClientErrorKind;
use tower_activeconnect::protocol::Dialect;

use crate::support::raw::{
    LOGOUT_PATH, Raw, Received, SESSION_SECRET, SESSION_TOKEN, STATUS_ACTIVE, STATUS_PATH, Step,
    answer, authenticate, session_at,
};

async fn refused(status_url: String, logout_url: String) -> ClientErrorKind {
    let shown = format!("{status_url:?} {logout_url:?}");
    let raw = Raw::start(move |_| vec![Step::Send(session_at(&status_url, &logout_url))]).await;
    let error = authenticate(&raw.client()).await.map(|_| panic!("taken: {shown}")).unwrap_err();
    assert_eq!(raw.requests().len(), 1);
    error.kind()
}

/// The raw server's own port is known only once it runs: `PORT` and `OTHER` stand for the two.
async fn tricks(tricks: &[&str]) {
    let elsewhere = Raw::bystander().await;
    for (number, trick) in tricks.iter().enumerate() {
        for status_is_bad in [true, false] {
            let trick = (*trick).to_owned();
            let other = elsewhere.address().port();
            let raw = Raw::start(move |request| {
                let host = request.header("host").unwrap();
                let port = host.rsplit(':').next().unwrap();
                let good = format!("http://{host}/x");
                let bad = trick.replace("PORT", port).replace("OTHER", &other.to_string());
                let (status, logout) = if status_is_bad { (bad, good) } else { (good, bad) };
                vec![Step::Send(session_at(&status, &logout))]
            })
            .await;
            let taken = authenticate(&raw.client()).await;
            let Err(error) = taken else { panic!("taken: {:?}", tricks[number]) };
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
async fn url_of_another_origin_is_refused_and_gets_no_call() {
    tricks(&[
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
    tricks(&[
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

/// Other spellings of the loopback, which the parser reads as `127.0.0.1`.
#[tokio::test]
async fn another_spelling_of_the_host_is_refused() {
    tricks(&["http://0x7f.1:PORT/x", "http://2130706433:PORT/x", "http://127.1:PORT/x"]).await;
    tricks(&["http://0177.0.0.1:PORT/x", "http://127.0.0.1:0PORT/x", "http:127.0.0.1:PORT/x"])
        .await;
}

#[tokio::test]
async fn error_kind_tells_cause() {
    let good = "http://127.0.0.1:1/x";
    for (url, expected) in [
        ("http://127.0.0.1:2/x", ClientErrorKind::OriginMismatch),
        ("http://user@127.0.0.1:2/x", ClientErrorKind::OriginMismatch),
        ("nonsense", ClientErrorKind::InvalidResponse),
    ] {
        assert_eq!(refused(url.to_owned(), good.to_owned()).await, expected, "{url}");
    }
}

#[tokio::test]
async fn session_urls_are_called_signed() {
    let raw = Raw::with_session(vec![Step::Send(answer("200 OK", &[], STATUS_ACTIVE))]).await;
    let client = raw.client();
    let session = authenticate(&client).await.unwrap();
    client.status(&session).await.unwrap();
    let _ = client.logout(&session).await;
    let requests = raw.requests();
    let [_, status, logout] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((status.method.as_str(), status.target.as_str()), ("GET", STATUS_PATH));
    assert_eq!((logout.method.as_str(), logout.target.as_str()), ("POST", LOGOUT_PATH));
    for request in [status, logout] {
        assert_eq!(request.presented().client_id, SESSION_TOKEN);
        assert!(request.is_signed(Dialect::default(), SESSION_SECRET));
    }
}

/// Who listens in on one call can't make another with it.
#[tokio::test]
async fn signature_is_for_one_url_and_one_moment() {
    let raw = Raw::with_session(vec![Step::Send(answer("200 OK", &[], STATUS_ACTIVE))]).await;
    let client = raw.client();
    let session = authenticate(&client).await.unwrap();
    client.status(&session).await.unwrap();
    let status = raw.requests().remove(1);
    let other_url = Received { target: LOGOUT_PATH.to_owned(), ..status.clone() };
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

/// A session of one server is not asked about at another.
#[tokio::test]
async fn session_is_checked_at_each_use() {
    let (ours, elsewhere) = (Raw::with_session(vec![]).await, Raw::bystander().await);
    let session = authenticate(&ours.client()).await.unwrap();
    let status = elsewhere.client().status(&session).await.unwrap_err();
    let logout = elsewhere.client().logout(&session).await.unwrap_err();
    assert_eq!(status.kind(), ClientErrorKind::OriginMismatch);
    assert_eq!(logout.kind(), ClientErrorKind::OriginMismatch);
    assert_eq!((ours.requests().len(), elsewhere.connections()), (1, 0));
}
