//! T146: an application on a Unix socket, which only the proxy can connect to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::routing::get;
use axum::serve::IncomingStream;
use reqwest::StatusCode;
use serde_json::json;
use tokio::net::{TcpListener, UnixListener};
use tower_activeconnect::login::{LoginLimits, RateLimit};
use tower_activeconnect::web::UnixPeer;
use tower_activeconnect::{Activeconnect, ActiveconnectBuilder};

use super::app;
use super::servers::Proxy;
use crate::support::{Browser, builder, enroll_users};

/// As in axum's own example.
#[derive(Clone, Debug)]
struct UdsConnectInfo {
    peer: Arc<tokio::net::unix::SocketAddr>,
}

impl Connected<IncomingStream<'_, UnixListener>> for UdsConnectInfo {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let peer = stream.io().peer_addr().unwrap();
        Self { peer: Arc::new(peer) }
    }
}

struct Site {
    _emulator: Emulator,
    nginx: Proxy,
    /// The same application on a TCP port.
    tcp: String,
    _folder: tempfile::TempDir,
}

/// Serves an application with one login per client, on a Unix socket behind nginx and on a TCP
/// port.
async fn serve<C>(configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder) -> Site
where
    C: for<'a> Connected<IncomingStream<'a, UnixListener>>,
{
    let emulator = Emulator::start().await.unwrap();
    let limits = LoginLimits::default().per_address(RateLimit::new(1, Duration::from_secs(300)));
    let ac: Activeconnect = configure(builder(&emulator)).login_limits(limits).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let peer = async |ConnectInfo(info): ConnectInfo<UdsConnectInfo>| format!("{:?}", info.peer);
    let app: Router = app(&ac).route("/peer", get(peer));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let on_unix = app.clone().into_make_service_with_connect_info::<C>();
    tokio::spawn(async move { axum::serve(listener, on_unix).await.unwrap() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = format!("http://{}", listener.local_addr().unwrap());
    let on_tcp = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, on_tcp).await.unwrap() });
    // `x-client` stands for the client's address.
    let nginx = Proxy::nginx(&format!(
        "set_real_ip_from 127.0.0.1; real_ip_header x-client;\n\
         server {{ listen LISTEN; location / {{\n\
         proxy_pass http://unix:{}:;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}",
        path.display()
    ))
    .await;
    Site { _emulator: emulator, nginx, tcp, _folder: folder }
}

/// Starts a login under a new username.
async fn start(url: &str, headers: &[(&str, &str)]) -> StatusCode {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let browser = Browser::new(url);
    let username = format!("user{number}");
    let mut request = browser.post("/auth/login").json(&json!({ "username": username }));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    browser.send(request).await.status()
}

async fn each_client_has_its_limit(site: &Site) {
    let nginx = site.nginx.url();
    for client in ["203.0.113.1", "203.0.113.2", "2001:db8::1"] {
        let forged = ("x-forwarded-for", "198.51.100.1");
        assert_eq!(start(&nginx, &[("x-client", client), forged]).await, 202, "{client}");
        let forged = ("x-forwarded-for", "198.51.100.2");
        assert_eq!(start(&nginx, &[("x-client", client), forged]).await, 429, "{client}");
    }
    // Only the Unix socket is trusted.
    assert_eq!(start(&site.tcp, &[("x-forwarded-for", "203.0.113.3")]).await, 202);
    assert_eq!(start(&site.tcp, &[("x-forwarded-for", "203.0.113.4")]).await, 429);
}

#[tokio::test]
async fn unix_peer_is_trusted() {
    let site = serve::<UnixPeer>(ActiveconnectBuilder::trust_unix_peer::<UnixPeer>).await;
    each_client_has_its_limit(&site).await;
}

#[tokio::test]
async fn connect_info_of_the_application_is_trusted() {
    let site =
        serve::<UdsConnectInfo>(ActiveconnectBuilder::trust_unix_peer::<UdsConnectInfo>).await;
    each_client_has_its_limit(&site).await;
}

#[tokio::test]
async fn unix_peer_is_not_trusted_by_default() {
    // A connect info type that the application does not name is not trusted.
    for configure in [
        |b: ActiveconnectBuilder| b,
        |b: ActiveconnectBuilder| b.trust_unix_peer::<UdsConnectInfo>(),
    ] {
        let site = serve::<UnixPeer>(configure).await;
        let nginx = site.nginx.url();
        for _ in 0..3 {
            // No limit counts by address, and the forwarded address is not used.
            assert_eq!(start(&nginx, &[("x-client", "203.0.113.1")]).await, 202);
        }
    }
}
