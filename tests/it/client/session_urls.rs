//! Session URLs of a server that is configured with a path.

use tower_activeconnect::client::{AuthenticationRequest, ClientErrorKind};
use tower_activeconnect::protocol::Dialect;

use crate::support::raw_server::{
    RawServer, STATUS_ACTIVE, Step, alice, client, response, session_at,
};

/// A service that returns these paths, at its own origin, for a session.
async fn service(status: &'static str, logout: &'static str) -> RawServer {
    RawServer::start(move |request| {
        let origin = format!("http://{}", request.header("host").unwrap());
        let session = || session_at(&format!("{origin}{status}"), &format!("{origin}{logout}"));
        let is_start = request.target.contains("/authenticate_user/");
        let response =
            || response("200 OK", &[("content-type", "application/json")], STATUS_ACTIVE);
        vec![Step::Send(if is_start { session() } else { response() })]
    })
    .await
}

/// F49: no call goes outside the configured path, even at the same origin.
#[tokio::test]
async fn url_beside_the_base_path_gets_no_call() {
    for (status, logout) in [("/b/status", "/a/logout"), ("/a/status", "/b/logout")] {
        let service = service(status, logout).await;
        let client = client(&format!("{}/a/", service.url()), Dialect::default());
        let started = client.authenticate_user(&alice(), &AuthenticationRequest::default()).await;
        let error = started.map(drop).unwrap_err();
        assert_eq!(error.kind(), ClientErrorKind::OriginMismatch, "{status} {logout}");
        assert_eq!(service.requests().len(), 1);
        assert!(service.requests()[0].target.starts_with("/a/authentication/"));
    }
}

#[tokio::test]
async fn url_below_the_base_path_is_called() {
    let service = service("/a/b/status", "/a/logout").await;
    let client = client(&format!("{}/a", service.url()), Dialect::default());
    let started = client.authenticate_user(&alice(), &AuthenticationRequest::default()).await;
    client.status(&started.unwrap()).await.unwrap();
    assert_eq!(service.requests()[1].target, "/a/b/status");
}
