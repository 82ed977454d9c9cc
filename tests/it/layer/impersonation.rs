//! Requests that claim to be a user: with headers, forged cookies and unusual path spellings. A
//! handler runs only for an allowed session and its user.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Uri;
use axum::routing::{any, get};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::ServiceExt as _;
use tower_activeconnect::{ActiveSession, Activeconnect};

use crate::support::{self, Browser, builder, enroll_users, serve};

async fn engine() -> (Emulator, Activeconnect) {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    (emulator, ac)
}

/// `/` is gated; `/open` returns the user, if any.
async fn site() -> (Emulator, Activeconnect, String) {
    let (emulator, ac) = engine().await;
    let user_or_none = async |session: Option<ActiveSession>| {
        session.map_or("none".to_owned(), |session| session.user().to_string())
    };
    let app = Router::new()
        .route("/", any(async |session: ActiveSession| session.user().to_string()))
        .layer(ac.layer())
        .merge(Router::new().route("/open", get(user_or_none)).layer(ac.layer().optional()))
        .nest("/auth", ac.routes());
    let url = serve(app).await;
    (emulator, ac, url)
}

/// Sends raw bytes that no client library sends; returns the response's status and body.
async fn send_raw(url: &str, head: &[u8]) -> (u16, String) {
    let host = url.strip_prefix("http://").unwrap();
    let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
    // The server may close before all bytes are written.
    let _ = socket.write_all(head).await;
    let mut response = Vec::new();
    let _ = socket.read_to_end(&mut response).await;
    let response = String::from_utf8_lossy(&response).into_owned();
    let status = response.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = response.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.unwrap_or(0), body.to_owned())
}

/// T001, T002: no header, in any spelling, names a user.
#[tokio::test]
async fn no_header_names_a_user() {
    let (emulator, _ac, url) = site().await;
    let browser = Browser::new(&url);
    browser.log_in(&emulator, "alice").await;
    let names = [
        "X-User",
        "X_User",
        "x-user",
        "X-USER",
        "X-User ",
        "Remote-User",
        "REMOTE_USER",
        "Remote_User",
        "X-Remote-User",
        "X-Forwarded-User",
        "X-Auth-Request-User",
        "X-WEBAUTH-USER",
        "User",
        "X-Activeconnect-User",
        "activeconnect-user",
        "X-Authenticated-User",
        "Authorization",
    ];
    for name in names {
        for times in 1..=2 {
            let claim = format!("{name}: mallory\r\n").repeat(times);
            let request = |path: &str, cookies: &str| {
                format!(
                    "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{claim}{cookies}\r\n"
                )
            };
            let (status, body) = send_raw(&url, request("/", "").as_bytes()).await;
            // The HTTP library rejects invalid headers.
            assert!(status == 401 || status == 400, "{name:?} {status} {body}");
            let (status, body) = send_raw(&url, request("/open", "").as_bytes()).await;
            assert!(body.ends_with("none") || status == 400, "{name:?} {status} {body}");
            let own = format!("cookie: {}\r\n", browser.cookie_header());
            let (status, body) = send_raw(&url, request("/", &own).as_bytes()).await;
            assert!(
                (status, &*body) == (200, "alice") || status == 400,
                "{name:?} {status} {body}"
            );
        }
    }
}

/// T006: the session's cookie is denied after the logout.
#[tokio::test]
async fn stolen_cookie_is_denied_after_logout() {
    let (emulator, _ac, url) = site().await;
    let browser = Browser::new(&url);
    browser.log_in(&emulator, "alice").await;
    let thief = Browser::new(&url);
    thief.set_cookie("__Host-activeconnect", &browser.cookie("__Host-activeconnect").unwrap());
    assert_eq!(thief.api("/").await.status(), 200);
    assert_eq!(browser.json("/auth/logout", &json!({})).await.status(), 200);
    for _ in 0..3 {
        assert_eq!(thief.api("/").await.status(), 401);
    }
    assert_eq!(thief.status().await, "closed");
    // The next login of the same user does not revive the session.
    browser.log_in(&emulator, "alice").await;
    assert_eq!(thief.api("/").await.status(), 401);
    assert_eq!(browser.api("/").await.status(), 200);
}

