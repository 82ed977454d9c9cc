//! Claims whose response is lost: a repeated claim, one session, and no session without a client.

use std::time::Duration;

use activeconnect_emulator::{Emulator, SessionReport};
use axum::Router;
use axum::routing::get;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tower_activeconnect::events::{EndReason, EventKind};
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::{ActiveSession, Activeconnect};

use crate::support::{
    Browser, advance, approve, builder, enroll_users, location, poll_until, serve,
};

const SESSION: &str = "__Host-activeconnect";
const ATTEMPT_COOKIE: &str = "__Host-activeconnect-attempt";

struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    url: String,
}

impl Site {
    async fn new() -> Self {
        Self::with_deadline(Duration::from_secs(60)).await
    }

    async fn with_deadline(deadline: Duration) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).login_timeout(deadline).build().unwrap();
        enroll_users(&emulator, &ac, &["alice"]).await;
        let app = Router::new()
            .route("/", get(|session: ActiveSession| async move { session.user().to_string() }))
            .layer(ac.layer())
            .nest("/auth", ac.routes());
        let url = serve(app).await;
        Self { emulator, ac, url }
    }

    /// A browser whose login is approved and not claimed.
    async fn approved(&self) -> (Browser, SessionReport) {
        let browser = Browser::new(&self.url);
        let started = browser.json("/auth/login", &json!({ "username": "alice" })).await;
        assert_eq!(started.status(), 202);
        let session = approve(&self.emulator).await;
        // The event stream reports, but does not claim.
        let mut events = browser.api("/auth/events").await;
        let mut text = String::new();
        while !text.contains("active") {
            text.push_str(&String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap()));
        }
        assert!(self.ac.sessions(&"alice".into()).await.unwrap().is_empty());
        (browser, session)
    }

    /// Requests `path` with the browser's cookies, and closes the connection after the claim
    /// without reading the response.
    async fn claim_without_response(&self, browser: &Browser, path: &str) {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let cookies = browser.cookie_header();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\ncookie: {cookies}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        poll_until("the result is claimed", async || (self.sessions().await == 1).then_some(()))
            .await;
    }

    async fn sessions(&self) -> usize {
        self.ac.sessions(&"alice".into()).await.unwrap().len()
    }

    async fn closed_count(&self, session: &SessionReport) {
        poll_until("logged out at the service", async || {
            let sessions = self.emulator.state().sessions;
            let now = sessions.iter().find(|now| now.session_token == session.session_token);
            (now.unwrap().status == SessionStatus::Closed).then_some(())
        })
        .await;
    }
}

/// A copy of a browser from before it got a response.
fn copy_browser(site: &Site, browser: &Browser) -> Browser {
    let copy = Browser::new(&site.url);
    copy.set_cookie(ATTEMPT_COOKIE, &browser.cookie(ATTEMPT_COOKIE).unwrap());
    copy
}

/// T150: the connection closes before the response is read.
#[tokio::test]
async fn lost_claim_response_is_repeated() {
    for path in ["/auth/status", "/auth/waiting"] {
        let site = Site::new().await;
        let (browser, _) = site.approved().await;
        let copy = copy_browser(&site, &browser);
        site.claim_without_response(&browser, path).await;

        // A pending claim leads to the waiting page.
        assert_eq!(location(&browser.page("/").await).split('?').next(), Some("/auth/waiting"));
        let waiting = browser.page("/auth/waiting").await;
        assert_eq!(waiting.status(), 303);
        let first = browser.cookie(SESSION).unwrap();
        // The other route, in the same browser, which has not presented the credential yet.
        assert_eq!(copy.status().await, "active");
        assert_eq!(copy.cookie(SESSION).unwrap(), first, "{path}");
        assert_eq!(copy.cookie(ATTEMPT_COOKIE), None);
        assert_eq!(site.sessions().await, 1);

        assert_eq!(browser.api("/").await.text().await.unwrap(), "alice");
        assert_eq!(browser.status().await, "active");
        assert_eq!(site.emulator.state().calls.logout, 0);
    }
}

