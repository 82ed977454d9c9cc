//! T144: the gate recognizes pages of its public origin, whatever `Host` a proxy sends.

use std::sync::{Arc, Mutex};

use reqwest::header::{HOST, ORIGIN};
use serde_json::json;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tracing::Level;

use super::Site;
use super::servers::Proxy;
use crate::support::log_capture::{LogCapture, capture};
use crate::support::{Browser, approve};

const SOCKET: &str = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
                      proxy_set_header Connection upgrade;";

/// The results of `POST login`, `status`, `POST logout` and a socket, for a page of this origin in
/// a browser without fetch metadata, through a proxy with this host.
async fn statuses(site: &Site, proxy: &Proxy, host: &str, origin: &str) -> [u16; 4] {
    let (browser, _) = site.log_in(proxy).await;
    let socket = open_socket(proxy, host, origin, &browser.cookie_header()).await;
    let send = async |request: reqwest::RequestBuilder| {
        let request = request.header(HOST, host).header(ORIGIN, origin);
        browser.send(request).await.status().as_u16()
    };
    let login = send(browser.post("/auth/login").json(&json!({"username": "bob"}))).await;
    if login == 202 {
        approve(&site.emulator).await;
    }
    let status = send(browser.get("/auth/status")).await;
    site.remember(&browser);
    let logout = send(browser.post("/auth/logout")).await;
    [login, status, logout, socket]
}

/// The status of a socket's handshake; asserts that the socket sends its user.
async fn open_socket(proxy: &Proxy, host: &str, origin: &str, cookies: &str) -> u16 {
    let url = format!("ws://{}/socket", proxy.address());
    let mut request = url.into_client_request().unwrap();
    for (name, value) in [("host", host), ("origin", origin), ("cookie", cookies)] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((mut socket, _)) => {
            let first = futures_util::StreamExt::next(&mut socket).await.unwrap().unwrap();
            assert_eq!(first, Message::text("alice"));
            101
        }
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
    }
}

const OURS: [u16; 4] = [202, 200, 200, 101];
const FOREIGN: [u16; 4] = [403, 403, 403, 401];

#[tokio::test]
async fn public_origin_replaces_changed_host() {
    for (host_header, host, origin) in [
        // The upstream's name, as nginx sends it by default.
        ("", "app.example.com", "https://app.example.com"),
        // The port is dropped.
        ("proxy_set_header Host $host;", "app.example.com:8443", "https://app.example.com:8443"),
    ] {
        let directives = format!("{SOCKET} {host_header}");
        let site = Site::start(|builder| builder).await;
        let nginx = site.behind_nginx(&directives).await;
        assert_eq!(statuses(&site, &nginx, host, origin).await, FOREIGN, "{origin}");
        let plain = origin.replace("https", "http");
        for (page, expected) in [
            (origin, OURS),
            ("https://www.example.com", OURS),
            ("https://evil.example", FOREIGN),
            (plain.as_str(), FOREIGN),
            ("null", FOREIGN),
        ] {
            let site = Site::start(|builder| {
                builder.public_origin("https://www.example.com").public_origin(origin)
            })
            .await;
            let nginx = site.behind_nginx(&directives).await;
            assert_eq!(statuses(&site, &nginx, host, page).await, expected, "{page}");
        }
        // A page with the upstream's address has another origin.
        let site = Site::start(|builder| builder.public_origin(origin)).await;
        let nginx = site.behind_nginx(&directives).await;
        assert_eq!(statuses(&site, &nginx, host, &site.url).await, FOREIGN);
    }
}

#[tokio::test]
async fn default_ports_compare_equal() {
    for (host_header, origin, expected) in [
        ("app.example.com:443", "https://app.example.com", OURS),
        ("app.example.com:80", "http://app.example.com", OURS),
        ("app.example.com", "https://app.example.com:443", OURS),
        ("app.example.com:443", "http://app.example.com", FOREIGN),
        ("app.example.com:444", "https://app.example.com", FOREIGN),
    ] {
        let site = Site::start(|builder| builder).await;
        let directives = format!("{SOCKET} proxy_set_header Host {host_header};");
        let nginx = site.behind_nginx(&directives).await;
        let actual = statuses(&site, &nginx, "app.example.com", origin).await;
        assert_eq!(actual, expected, "{host_header} {origin}");
    }
}

#[tokio::test]
async fn origin_mismatch_is_logged_once() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let written = lines.clone();
    let _capture = capture(LogCapture(Level::WARN, move |line: &str| {
        written.lock().unwrap().push(line.to_owned());
    }));
    let warnings = || {
        let mut lines = lines.lock().unwrap();
        lines.retain(|line| line.contains("public_origin"));
        std::mem::take(&mut *lines)
    };
    for (public, other_value) in
        [(None, "127.0.0.1:"), (Some("https://www.example.com"), "www.example.com")]
    {
        for fetch_site in ["", "same-origin"] {
            let site = Site::start(|builder| match public {
                Some(public) => builder.public_origin(public),
                None => builder,
            })
            .await;
            let nginx = site.behind_nginx("").await;
            let browser = Browser::new(&nginx.url());
            for _ in 0..3 {
                let request = browser.post("/auth/logout").header(HOST, "app.example.com");
                let request = request.header("sec-fetch-site", fetch_site);
                let request = request.header(ORIGIN, "https://app.example.com");
                let expected = if fetch_site.is_empty() { 403 } else { 200 };
                assert_eq!(browser.send(request).await.status(), expected);
            }
            let warnings = warnings();
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            for part in [
                "WARN",
                "https://app.example.com",
                other_value,
                "ActiveconnectBuilder::public_origin",
            ] {
                assert!(warnings[0].contains(part), "{part} in {warnings:?}");
            }
            // A foreign origin, or the own one, logs no warning.
            for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "null")] {
                browser.send(browser.post("/auth/logout").header(name, value)).await;
            }
            assert_eq!(
                lines.lock().unwrap().iter().filter(|l| l.contains("public_origin")).count(),
                0
            );
        }
    }
}

#[tokio::test]
async fn waiting_page_names_public_origin() {
    let site = Site::start(|builder| builder.public_origin("https://app.example.com:8443")).await;
    let nginx = site.behind_nginx("").await;
    let browser = Browser::new(&nginx.url());
    browser.form("/auth/login", &[("username", "alice")]).await;
    let page = browser.page("/auth/waiting").await.text().await.unwrap();
    assert!(page.contains("<bdi>app.example.com:8443</bdi>"), "{page}");
    assert!(!page.contains("127.0.0.1"), "{page}");
}
