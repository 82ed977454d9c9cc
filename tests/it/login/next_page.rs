//! The page to which each tab continues after a login: its own, whichever tab claims the result.

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::extract::Request;
use serde_json::json;
use tower_activeconnect::{ActiveSession, Activeconnect};

use crate::support::{Browser, approve, builder, enroll_users, location, poll_until, serve};

const SESSION: &str = "__Host-activeconnect";
const ATTEMPT_COOKIE: &str = "__Host-activeconnect-attempt";

/// A site whose pages are all gated except the login's.
struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    url: String,
}

impl Site {
    async fn new(users: &[&str]) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).build().unwrap();
        enroll_users(&emulator, &ac, users).await;
        let page = async |_: ActiveSession, request: Request| request.uri().to_string();
        let app = Router::new().fallback(page).layer(ac.layer()).nest("/auth", ac.routes());
        let url = serve(app).await;
        Self { emulator, ac, url }
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.url)
    }

    /// Waits until the engine knows the approval, without a claim.
    async fn approved(&self, browser: &Browser, user: &str) {
        approve(&self.emulator).await;
        let mut events = browser.api("/auth/events").await;
        let mut text = String::new();
        while !text.contains("active") {
            text.push_str(&String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap()));
        }
        assert!(self.ac.sessions(&user.into()).await.unwrap().is_empty());
    }
}

