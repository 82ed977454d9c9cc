//! The client follows no redirect: a signed request goes only to its own server.

use tower_activeconnect::client::ClientErrorKind;

use crate::support::raw_server::{RawServer, Step, authenticate, response};

const REDIRECTS: [&str; 5] = [
    "301 Moved Permanently",
    "302 Found",
    "303 See Other",
    "307 Temporary Redirect",
    "308 Permanent Redirect",
];

/// With and without a body that would be valid.
fn redirect(status: &str, location: &str) -> Vec<u8> {
    response(status, &[("location", location), ("refresh", &format!("0;url={location}"))], "{}")
}

#[tokio::test]
async fn status_call_follows_no_redirect() {
    let elsewhere = RawServer::unused().await;
    for status in REDIRECTS {
        let steps = vec![Step::Send(redirect(status, &format!("{}/x", elsewhere.url())))];
        let raw = RawServer::with_session(steps).await;
        let client = raw.client();
        let session = authenticate(&client).await.unwrap();
        let polled = client.status(&session).await.unwrap_err();
        assert_eq!(polled.kind(), ClientErrorKind::InvalidResponse, "{status}");
        let left = client.logout(&session).await.unwrap_err();
        assert_eq!(left.kind(), ClientErrorKind::InvalidResponse, "{status}");
        assert_eq!(raw.requests().len(), 3);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn authenticate_follows_no_redirect() {
    let elsewhere = RawServer::unused().await;
    for status in REDIRECTS {
        let location = format!("{}/x", elsewhere.url());
        let raw = RawServer::start(move |_| vec![Step::Send(redirect(status, &location))]).await;
        let error = authenticate(&raw.client()).await.unwrap_err();
        assert_eq!(error.kind(), ClientErrorKind::InvalidResponse, "{status}");
        assert_eq!(raw.requests().len(), 1);
    }
    assert_eq!(elsewhere.connections(), 0);
}

/// A redirect to the same server would carry the signature of the first request.
#[tokio::test]
async fn redirect_within_the_server_is_not_followed() {
    for status in REDIRECTS {
        let raw = RawServer::with_session(vec![Step::Send(redirect(status, "/elsewhere"))]).await;
        let client = raw.client();
        let session = authenticate(&client).await.unwrap();
        let error = client.status(&session).await.unwrap_err();
        assert_eq!(error.kind(), ClientErrorKind::InvalidResponse, "{status}");
        assert!(raw.requests().iter().all(|request| request.target != "/elsewhere"));
    }
}