/// T150: `status` and the waiting page present the credential as the gate does; then the attempt is
/// used up.
#[tokio::test]
async fn presented_claim_is_not_repeated() {
    let paths = ["/", "/auth/status", "/auth/waiting", "/auth/login", "/auth/events", "POST"];
    for path in paths {
        let site = Site::new().await;
        let (browser, _) = site.approved().await;
        let copy = copy_browser(&site, &browser);
        assert_eq!(browser.status().await, "active");
        if path == "POST" {
            // A response that starts no session.
            let rejected = browser.json("/auth/login", &json!({ "username": "" })).await;
            assert_eq!(rejected.status(), 422);
        } else {
            let presents = browser.api(path).await;
            assert!(presents.status().is_success() || presents.status() == 303, "{path}");
        }

        assert_eq!(copy.status().await, "timeout", "{path}");
        assert_eq!(copy.cookie(SESSION), None);
        let page = copy.page("/auth/waiting").await;
        assert_eq!((page.status().as_u16(), copy.cookie(SESSION)), (200, None));
        let page = page.text().await.unwrap();
        // Another tab would send the cookie with its next request.
        assert!(page.contains("/auth/login") && page.contains("http-equiv"), "{page}");
        assert_eq!(location(&copy.page("/").await).split('?').next(), Some("/auth/login"));
        assert_eq!(copy.api("/").await.status(), 401);
        let events = copy.api("/auth/events").await.text().await.unwrap();
        assert_eq!(events.trim(), "id: timeout\ndata: {\"status\":\"timeout\"}");
        assert_eq!(browser.api("/").await.status(), 200);
    }
}

/// T150: a response without a body or a credential does not report a session.
#[tokio::test]
async fn only_holders_get_active_status() {
    let site = Site::new().await;
    let (browser, _) = site.approved().await;
    let copy = copy_browser(&site, &browser);
    site.claim_without_response(&browser, "/auth/status").await;
    let head = reqwest::Client::new().head(format!("{}/auth/status", site.url));
    let head = copy.send(head).await;
    assert_eq!((head.status().as_u16(), copy.cookie(SESSION)), (200, None));
    let actual: serde_json::Value = copy.api("/auth/status").await.json().await.unwrap();
    assert_eq!((actual["status"].as_str(), copy.cookie(SESSION).is_some()), (Some("active"), true));
}

