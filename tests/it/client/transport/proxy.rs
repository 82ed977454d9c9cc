//! Proxy variables are ignored: signed calls go directly to the service.

use std::ffi::OsString;

use tokio::io::AsyncWriteExt as _;

use crate::support::raw_server::{self, RawServer, ReceivedRequest};
use crate::support::tls_server::{CertificateAuthority, TlsServer, call_in_child};

/// Every proxy variable that some client reads, without an exception for a host.
fn variables(proxy: &RawServer) -> Vec<(&'static str, OsString)> {
    let url = OsString::from(proxy.url());
    let names =
        ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
    let mut variables: Vec<_> = names.into_iter().map(|name| (name, url.clone())).collect();
    variables.extend([("NO_PROXY", OsString::new()), ("no_proxy", OsString::new())]);
    variables
}

#[tokio::test]
async fn proxy_variable_is_ignored_over_http() {
    let proxy = RawServer::unused().await;
    let service = RawServer::with_session(vec![]).await;
    let outcome = call_in_child(&service.url(), &variables(&proxy)).await;
    assert_eq!(outcome, ["ok", "ok"]);
    assert_eq!((proxy.connections(), service.requests().len()), (0, 2));
}

#[tokio::test]
async fn proxy_variable_is_ignored_over_https() {
    let proxy = RawServer::unused().await;
    let authority = CertificateAuthority::new();
    let service =
        TlsServer::start(authority.issue("localhost"), "http/1.1", async |mut stream, number| {
            while let Some(request) = ReceivedRequest::read(&mut stream, number).await {
                let url = format!("https://{}", request.header("host").unwrap());
                stream.write_all(&raw_server::session(&url)).await.unwrap();
            }
        })
        .await;
    let trusted = authority.pem_file();
    let mut variables = variables(&proxy);
    variables.push(("SSL_CERT_FILE", trusted.path().into()));
    assert_eq!(call_in_child(&service.url(), &variables).await, ["ok", "ok"]);
    assert_eq!(proxy.connections(), 0);
}