/// Requests a gated page and starts a login on the login page; returns the URL of the waiting page.
async fn start_login(browser: &Browser, user: &str, page: &str) -> String {
    let sent_away = browser.page(page).await;
    let login = location(&sent_away).to_owned();
    let form = browser.page(&login).await.text().await.unwrap();
    let (_, rest) = form.split_once(r#"name="next" value=""#).unwrap();
    let next = rest.split_once('"').unwrap().0.replace("&#38;", "&");
    let started_at = browser.form("/auth/login", &[("username", user), ("next", &next)]).await;
    assert_eq!(started_at.status(), 303);
    location(&started_at).to_owned()
}

/// Loads the waiting page until it redirects; returns the target.
async fn destination(browser: &Browser, waiting: &str) -> String {
    let mut url_path = waiting.to_owned();
    poll_until("the tab goes on", async || {
        let page = browser.page(&url_path).await;
        if page.status() == 303 {
            location(&page).clone_into(&mut url_path);
        }
        (!url_path.starts_with("/auth/waiting")).then(|| url_path.clone())
    })
    .await
}

/// T149: one tab starts, the other requests a page meanwhile; either one claims.
#[tokio::test]
async fn each_tab_continues_to_its_page() {
    let site = Site::new(&["alice", "bob", "carol"]).await;
    for (user, claims) in [("alice", "first"), ("bob", "second"), ("carol", "status")] {
        let browser = site.browser();
        let first = start_login(&browser, user, "/first?page=2").await;
        assert_eq!(first, "/auth/waiting?next=/first%3Fpage%3D2");
        let second = location(&browser.page("/second").await).to_owned();
        assert_eq!(second, "/auth/waiting?next=/second");
        site.approved(&browser, user).await;
        let claimed = match claims {
            "first" => browser.page(&first).await,
            "second" => browser.page(&second).await,
            _ => browser.api("/auth/status").await,
        };
        assert!(claimed.headers().contains_key("set-cookie"), "{claims}");
        assert_eq!(destination(&browser, &first).await, "/first?page=2", "{claims}");
        assert_eq!(destination(&browser, &second).await, "/second", "{claims}");
        assert_eq!(browser.page("/second").await.text().await.unwrap(), "/second");
    }
}

/// T149: both tabs start; the second start supersedes the first.
#[tokio::test]
async fn two_starts_keep_both_pages() {
    let site = Site::new(&["alice"]).await;
    let browser = site.browser();
    let first = start_login(&browser, "alice", "/first").await;
    let form = [("username", "alice"), ("next", "/second")];
    let second = location(&browser.form("/auth/login", &form).await).to_owned();
    poll_until("the second start sends a push", async || {
        (site.emulator.state().calls.authenticate_user == 2).then_some(())
    })
    .await;
    approve(&site.emulator).await;
    assert_eq!(destination(&browser, &first).await, "/first");
    assert_eq!(destination(&browser, &second).await, "/second");
}

/// T149: the other tab got the session while this request without its cookie was in flight.
#[tokio::test]
async fn late_tab_waits_for_the_session_cookie() {
    let site = Site::new(&["alice"]).await;
    let browser = site.browser();
    let waiting = start_login(&browser, "alice", "/first").await;
    let late = site.browser();
    late.set_cookie(ATTEMPT_COOKIE, &browser.cookie(ATTEMPT_COOKIE).unwrap());
    approve(&site.emulator).await;
    assert_eq!(destination(&browser, &waiting).await, "/first");
    assert_eq!(browser.page("/first").await.status(), 200);

    let page = late.page("/auth/waiting?next=/second").await;
    assert_eq!((page.status().as_u16(), late.cookie(SESSION)), (200, None));
    assert!(page.text().await.unwrap().contains("http-equiv=\"refresh\""));
    late.set_cookie(SESSION, &browser.cookie(SESSION).unwrap());
    assert_eq!(location(&late.page("/auth/waiting?next=/second").await), "/second");
}

/// T149: a prefetch leaves the result to be claimed.
#[tokio::test]
async fn prefetch_claims_nothing() {
    let site = Site::new(&["alice"]).await;
    let browser = site.browser();
    let waiting = start_login(&browser, "alice", "/first").await;
    site.approved(&browser, "alice").await;
    for (name, purpose) in [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("sec-purpose", "prefetch;anonymous-client-ip"),
        ("sec-purpose", "prerender"),
        ("purpose", "prefetch"),
    ] {
        for path in [waiting.as_str(), "/auth/status"] {
            let response = browser.send(browser.get(path).header(name, purpose)).await;
            assert_eq!(response.status(), 200, "{name}: {purpose}");
            assert!(!response.headers().contains_key("set-cookie"), "{name}: {purpose}");
            assert!(response.text().await.unwrap().contains(if path == waiting {
                "Look at your phone"
            } else {
                "pending"
            }));
        }
    }
    assert!(site.ac.sessions(&"alice".into()).await.unwrap().is_empty());
    assert_eq!(destination(&browser, &waiting).await, "/first");
}

/// T149, T020: the user may change the URL of a waiting page.
#[tokio::test]
async fn next_is_checked_at_redirect() {
    let site = Site::new(&["alice"]).await;
    let browser = site.browser();
    start_login(&browser, "alice", "/first").await;
    site.approved(&browser, "alice").await;
    for evil in ["//evil.example", "https://evil.example/", "/auth/logout"] {
        assert_eq!(destination(&browser, &format!("/auth/waiting?next={evil}")).await, "/");
    }
}

/// T149: the requested page stays with a rejected start, a phone without a response, and a browser
/// without cookies.
#[tokio::test]
async fn start_again_keeps_the_page() {
    let site = Site::new(&["alice"]).await;
    let login = r#"<a href="/auth/login?next=/first""#;
    let browser = site.browser();
    let rejected = browser.form("/auth/login", &[("username", ""), ("next", "/first")]).await;
    assert_eq!(rejected.status(), 422);
    assert!(rejected.text().await.unwrap().contains(login));
    let waiting = start_login(&browser, "alice", "/first").await;
    assert!(browser.page(&waiting).await.text().await.unwrap().contains(login));
    let busy = site.browser();
    let rejected = busy.form("/auth/login", &[("username", "alice"), ("next", "/first")]).await;
    assert_eq!(rejected.status(), 429);
    assert!(rejected.text().await.unwrap().contains(login));
    let lost = site.browser().page(&waiting).await;
    assert_eq!(lost.status(), 400);
    assert!(lost.text().await.unwrap().contains(login));
    // A script has its own page to continue to.
    let started = browser.json("/auth/login", &json!({ "username": "alice" })).await;
    assert_eq!(started.text().await.unwrap(), r#"{"status":"pending"}"#);
}

/// The target of a link on the page.
fn link(page: &str, text: &str) -> String {
    let (before, _) = page.split_once(&format!(">{text}</a>")).unwrap();
    let (_, link) = before.rsplit_once("<a href=\"").unwrap();
    link.split_once('"').unwrap().0.replace("&#38;", "&")
}

/// T159: the page has a link for browsers without refresh.
#[tokio::test]
async fn link_goes_on_without_refresh() {
    let site = Site::new(&["alice"]).await;
    let browser = site.browser();
    let waiting = start_login(&browser, "alice", "/first?page=2&more").await;
    let page = browser.page(&waiting).await.text().await.unwrap();
    let on = link(&page, "Go on");
    assert_eq!(on, waiting);
    assert!(link(&page, "Start again").starts_with("/auth/login?next="));
    // While the attempt is pending, it is the same page.
    let page = browser.page(&on).await.text().await.unwrap();
    assert_eq!(link(&page, "Go on"), waiting);
    let session = approve(&site.emulator).await;
    assert_eq!(destination(&browser, &on).await, "/first?page=2&more");

    // The page of a suspended session has such a link, too.
    site.emulator.act_on_session(&session.session_token, Action::WalkAway).unwrap();
    poll_until("away", async || (browser.status().await == "walkaway").then_some(())).await;
    let locked = location(&browser.page("/first").await).to_owned();
    let page = browser.page(&locked).await.text().await.unwrap();
    assert_eq!(
        (locked.as_str(), link(&page, "Try again")),
        ("/auth/locked?next=/first", locked.clone())
    );
}