/// T150: no request presents the credential for a minute.
#[tokio::test]
async fn unpresented_session_ends_at_the_service() {
    let site = Site::new().await;
    let mut events = site.ac.events();
    let (browser, session) = site.approved().await;
    let copy = copy_browser(&site, &browser);
    site.claim_without_response(&browser, "/auth/status").await;
    advance(Duration::from_secs(50), Duration::from_secs(5)).await;
    assert_eq!(copy.status().await, "active", "the claim is repeatable while the session lives");
    let credential = copy.cookie(SESSION).unwrap();
    advance(Duration::from_secs(10), Duration::from_secs(5)).await;
    site.closed_count(&session).await;
    assert_eq!(site.sessions().await, 0);

    let page = browser.page("/auth/waiting").await;
    assert_eq!((page.status().as_u16(), browser.cookie(SESSION)), (200, None));
    let page = page.text().await.unwrap();
    assert!(page.contains("No answer") && page.contains(r#"<a href="/auth/login"#), "{page}");
    assert!(!page.contains("Look at your phone") && !page.contains("http-equiv"), "{page}");
    assert_eq!(browser.status().await, "timeout");
    assert_eq!(browser.api("/").await.status(), 401);
    copy.set_cookie(SESSION, &credential);
    assert_eq!(copy.api("/").await.status(), 401);

    let ended = EventKind::Ended { reason: EndReason::Unclaimed };
    for kind in [EventKind::Started, EventKind::UnknownBrowser, ended] {
        let event = events.next().await.unwrap();
        assert_eq!((event.kind, event.user), (kind, Some("alice".into())));
    }
    // The same browser can log in at once.
    browser.log_in(&site.emulator, "alice").await;
    assert_eq!(browser.api("/").await.status(), 200);
}

/// T150: no browser claims the result for a minute, long before the deadline.
#[tokio::test]
async fn unclaimed_result_expires_after_a_minute() {
    let site = Site::with_deadline(Duration::from_secs(600)).await;
    let (browser, session) = site.approved().await;
    advance(Duration::from_secs(61), Duration::from_secs(5)).await;
    site.closed_count(&session).await;
    assert_eq!((browser.status().await.as_str(), browser.cookie(SESSION)), ("timeout", None));
    let page = browser.page("/auth/waiting").await.text().await.unwrap();
    assert!(page.contains("No answer") && !page.contains("http-equiv"), "{page}");
    assert_eq!(location(&browser.page("/").await).split('?').next(), Some("/auth/login"));
}

/// T150: a presented session has the full session lifetime.
#[tokio::test]
async fn presented_session_outlives_the_claim_time() {
    let site = Site::new().await;
    let (browser, _) = site.approved().await;
    site.claim_without_response(&browser, "/auth/status").await;
    assert_eq!(browser.status().await, "active");
    assert_eq!(browser.api("/").await.status(), 200);
    advance(Duration::from_secs(65), Duration::from_secs(5)).await;
    assert_eq!(browser.api("/").await.status(), 200);
}

/// T176: a client disconnects during its claim and starts again with the same attempt cookie.
#[tokio::test]
async fn second_start_ends_the_lost_session() {
    let site = Site::new().await;
    let (browser, session) = site.approved().await;
    let copy = copy_browser(&site, &browser);
    site.claim_without_response(&browser, "/auth/waiting").await;
    let again = browser.json("/auth/login", &json!({ "username": "alice" })).await;
    assert_eq!((again.status().as_u16(), site.sessions().await), (202, 0));
    assert_eq!(copy.status().await, "none");
    site.closed_count(&session).await;
    approve(&site.emulator).await;
    poll_until("active", async || (browser.status().await == "active").then_some(())).await;
    assert_eq!((site.sessions().await, site.emulator.state().calls.logout), (1, 1));
    assert_eq!(browser.api("/").await.status(), 200);
}

/// T150: a claim is not repeated if the session ended at the service.
#[tokio::test]
async fn ended_session_is_not_repeated() {
    let site = Site::new().await;
    let (browser, _) = site.approved().await;
    site.claim_without_response(&browser, "/auth/status").await;
    site.ac.end_all_sessions(&"alice".into()).await.unwrap();
    assert_eq!((browser.status().await.as_str(), browser.cookie(SESSION)), ("timeout", None));
    assert_eq!(browser.page("/auth/waiting").await.status(), 200);
    assert_eq!(browser.cookie(SESSION), None);
}

/// T150: a client without cookies can repeat its claim until it uses the credential.
#[tokio::test]
async fn lost_bearer_response_is_repeated() {
    let site = Site::new().await;
    let client = Browser::new(&site.url);
    let start = json!({ "username": "alice", "credential": "bearer" });
    let started: serde_json::Value = client.json("/auth/login", &start).await.json().await.unwrap();
    let attempt = started["attempt"].as_str().unwrap();
    approve(&site.emulator).await;
    let ask = async |secret: &str, path: &str| client.get(path).bearer_auth(secret).send().await;
    let credential = async || -> Option<String> {
        let response = ask(attempt, "/auth/status").await.unwrap();
        let response: serde_json::Value = response.json().await.unwrap();
        response["credential"].as_str().map(ToOwned::to_owned)
    };
    let first = poll_until("the credential", credential).await;
    assert_eq!(credential().await.as_ref(), Some(&first));
    assert_eq!(ask(&first, "/").await.unwrap().status(), 200);
    assert_eq!(credential().await, None);
    assert_eq!(site.sessions().await, 1);
}
