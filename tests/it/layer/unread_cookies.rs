//! Requests above the cookie limits: the client and the operator learn of the limit.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::routing::{any, get};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tower_activeconnect::{ActiveSession, Activeconnect};
use tracing::Level;

use crate::support::log_capture::{LogCapture, capture};
use crate::support::{Browser, builder, enroll_users, location, serve};

const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const LIMIT: &str = "64 cookies and 8192 bytes";

struct Fixture {
    emulator: Emulator,
    browser: Browser,
    session: String,
}

impl Fixture {
    async fn start() -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac: Activeconnect = builder(&emulator).build().unwrap();
        enroll_users(&emulator, &ac, &["alice"]).await;
        let optional = Router::new()
            .route("/optional", get(async |_: ActiveSession| "in"))
            .layer(ac.layer().optional());
        let app = Router::new()
            .route("/", any(async || "in"))
            .layer(ac.layer())
            .merge(optional)
            .nest("/auth", ac.routes());
        let browser = Browser::new(&serve(app).await);
        browser.log_in(&emulator, "alice").await;
        let session = browser.cookie("__Host-activeconnect").unwrap();
        Self { emulator, browser, session }
    }

    /// Sends the session's cookie after `others` other cookies, padded to `bytes`.
    async fn send(&self, request: RequestBuilder, others: usize, bytes: usize) -> Response {
        let others: String = (0..others).map(|number| format!("c{number}=v; ")).collect();
        let mut cookies = format!("{others}__Host-activeconnect={}", self.session);
        if cookies.len() < bytes {
            cookies += "; x=";
            cookies += &"y".repeat(bytes - cookies.len());
        }
        request.header("cookie", cookies).send().await.unwrap()
    }
}

#[tokio::test]
async fn session_within_cookie_limits_is_found() {
    let fixture = Fixture::start().await;
    for path in ["/", "/optional"] {
        for (others, bytes) in [(0, 0), (63, 0), (0, 8 * 1024)] {
            let response = fixture.send(fixture.browser.get(path), others, bytes).await;
            assert_eq!(response.status(), 200, "{path} {others} {bytes}");
        }
    }
    assert_eq!(fixture.emulator.state().calls.authenticate_user, 1);
}

#[tokio::test]
async fn exceeded_cookie_limit_is_explained() {
    let fixture = Fixture::start().await;
    let browser = &fixture.browser;
    for (others, bytes) in [(64, 0), (200, 0), (0, 8 * 1024 + 1)] {
        for path in ["/", "/optional"] {
            let response = fixture.send(browser.get(path), others, bytes).await;
            assert_eq!(response.status(), 401);
            let problem: Value = response.json().await.unwrap();
            assert!(problem["detail"].as_str().unwrap().contains(LIMIT), "{problem}");
            assert_eq!(problem["denial"], "no-session");
        }
        let page = fixture.send(browser.get("/").header("accept", HTML), others, bytes).await;
        assert_eq!((page.status().as_u16(), location(&page)), (303, "/auth/login?switch"));
        for (path, status) in [("/auth/login", 200), ("/auth/waiting", 400)] {
            let page = fixture.send(browser.get(path), others, bytes).await;
            assert_eq!(page.status(), status);
            let page = page.text().await.unwrap();
            assert!(page.contains(LIMIT) && !page.contains("https"), "{page}");
        }
        let form = browser.post("/").header("accept", HTML).form(&[("a", "b")]);
        let form = fixture.send(form, others, bytes).await;
        assert_eq!(form.status(), 401);
        assert!(form.text().await.unwrap().contains(LIMIT));
    }
    // Other clients get no such text.
    for path in ["/auth/login", "/auth/waiting"] {
        let page = fixture.send(browser.get(path), 63, 0).await.text().await.unwrap();
        assert!(!page.contains(LIMIT), "{page}");
    }
    let response = browser.get("/").send().await.unwrap();
    assert_eq!(response.json::<Value>().await.unwrap()["detail"], json!("no session"));
}

#[tokio::test]
async fn cookie_limit_warning_is_logged_hourly() {
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let received = lines.clone();
    let _capture = capture(LogCapture(Level::WARN, move |line: &str| {
        received.lock().unwrap().push(line.to_owned());
    }));
    let fixture = Fixture::start().await;
    let warnings = || {
        let lines = lines.lock().unwrap();
        let ours = lines.iter().filter(|line| line.contains(LIMIT));
        assert!(ours.clone().all(|line| !line.contains(&fixture.session)), "{lines:?}");
        ours.count()
    };
    fixture.send(fixture.browser.get("/"), 63, 0).await;
    assert_eq!(warnings(), 0);
    for path in ["/", "/", "/optional", "/auth/login", "/auth/waiting"] {
        fixture.send(fixture.browser.get(path), 64, 0).await;
        assert_eq!(warnings(), 1);
    }
    for (passed, expected) in [(3_500, 1), (101, 2)] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(passed)).await;
        tokio::time::resume();
        fixture.send(fixture.browser.get("/"), 64, 0).await;
        assert_eq!(warnings(), expected);
    }
}
