//! Redirects are never followed: what is signed stays with the server it was signed for.

use tower_activeconnect::client::ClientErrorKind;

use crate::support::raw::{Raw, Step, answer, authenticate};

const REDIRECTS: [&str; 5] = [
    "301 Moved Permanently",
    "302 Found",
    "303 See Other",
    "307 Temporary Redirect",
    "308 Permanent Redirect",
];

/// With and without a body that would be understood.
fn redirect(status: &str, location: &str) -> Vec<u8> {
    answer(status, &[("location", location), ("refresh", &format!("0;url={location}"))], "{}")
}

#[tokio::test]
async fn status_call_follows_no_redirect() {
    let elsewhere = Raw::bystander().await;
    for status in REDIRECTS {
        let steps = vec![Step::Send(redirect(status, &format!("{}/x", elsewhere.url())))];
        let raw = Raw::with_session(steps).await;
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
async fn ringing_a_phone_follows_no_redirect() {
    let elsewhere = Raw::bystander().await;
    for status in REDIRECTS {
        let location = format!("{}/x", elsewhere.url());
        let raw = Raw::start(move |_| vec![Step::Send(redirect(status, &location))]).await;
        let error = authenticate(&raw.client()).await.unwrap_err();
        assert_eq!(error.kind(), ClientErrorKind::InvalidResponse, "{status}");
        assert_eq!(raw.requests().len(), 1);
    }
    assert_eq!(elsewhere.connections(), 0);
}

/// To the same server neither: the second request would carry a signature for the first.
#[tokio::test]
async fn redirect_within_the_server_is_not_followed() {
    for status in REDIRECTS {
        let raw = Raw::with_session(vec![Step::Send(redirect(status, "/elsewhere"))]).await;
        let client = raw.client();
        let session = authenticate(&client).await.unwrap();
        let error = client.status(&session).await.unwrap_err();
        assert_eq!(error.kind(), ClientErrorKind::InvalidResponse, "{status}");
        assert!(raw.requests().iter().all(|request| request.target != "/elsewhere"));
    }
}