/// T009: the valid cookie among very many, very long or malformed cookies.
#[tokio::test]
async fn malformed_cookies_are_ignored() {
    let (emulator, _ac, url) = site().await;
    let browser = Browser::new(&url);
    browser.log_in(&emulator, "alice").await;
    let session = browser.cookie("__Host-activeconnect").unwrap();
    let valid = format!("__Host-activeconnect={session}");
    let cases: Vec<Vec<u8>> = vec![
        format!("cookie: {}{valid}", "a=b; ".repeat(10_000)).into_bytes(),
        format!("{}cookie: {valid}", "cookie: a=b\r\n".repeat(90)).into_bytes(),
        format!("cookie: {valid}; a={}", "b".repeat(100_000)).into_bytes(),
        format!("cookie: __Host-activeconnect={}", "A".repeat(100_000)).into_bytes(),
        format!("cookie: {valid}\0").into_bytes(),
        b"cookie: __Host-activeconnect=\xff\xfe\x80".to_vec(),
        [b"cookie: \xff=\xff; ".as_slice(), valid.as_bytes(), b"\xff"].concat(),
        b"cookie: ;;;;=;=;;__Host-activeconnect".to_vec(),
        b"cookie: __Host-activeconnect==".to_vec(),
    ];
    for cookies in cases {
        let request = [
            b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n".as_slice(),
            &cookies,
            b"\r\n\r\n",
        ];
        let started_at = std::time::Instant::now();
        let (status, _) = send_raw(&url, &request.concat()).await;
        let excerpt = String::from_utf8_lossy(&cookies[..cookies.len().min(60)]).into_owned();
        // The HTTP library returns 400 and 431; 0 means that it closed the connection.
        assert!(matches!(status, 401 | 400 | 431 | 0), "{excerpt}: {status}");
        assert!(started_at.elapsed().as_secs() < 5, "{excerpt}");
        assert_eq!(browser.api("/").await.status(), 200, "{excerpt}");
    }
}

/// T010: with one bit, one character or the length changed, the response is that without a cookie.
#[tokio::test]
async fn tampered_cookie_is_no_session() {
    let (emulator, _ac, url) = site().await;
    let browser = Browser::new(&url);
    browser.log_in(&emulator, "alice").await;
    let valid = browser.cookie("__Host-activeconnect").unwrap();
    let anybody = Browser::new(&url).api("/").await;
    let expected = (anybody.status(), anybody.text().await.unwrap());
    let flipped = (0..valid.len() * 7).map(|bit| {
        let mut bytes = valid.clone().into_bytes();
        bytes[bit / 7] ^= 1 << (bit % 7);
        bytes
    });
    let cut = (0..valid.len()).map(|length| valid.as_bytes()[..length].to_vec());
    let longer = ["A", "=", "==", " A", "\""].map(|end| format!("{valid}{end}").into_bytes());
    for bytes in flipped.chain(cut).chain(longer) {
        let Ok(text) = String::from_utf8(bytes) else { continue };
        if text.contains(|c: char| c.is_control() || c == ';') {
            continue;
        }
        let forged = Browser::new(&url);
        forged.set_cookie("__Host-activeconnect", &text);
        let response = forged.api("/").await;
        assert_eq!((response.status(), response.text().await.unwrap()), expected, "{text:?}");
    }
    assert_eq!(browser.api("/").await.status(), 200);
}

/// T016: a credential in the URL, or anywhere but in its two places, is ignored.
#[tokio::test]
async fn credential_in_url_is_ignored() {
    let (emulator, ac, url) = site().await;
    let browser = Browser::new(&url);
    browser.log_in(&emulator, "alice").await;
    let valid = browser.cookie("__Host-activeconnect").unwrap();
    let anonymous = Browser::new(&url);
    for path in [
        format!("/?__Host-activeconnect={valid}"),
        format!("/?access_token={valid}"),
        format!("/?session={valid}#{valid}"),
        format!("/;__Host-activeconnect={valid}"),
        format!("/{valid}"),
    ] {
        let status = anonymous.api(&path).await.status();
        assert!(status == 401 || status == 404, "{path}: {status}");
    }
    let with_password = url.replace("http://", &format!("http://alice:{valid}@"));
    assert_eq!(reqwest::get(with_password).await.unwrap().status(), 401);
    for (name, value) in [
        ("x-session", valid.clone()),
        ("cookie2", format!("__Host-activeconnect={valid}")),
        ("referer", format!("{url}/?__Host-activeconnect={valid}")),
        ("authorization", format!("Basic {valid}")),
        ("proxy-authorization", format!("Bearer {valid}")),
    ] {
        let response = anonymous.send(anonymous.get("/").header(name, value)).await;
        assert_eq!(response.status(), 401, "{name}");
    }
    let body = anonymous.post("/").form(&[("__Host-activeconnect", &valid)]);
    assert_eq!(anonymous.send(body).await.status(), 401);
    assert_eq!(ac.sessions(&"alice".into()).await.unwrap().len(), 1);
}

