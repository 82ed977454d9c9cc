//! Requests from the same origin, from other origins, and from programs.

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::routing::any;
use futures_util::StreamExt as _;
use reqwest::Method;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tower_activeconnect::{ActiveSession, Activeconnect};

use crate::support::{Browser, builder, enroll_users, serve};

async fn site() -> (Emulator, Activeconnect, String) {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).allow_origin("https://www.example").build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let socket = async |session: ActiveSession, upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async move |mut socket| {
            let _ = socket.send(Message::text(session.user().to_string())).await;
        })
    };
    let app = Router::new().route("/socket", any(socket)).layer(ac.layer());
    let url = serve(app.nest("/auth", ac.routes())).await;
    (emulator, ac, url)
}

/// A browser's headers, and whether they are of the same origin. `{}` stands for the host.
const PAGES: [(&[(&str, &str)], bool); 22] = [
    (&[], true),
    (&[("sec-fetch-site", "same-origin")], true),
    (&[("sec-fetch-site", "none")], true),
    (&[("sec-fetch-site", "same-origin"), ("origin", "http://{}")], true),
    (&[("sec-fetch-site", "same-origin"), ("origin", "null")], true),
    (&[("sec-fetch-site", "same-site")], false),
    (&[("sec-fetch-site", "cross-site")], false),
    (&[("sec-fetch-site", "")], true),
    (&[("sec-fetch-site", ""), ("origin", "http://evil.example")], false),
    (&[("sec-fetch-site", "Same-Origin")], false),
    (&[("sec-fetch-site", "same-site"), ("origin", "http://{}")], false),
    (&[("sec-fetch-site", "cross-site"), ("origin", "https://{}")], false),
    // Browsers that send only the origin.
    (&[("origin", "http://{}")], true),
    (&[("origin", "null")], false),
    (&[("origin", "{}")], false),
    (&[("origin", "http://{}.evil.example")], false),
    (&[("origin", "http://sub.{}")], false),
    (&[("origin", "http://user@{}")], false),
    (&[("origin", "http://127.0.0.1")], false),
    (&[("origin", "http://127.0.0.1:1")], false),
    (&[("origin", "http://evil.example")], false),
    (&[("origin", "http://{}"), ("host", "evil.example")], false),
];

/// T017, T018, T019, over HTTP/1.1 and HTTP/2, where the host is in `:authority`.
#[tokio::test]
async fn routes_reject_cross_origin_requests() {
    let (emulator, _ac, url) = site().await;
    let host = url.strip_prefix("http://").unwrap();
    let over_http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge();
    let clients = [reqwest::Client::builder().no_proxy(), over_http2];
    for (version, client) in ["HTTP/1.1", "HTTP/2.0"].into_iter().zip(clients) {
        let client = client.redirect(reqwest::redirect::Policy::none()).build().unwrap();
        for (headers, is_ours) in PAGES {
            // HTTP/2 uses `:authority` instead of `host`.
            if version == "HTTP/2.0" && headers.iter().any(|(name, _)| *name == "host") {
                continue;
            }
            for (method, path, granted) in [
                (Method::POST, "/auth/logout", 200),
                (Method::POST, "/auth/login", 422),
                (Method::GET, "/auth/status", 200),
                (Method::GET, "/auth/registration", 200),
                (Method::GET, "/auth/events", 200),
            ] {
                let mut request = client.request(method, format!("{url}{path}"));
                if path == "/auth/login" {
                    request = request.form(&[("username", "")]);
                }
                for (name, value) in headers {
                    request = request.header(*name, value.replace("{}", host));
                }
                let response = request.send().await.unwrap();
                assert_eq!(format!("{:?}", response.version()), version);
                let expected = if is_ours { granted } else { 403 };
                assert_eq!(response.status(), expected, "{version} {path} {headers:?}");
                assert!(!response.headers().contains_key("access-control-allow-origin"));
            }
            // Pages are open to all origins, as for links in mails.
            for path in ["/auth/login", "/auth/locked", "/auth/waiting"] {
                let mut request = client.get(format!("{url}{path}"));
                for (name, value) in headers {
                    request = request.header(*name, value.replace("{}", host));
                }
                assert_ne!(request.send().await.unwrap().status(), 403, "{version} {path}");
            }
        }
    }
    assert_eq!(emulator.state().calls.authenticate_user, 0);
}

/// T024: the cookie is accepted from pages of this site and of allowed origins, and from programs.
#[tokio::test]
async fn socket_opens_only_for_allowed_origins() {
    let (emulator, _ac, url) = site().await;
    let browser = Browser::new(&url);
    browser.log_in(&emulator, "alice").await;
    let mut pages: Vec<_> = PAGES
        .iter()
        .filter(|(headers, _)| !headers.iter().any(|(name, _)| *name == "host"))
        .collect();
    pages.push(&(&[("origin", "https://www.example")], true));
    pages.push(&(&[("sec-fetch-site", "cross-site"), ("origin", "https://www.example")], true));
    pages.push(&(&[("origin", "http://www.example")], false));
    pages.push(&(&[("origin", "https://www.example:8443")], false));
    for (headers, is_ours) in pages {
        let mut request = url.replace("http", "ws").into_client_request().unwrap();
        *request.uri_mut() = format!("{}/socket", url.replace("http", "ws")).parse().unwrap();
        request.headers_mut().insert("cookie", browser.cookie_header().parse().unwrap());
        let host = url.strip_prefix("http://").unwrap();
        for (name, value) in *headers {
            request.headers_mut().insert(*name, value.replace("{}", host).parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((mut socket, _)) => {
                assert!(is_ours, "{headers:?}");
                assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), "alice");
            }
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                assert!(!is_ours, "{headers:?}");
                assert_eq!(response.status(), 401);
            }
            Err(other) => panic!("{other}"),
        }
    }
}
