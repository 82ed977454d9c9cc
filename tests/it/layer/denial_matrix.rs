//! The design's table of denial responses, over sockets: every denial in every response format.

use std::collections::BTreeMap;
use std::time::Duration;

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::http::request::Parts;
use axum::routing::{any, get};
use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tower_activeconnect::store::StoreError;
use tower_activeconnect::{ActiveSession, Activeconnect, TokenStore, UserId, UserToken};

use crate::support::{Browser, builder, enroll_users, location, poll_until, serve};

const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
/// A marker in the URL, in the user id and in the store's error, which no response may contain.
const SECRET_MARKER: &str = "canary";
const REQUESTED: &str = "/posts/canary?page=2";
const ENCODED_REQUESTED: &str = "/posts/canary%3Fpage%3D2";

/// The response to a page load.
#[derive(Clone, Copy, Debug)]
enum Page {
    /// 303 to this page, and whether it has a `next` parameter.
    To(&'static str, bool),
    /// HTML with this status.
    Html(u16),
}

/// A row of the design's table.
#[derive(Clone, Copy, Debug)]
struct Row {
    denial: &'static str,
    page: Page,
    /// The status of the HTML response to a form.
    form: u16,
    api: u16,
    grpc: u8,
}

const TABLE: [Row; 8] = [
    Row {
        denial: "no-session",
        page: Page::To("/auth/login", true),
        form: 401,
        api: 401,
        grpc: 16,
    },
    Row { denial: "ended", page: Page::To("/auth/login", true), form: 401, api: 401, grpc: 16 },
    // With a user resolver, which returns no user.
    Row { denial: "no-identity", page: Page::Html(401), form: 401, api: 401, grpc: 16 },
    Row { denial: "no-token", page: Page::To("/enroll", false), form: 403, api: 403, grpc: 7 },
    // The application has no enrollment page.
    Row { denial: "no-token/403", page: Page::Html(403), form: 403, api: 403, grpc: 7 },
    Row { denial: "pending", page: Page::To("/auth/waiting", true), form: 401, api: 401, grpc: 16 },
    Row {
        denial: "suspended",
        page: Page::To("/auth/locked", true),
        form: 403,
        api: 403,
        grpc: 16,
    },
    Row { denial: "unavailable", page: Page::Html(503), form: 503, api: 503, grpc: 14 },
];

/// `Accept` headers, and whether HTML is preferred.
const ACCEPTS: [(Option<&str>, bool); 6] = [
    (None, false),
    (Some("*/*"), false),
    (Some(HTML), true),
    (Some("text/html"), true),
    (Some("application/json"), false),
    (Some("application/json, text/html;q=0.9"), false),
];
const FETCHES: [&[(&str, &str)]; 7] = [
    &[],
    &[("sec-fetch-mode", "navigate"), ("sec-fetch-site", "cross-site")],
    &[("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-origin")],
    &[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
    &[("sec-fetch-mode", "same-origin")],
    &[("sec-fetch-mode", "websocket")],
    &[("sec-fetch-site", "none")],
];
const CONTENT_TYPES: [Option<&str>; 7] = [
    None,
    Some("application/x-www-form-urlencoded"),
    Some("application/json"),
    Some("application/grpc"),
    Some("application/grpc+proto"),
    Some("application/grpc-web+proto"),
    Some("application/grpc-web-text"),
];

/// A denied client: the expected row, and the headers that it sends.
struct Denied {
    row: Row,
    url: String,
    headers: HeaderMap,
}

struct FailingStore;

impl TokenStore for FailingStore {
    async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        Err(StoreError::new(format!("lookup of {user} failed: {SECRET_MARKER}")))
    }
}

fn gated(ac: &Activeconnect) -> Router {
    let handler = async |session: ActiveSession| session.user().to_string();
    Router::new().route("/posts/{*rest}", any(handler)).layer(ac.layer()).nest("/auth", ac.routes())
}

fn with_test_user_resolver(ac: &Activeconnect) -> Activeconnect {
    ac.with_user_resolver(|parts: &Parts| {
        parts.headers.get("x-test-user").map(|user| UserId::from(user.to_str().unwrap()))
    })
}

/// A client for each denial.
async fn all_denied(emulator: &Emulator) -> Vec<Denied> {
    // A long timeout, so that the pending login stays pending for all requests.
    let patient = builder(emulator).login_timeout(Duration::from_secs(600));
    let ac = patient.enrollment_path("/enroll").build().unwrap();
    enroll_users(emulator, &ac, &["canary-1", "canary-2", "canary-3"]).await;
    let url = serve(gated(&ac)).await;
    let resolved = serve(gated(&with_test_user_resolver(&ac))).await;
    let without_page = builder(emulator).build().unwrap();
    let without_page = serve(gated(&with_test_user_resolver(&without_page))).await;
    let failing = builder(emulator).token_store(FailingStore).build().unwrap();
    let failing = serve(gated(&with_test_user_resolver(&failing))).await;

    let cookies = |browser: &Browser| vec![("cookie", browser.cookie_header())];
    let pending = Browser::new(&url);
    pending.json("/auth/login", &json!({ "username": "nobody" })).await;
    let (suspended, ended) = (Browser::new(&url), Browser::new(&url));
    for (browser, user, action, status) in
        [(&suspended, "canary-1", Action::WalkAway, 403), (&ended, "canary-2", Action::Close, 401)]
    {
        let session = browser.log_in(emulator, user).await;
        emulator.act_on_session(&session.session_token, action).unwrap();
        poll_until("the browser is denied", async || {
            (browser.api(REQUESTED).await.status() == status).then_some(())
        })
        .await;
    }
    let user = vec![("x-test-user", "canary-4".to_owned())];
    let all = [
        ("no-session", &url, vec![]),
        ("ended", &url, cookies(&ended)),
        ("no-identity", &resolved, vec![]),
        ("no-token", &resolved, user.clone()),
        ("no-token/403", &without_page, user.clone()),
        ("pending", &url, cookies(&pending)),
        ("suspended", &url, cookies(&suspended)),
        ("unavailable", &failing, user),
    ];
    let all = all.into_iter().map(|(denial, url, headers)| {
        let row = TABLE.into_iter().find(|row| row.denial == denial).unwrap();
        let header =
            |(name, value): (&'static str, String)| (name.parse().unwrap(), value.parse().unwrap());
        let headers = headers.into_iter().map(header).collect();
        Denied { row, url: url.clone(), headers }
    });
    let all: Vec<_> = all.collect();
    assert_eq!(all.len(), TABLE.len());
    all
}

/// A client that does not follow redirects.
fn client() -> reqwest::Client {
    let redirects = reqwest::redirect::Policy::none();
    reqwest::Client::builder().no_proxy().redirect(redirects).build().unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// Asserts the headers of every response to browsers and programs.
fn assert_security_headers(response: &Response, context: &str) {
    assert_eq!(header(response, "cache-control"), Some("no-store"), "{context}");
    assert!(header(response, "vary").is_some_and(|vary| vary.contains("cookie")), "{context}");
    assert_eq!(header(response, "x-content-type-options"), Some("nosniff"), "{context}");
    assert_eq!(header(response, "x-frame-options"), Some("DENY"), "{context}");
    assert_eq!(header(response, "referrer-policy"), Some("same-origin"), "{context}");
    assert_eq!(header(response, "cross-origin-resource-policy"), Some("same-origin"), "{context}");
    let policy = header(response, "content-security-policy").unwrap_or_else(|| panic!("{context}"));
    for directive in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(directive), "{context}: {policy}");
    }
    // Only script files of this site are allowed.
    let mut scripts = policy.split("; ").filter_map(|part| part.strip_prefix("script-src "));
    assert!(scripts.all(|sources| sources == "'self'"), "{context}: {policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
}

/// T014, T022, T023, T126.
#[tokio::test]
async fn every_denial_matches_the_table() {
    let emulator = Emulator::start().await.unwrap();
    let http = client();
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    for Denied { row, url, headers } in all_denied(&emulator).await {
        let denial = row.denial.split('/').next().unwrap();
        let mut bodies: BTreeMap<String, u32> = BTreeMap::new();
        for method in methods {
            let is_read = method == "GET" || method == "HEAD";
            for (accept, prefers_html) in ACCEPTS {
                for (fetch, content_type) in
                    FETCHES.iter().flat_map(|f| CONTENT_TYPES.map(|c| (*f, c)))
                {
                    let mut request = http
                        .request(method.parse::<Method>().unwrap(), format!("{url}{REQUESTED}"))
                        .headers(headers.clone());
                    let own = [("accept", accept), ("content-type", content_type)];
                    let own = own.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
                    for (name, value) in own.chain(fetch.iter().copied()) {
                        request = request.header(name, value);
                    }
                    let response = request.send().await.unwrap();
                    let context = format!("{row:?} {method} {accept:?} {fetch:?} {content_type:?}");
                    assert!(!response.headers().contains_key("set-cookie"), "{context}");
                    let status = response.status().as_u16();
                    assert_eq!(status == 401, response.headers().contains_key("www-authenticate"));
                    assert_eq!(status == 503, response.headers().contains_key("retry-after"));

                    if let Some(grpc) =
                        content_type.filter(|name| method == "POST" && name.contains("grpc"))
                    {
                        assert_eq!(status, 200, "{context}");
                        assert_eq!(header(&response, "grpc-status"), Some(&*row.grpc.to_string()));
                        assert_eq!(header(&response, "content-type"), Some(grpc));
                        assert_eq!(header(&response, "cache-control"), Some("no-store"));
                        assert_eq!(response.text().await.unwrap(), "", "{context}");
                        continue;
                    }
                    assert_security_headers(&response, &context);
                    let is_form = method == "POST"
                        && content_type == Some("application/x-www-form-urlencoded");
                    let navigates = if fetch.is_empty() {
                        (is_read || is_form) && prefers_html
                    } else {
                        fetch.contains(&("sec-fetch-mode", "navigate"))
                    };
                    let expected = match (navigates, is_read, row.page) {
                        (true, true, Page::To(..)) => 303,
                        (true, true, Page::Html(status)) => status,
                        (true, false, _) => row.form,
                        (false, _, _) => row.api,
                    };
                    assert_eq!(status, expected, "{context}");
                    if status == 303 {
                        let Page::To(url_path, with_next) = row.page else { unreachable!() };
                        let next = if with_next { ENCODED_REQUESTED } else { "" };
                        let query = if with_next { "?next=" } else { "" };
                        assert_eq!(
                            location(&response),
                            format!("{url_path}{query}{next}"),
                            "{context}"
                        );
                        assert_eq!(response.text().await.unwrap(), "", "{context}");
                        continue;
                    }
                    assert!(!response.headers().contains_key("location"), "{context}");
                    let kind = if navigates {
                        "text/html; charset=utf-8"
                    } else {
                        "application/problem+json"
                    };
                    assert_eq!(header(&response, "content-type"), Some(kind), "{context}");
                    if status == 401 {
                        let challenge = header(&response, "www-authenticate");
                        assert_eq!(challenge, Some("Activeconnect login=\"/auth/login\""));
                    }
                    let body = response.text().await.unwrap();
                    assert_eq!(body.is_empty(), method == "HEAD", "{context}");
                    assert!(
                        !body.contains(SECRET_MARKER) && !body.contains("<script>"),
                        "{context}: {body}"
                    );
                    if !navigates && method != "HEAD" {
                        *bodies.entry(body).or_default() += 1;
                    }
                }
            }
        }
        // One problem document for all requests.
        let (body, _) = bodies.pop_first().unwrap();
        assert!(bodies.is_empty(), "{bodies:?}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        let keys: Vec<_> = problem.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["denial", "detail", "status", "title"], "{body}");
        assert_eq!((&problem["denial"], &problem["status"]), (&json!(denial), &json!(row.api)));
        let title = reqwest::StatusCode::from_u16(row.api).unwrap();
        assert_eq!(problem["title"], title.canonical_reason().unwrap());
    }
}

/// The response to `HEAD` has no body: the next response follows on the connection.
#[tokio::test]
async fn head_request_gets_no_body() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let emulator = Emulator::start().await.unwrap();
    for Denied { row, url, headers } in all_denied(&emulator).await {
        for mode in ["navigate", "cors"] {
            let host = url.strip_prefix("http://").unwrap();
            let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
            let mut request = format!("HEAD {REQUESTED} HTTP/1.1\r\nhost: {host}\r\n");
            request += &format!("sec-fetch-mode: {mode}\r\nconnection: close\r\n");
            for (name, value) in &headers {
                request += &format!("{name}: {}\r\n", value.to_str().unwrap());
            }
            socket.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
            let mut response = String::new();
            socket.read_to_string(&mut response).await.unwrap();
            let (head, body) = response.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 "), "{head}");
            assert_eq!(body, "", "{row:?} {mode}");
        }
    }
}

/// T014: every response of the routes, for any client.
#[tokio::test]
async fn every_route_response_has_security_headers() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let url = serve(gated(&ac)).await;
    let http = client();
    let (anonymous, alice) = (Browser::new(&url), Browser::new(&url));
    alice.log_in(&emulator, "alice").await;
    let mut observed = std::collections::BTreeSet::new();
    for browser in [&anonymous, &alice] {
        for path in ["login", "waiting", "locked", "status", "events", "logout"] {
            let url_path = format!("/auth/{path}");
            for (method, headers) in [
                ("GET", vec![]),
                ("GET", vec![("accept", HTML)]),
                ("GET", vec![("sec-fetch-site", "cross-site")]),
                ("HEAD", vec![]),
                ("PUT", vec![]),
                ("POST", vec![("sec-fetch-site", "cross-site")]),
                ("POST", vec![("content-type", "application/json")]),
                ("POST", vec![("content-type", "application/x-www-form-urlencoded")]),
                ("POST", vec![("content-type", "text/plain")]),
            ] {
                let mut request = http.request(method.parse().unwrap(), format!("{url}{url_path}"));
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                let response = browser.send(request).await;
                assert_security_headers(&response, &format!("{method} {path}"));
                observed.insert(response.status().as_u16());
            }
        }
    }
    assert_eq!(observed.into_iter().collect::<Vec<_>>(), [200, 303, 400, 403, 405, 415, 422]);
}

/// T014: a shared cache that only obeys `Cache-Control` and `Vary`.
async fn serve_behind_shared_cache(origin: String) -> String {
    use std::sync::{Arc, Mutex};
    type Cached = Arc<Mutex<BTreeMap<String, (u16, String)>>>;
    let cached = Cached::default();
    let http = client();
    let proxy = async move |request: axum::extract::Request| {
        let (parts, _) = request.into_parts();
        let path = parts.uri.to_string();
        let entry = cached.lock().unwrap().get(&path).cloned();
        let (status, text) = match entry {
            Some(entry) => entry,
            None => {
                let request = http.get(format!("{origin}{path}")).headers(parts.headers);
                let response = request.send().await.unwrap();
                let status = response.status().as_u16();
                let control = header(&response, "cache-control").unwrap_or_default().to_owned();
                let varies = response.headers().contains_key("vary");
                let text = response.text().await.unwrap();
                if !control.contains("no-store") && !control.contains("private") && !varies {
                    cached.lock().unwrap().insert(path, (status, text.clone()));
                }
                (status, text)
            }
        };
        (axum::http::StatusCode::from_u16(status).unwrap(), text)
    };
    serve(Router::new().fallback(proxy)).await
}

#[tokio::test]
async fn shared_cache_serves_no_other_user() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice", "bob"]).await;
    let public = async || ([("cache-control", "max-age=60")], "for all");
    let origin = serve(gated(&ac).route("/public", get(public))).await;
    let cached = serve_behind_shared_cache(origin.clone()).await;
    // The cache stores what it may: the second response does not come from the origin.
    let anybody = Browser::new(&cached);
    for _ in 0..2 {
        assert_eq!(anybody.api("/public").await.text().await.unwrap(), "for all");
    }
    let read = async |browser: &Browser| {
        let client = Browser::new(&cached);
        if let Some(value) = browser.cookie("__Host-activeconnect") {
            client.set_cookie("__Host-activeconnect", &value);
        }
        let page = client.api("/posts/1").await;
        let status = client.api("/auth/status").await.text().await.unwrap();
        (page.status().as_u16(), page.text().await.unwrap(), status)
    };
    let (alice, bob, anonymous) =
        (Browser::new(&origin), Browser::new(&origin), Browser::new(&origin));
    assert_eq!(read(&anonymous).await.0, 401);
    alice.log_in(&emulator, "alice").await;
    bob.log_in(&emulator, "bob").await;
    assert_ne!(read(&alice).await.2, read(&bob).await.2, "each names its owner");
    for _ in 0..2 {
        for (browser, user) in [(&alice, "alice"), (&bob, "bob")] {
            let own = browser.api("/auth/status").await.text().await.unwrap();
            assert_eq!(read(browser).await, (200, user.to_owned(), own));
        }
        assert_eq!(read(&anonymous).await.0, 401);
        assert_eq!(read(&anonymous).await.2, r#"{"status":"none"}"#);
    }
}
