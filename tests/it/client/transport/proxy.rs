//! Variables that name a proxy are not heeded: signed calls go to the service alone.

use std::ffi::OsString;

use tokio::io::AsyncWriteExt as _;

use crate::support::raw::{self, Raw, Received};
use crate::support::secure::{Authority, Secure, call_in_child};

/// Every variable that some client heeds, each naming the proxy, and none that exempts a host.
fn variables(proxy: &Raw) -> Vec<(&'static str, OsString)> {
    let url = OsString::from(proxy.url());
    let names =
        ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
    let mut variables: Vec<_> = names.into_iter().map(|name| (name, url.clone())).collect();
    variables.extend([("NO_PROXY", OsString::new()), ("no_proxy", OsString::new())]);
    variables
}

#[tokio::test]
async fn proxy_variable_is_not_heeded_over_http() {
    let proxy = Raw::bystander().await;
    let service = Raw::with_session(vec![]).await;
    let outcome = call_in_child(&service.url(), &variables(&proxy)).await;
    assert_eq!(outcome, ["ok", "ok"]);
    assert_eq!((proxy.connections(), service.requests().len()), (0, 2));
}

#[tokio::test]
async fn proxy_variable_is_not_heeded_over_https() {
    let proxy = Raw::bystander().await;
    let authority = Authority::new();
    let service = Secure::start(
        authority.vouches_for("localhost"),
        "http/1.1",
        async |mut stream, number| {
            while let Some(request) = Received::read(&mut stream, number).await {
                let url = format!("https://{}", request.header("host").unwrap());
                stream.write_all(&raw::session(&url)).await.unwrap();
            }
        },
    )
    .await;
    let trusted = authority.file();
    let mut variables = variables(&proxy);
    variables.push(("SSL_CERT_FILE", trusted.path().into()));
    assert_eq!(call_in_child(&service.url(), &variables).await, ["ok", "ok"]);
    assert_eq!(proxy.connections(), 0);
}