/// Path segments that almost form a gated path.
const PIECES: &[&str] = &[
    "/",
    "//",
    "admin",
    "ADMIN",
    "Admin",
    "users",
    "nested",
    "deep",
    "public",
    "auth",
    "login",
    ".",
    "..",
    "%2e",
    "%2E%2e",
    "%2f",
    "%2F",
    "%5c",
    "\\",
    ";x",
    ";",
    "?",
    "?a=/admin",
    "#",
    "%23",
    "%3f",
    "%00",
    "%20",
    "+",
    "%61dmin",
    "adm%69n",
    "*",
    "{id}",
    ":id",
    "1",
    "a",
    "%",
    "%zz",
    "é",
    "%c3%a9",
    "%u002e",
    "~",
    "&",
    "=",
    "http:",
    "@",
];

/// T004: for any spelling of a path, the handler of a gated route runs only for an allowed session.
/// Only the router reads paths.
#[test]
fn no_path_spelling_bypasses_the_gate() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let guard = runtime.enter();
    let (emulator, ac) = runtime.block_on(engine());
    let credential = runtime.block_on(async {
        let alice = "alice".into();
        let (credential, _) = tokio::join!(ac.log_in(&alice), support::approve(&emulator));
        credential.unwrap().expose()
    });
    let (hits, open) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let gated = {
        let hits = hits.clone();
        move |request: Request| {
            hits.fetch_add(1, Ordering::Relaxed);
            let session = ActiveSession::from_extensions(request.extensions());
            std::future::ready(session.map_or("NONE", |_| "user"))
        }
    };
    let public = {
        let open = open.clone();
        move || {
            open.fetch_add(1, Ordering::Relaxed);
            std::future::ready("public")
        }
    };
    let admin = Router::new()
        .route("/admin", any(gated.clone()))
        .route("/admin/{*rest}", any(gated.clone()))
        .route("/users/{id}", any(gated.clone()))
        .nest("/nested", Router::new().route("/deep", any(gated.clone())).fallback(public.clone()));
    // With `route_layer` around routes, whose fallback stays open, and with `layer` around a router
    // and its fallback.
    let app = Router::new()
        .merge(admin.route_layer(ac.layer()))
        .nest("/a", Router::new().fallback(gated).layer(ac.layer()))
        .route("/public/{*rest}", any(public.clone()))
        .fallback(public)
        .nest("/auth", ac.routes());
    let ask = |uri: &Uri, bearer: Option<&str>, agent: &str| {
        let mut request = Request::builder().uri(uri.clone()).header("user-agent", agent);
        for name in ["x-original-url", "x-rewrite-url", "x-forwarded-uri", "x-forwarded-prefix"] {
            request = request.header(name, "/public/x");
        }
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let request = request.body(Body::empty()).unwrap();
        let before = hits.load(Ordering::Relaxed);
        let response = runtime.block_on(app.clone().oneshot(request)).unwrap();
        let body = runtime.block_on(axum::body::to_bytes(response.into_body(), 1 << 16)).unwrap();
        (hits.load(Ordering::Relaxed) - before, String::from_utf8_lossy(&body).into_owned())
    };
    let pieces = prop::collection::vec(select(PIECES), 0..8).prop_map(|pieces| pieces.concat());
    let paths = ("(http://x|)/(admin|users/|nested|a|)", pieces, "[a-z/%.]{0,4}");
    let paths = paths.prop_map(|(start, middle, end)| format!("{start}{middle}{end}"));
    let agents =
        select(&["", "curl/8", "ELB-HealthChecker/2.0", "kube-probe/1.31", "Googlebot"][..]);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 3_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let run = runner.run(&(paths, agents), |(path, agent)| {
        let Ok(uri) = path.parse::<Uri>() else { return Ok(()) };
        let (reached, body) = ask(&uri, None, agent);
        prop_assert_eq!(reached, 0, "{} reached a handler: {}", uri, body);
        let (reached, body) = ask(&uri, Some(&credential), agent);
        prop_assert!(reached == 0 || body == "user", "{} {}", uri, body);
        Ok(())
    });
    run.unwrap();
    // The run reached both kinds of handlers, the gated ones with the session.
    assert!(hits.load(Ordering::Relaxed) > 100, "{hits:?}");
    assert!(open.load(Ordering::Relaxed) > 100, "{open:?}");
    drop(guard);
}
