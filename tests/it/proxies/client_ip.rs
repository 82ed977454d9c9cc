//! T145, T181: login limits count by the client's address, in any header format.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tower_activeconnect::ActiveconnectBuilder;
use tower_activeconnect::login::{LoginLimits, RateLimit};
use tower_activeconnect::setup::ForwardedHeader;

use super::Site;
use super::servers::Proxy;
use crate::support::Browser;

const LOOPBACK: [&str; 1] = ["127.0.0.1/32"];

/// Trusts these networks, and allows one login per address.
fn one_login_each<'a>(
    trusted: impl IntoIterator<Item = &'a str>,
) -> impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder {
    let trusted: Vec<_> = trusted.into_iter().map(|network| network.parse().unwrap()).collect();
    let limits = LoginLimits::default().per_address(RateLimit::new(1, Duration::from_secs(300)));
    move |builder| builder.trusted_proxies(trusted).login_limits(limits)
}

/// Starts a login under a new username, with this header.
async fn start(url: &str, header: (&str, &str)) -> StatusCode {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let browser = Browser::new(url);
    let request = browser.post("/auth/login").json(&json!({"username": format!("user{number}")}));
    browser.send(request.header(header.0, header.1)).await.status()
}

#[tokio::test]
async fn each_spelling_has_its_own_limit() {
    for (setting, name, elements) in [
        (
            ForwardedHeader::XForwardedFor,
            "x-forwarded-for",
            [
                ("\"[2001:db8::1]\"", true),
                ("\"[2001:db8:1::1]:4711\"", true),
                ("[2001:db8:2::1]:4711", true),
                ("\"203.0.113.5\"", true),
                ("203.0.113.6:4711, 127.0.0.1", true),
                // The same clients again.
                ("2001:db8::ffff", false),
                ("[2001:db8:1::2]", false),
                ("::ffff:203.0.113.5", false),
                ("\"[::ffff:203.0.113.6]:80\"", false),
            ],
        ),
        (
            ForwardedHeader::Forwarded,
            "forwarded",
            [
                ("for=\"[2001:db8::1]:4711\"", true),
                ("for=unknown, For=\"[2001:db8:1::1]\";proto=https", true),
                ("by=\"_a;b,c\";for=\"[2001:db8:2::1]:_x\"", true),
                ("for=203.0.113.5", true),
                ("for=\"203.0.113.6:4711\", for=127.0.0.1", true),
                ("for=\"\\[2001:db8::ffff\\]\"", false),
                ("for=\"[2001:db8:1::2]\"", false),
                ("for=\"[::ffff:203.0.113.5]\"", false),
                ("FOR=203.0.113.6;host=\"x\\\",for=1.1.1.1\"", false),
            ],
        ),
    ] {
        let site = Site::start(|b| one_login_each(LOOPBACK)(b).forwarded_header(setting)).await;
        for (element, is_new) in elements {
            let expected = if is_new { 202 } else { 429 };
            assert_eq!(start(&site.url, (name, element)).await, expected, "{element}");
        }
    }
}

#[tokio::test]
async fn hidden_clients_share_the_proxys_limit() {
    let site =
        Site::start(|b| one_login_each(LOOPBACK)(b).forwarded_header(ForwardedHeader::Forwarded))
            .await;
    assert_eq!(start(&site.url, ("forwarded", "for=_hidden")).await, 202);
    for header in [
        ("forwarded", "for=_other"),
        ("forwarded", "for=unknown"),
        ("forwarded", "proto=https"),
        ("forwarded", "for=203.0.113.5;for=203.0.113.6"),
        // The other header is ignored.
        ("x-forwarded-for", "for=203.0.113.5"),
    ] {
        assert_eq!(start(&site.url, header).await, 429, "{header:?}");
    }
}

#[tokio::test]
async fn mapped_networks_are_trusted() {
    let site = Site::start(one_login_each(["::ffff:127.0.0.0/104"])).await;
    for last in 1..=3 {
        let client = format!("203.0.113.{last}");
        assert_eq!(start(&site.url, ("x-forwarded-for", &client)).await, 202);
        assert_eq!(start(&site.url, ("x-forwarded-for", &client)).await, 429);
    }
    let site = Site::start(one_login_each(["::ffff:10.0.0.0/104"])).await;
    assert_eq!(start(&site.url, ("x-forwarded-for", "203.0.113.1")).await, 202);
    assert_eq!(start(&site.url, ("x-forwarded-for", "203.0.113.2")).await, 429, "not trusted");
}

/// nginx sets both headers as its documentation recommends; `x-client` stands for the client's
/// address.
#[tokio::test]
async fn nginx_forwards_each_client_ip() {
    for (setting, forged) in [
        (
            ForwardedHeader::XForwardedFor,
            [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "\"")],
        ),
        (ForwardedHeader::Forwarded, [("forwarded", "for=198.51.100.1"), ("forwarded", "for=\"")]),
    ] {
        let site = Site::start(|b| one_login_each(LOOPBACK)(b).forwarded_header(setting)).await;
        let nginx = Proxy::nginx(&format!(
            r#"
            map $remote_addr $forwarded_element {{
                ~^[0-9.]+$ "for=$remote_addr";
                default "for=\"[$remote_addr]:$realip_remote_port\"";
            }}
            set_real_ip_from 127.0.0.1;
            real_ip_header x-client;
            server {{
                listen LISTEN;
                location / {{
                    proxy_pass {};
                    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                    proxy_set_header Forwarded "$http_forwarded, $forwarded_element";
                }}
            }}"#,
            site.url
        ))
        .await;
        for (client, is_new) in [
            ("2001:db8::1", true),
            ("2001:db8:1::1", true),
            ("203.0.113.5", true),
            ("2001:db8::2", false),
            ("203.0.113.5", false),
        ] {
            let browser = Browser::new(&nginx.url());
            let name = format!("{client} {is_new}");
            let mut request = browser.post("/auth/login").json(&json!({ "username": name }));
            request = request.header("x-client", client);
            for (name, value) in forged {
                request = request.header(name, value);
            }
            let status = browser.send(request).await.status();
            assert_eq!(status, if is_new { 202 } else { 429 }, "{client}: {}", nginx.log());
        }
    }
}
