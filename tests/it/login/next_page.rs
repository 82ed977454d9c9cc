//! Where each tab goes on to after a login: the page that it wanted, whichever tab claims the result.

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::extract::Request;
use serde_json::json;
use tower_activeconnect::{ActiveSession, Activeconnect};

use crate::support::{Browser, approve, builder, location, serve, until, with_phones};

const SESSION: &str = "__Host-activeconnect";
const ATTEMPT_COOKIE: &str = "__Host-activeconnect-attempt";

/// A site whose every page but the login's is gated.
struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    url: String,
}

impl Site {
    async fn new(users: &[&str]) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).build().unwrap();
        with_phones(&emulator, &ac, users).await;
        let page = async |_: ActiveSession, request: Request| request.uri().to_string();
        let app = Router::new().fallback(page).layer(ac.layer()).nest("/auth", ac.routes());
        let url = serve(app).await;
        Self { emulator, ac, url }
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.url)
    }

    /// Waits until the engine knows that the browser's login is approved; claims nothing.
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

/// Asks for a gated page, and begins a login from the login page that the browser is sent to; the
/// address of the waiting page.
async fn begin(browser: &Browser, user: &str, page: &str) -> String {
    let sent_away = browser.page(page).await;
    let login = location(&sent_away).to_owned();
    let form = browser.page(&login).await.text().await.unwrap();
    let (_, rest) = form.split_once(r#"name="next" value=""#).unwrap();
    let next = rest.split_once('"').unwrap().0.replace("&#38;", "&");
    let begun = browser.form("/auth/login", &[("username", user), ("next", &next)]).await;
    assert_eq!(begun.status(), 303);
    location(&begun).to_owned()
}

/// Loads the waiting page at this address, as its refresh does, until it goes on; where to.
async fn destination(browser: &Browser, waiting: &str) -> String {
    let mut place = waiting.to_owned();
    until("the tab goes on", async || {
        let page = browser.page(&place).await;
        if page.status() == 303 {
            location(&page).clone_into(&mut place);
        }
        (!place.starts_with("/auth/waiting")).then(|| place.clone())
    })
    .await
}

/// T149: one tab has begun, the other is asked for a page meanwhile; whoever claims.
#[tokio::test]
async fn each_tab_goes_on_to_its_own_page() {
    let site = Site::new(&["alice", "bob", "carol"]).await;
    for (user, claims) in [("alice", "first"), ("bob", "second"), ("carol", "status")] {
        let browser = site.browser();
        let first = begin(&browser, user, "/first?page=2").await;
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

/// T149: both tabs begin; the second start takes the place of the first.
#[tokio::test]
async fn two_starts_keep_both_pages() {
    let site = Site::new(&["alice"]).await;
    let browser = site.browser();
    let first = begin(&browser, "alice", "/first").await;
    let form = [("username", "alice"), ("next", "/second")];
    let second = location(&browser.form("/auth/login", &form).await).to_owned();
    until("the second start rings", async || {
        (site.emulator.state().calls.authenticate_user == 2).then_some(())
    })
    .await;
    approve(&site.emulator).await;
    assert_eq!(destination(&browser, &first).await, "/first");
    assert_eq!(destination(&browser, &second).await, "/second");
}

/// T149: the other tab got the session while this request, without its cookie, was on its way.
#[tokio::test]
async fn late_tab_waits_for_the_session_cookie() {
    let site = Site::new(&["alice"]).await;
    let browser = site.browser();
    let waiting = begin(&browser, "alice", "/first").await;
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

/// T149: what a browser loads ahead of its user leaves the result to be claimed.
#[tokio::test]
async fn prefetch_claims_nothing() {
    let site = Site::new(&["alice"]).await;
    let browser = site.browser();
    let waiting = begin(&browser, "alice", "/first").await;
    site.approved(&browser, "alice").await;
    for (name, purpose) in [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("sec-purpose", "prefetch;anonymous-client-ip"),
        ("sec-purpose", "prerender"),
        ("purpose", "prefetch"),
    ] {
        for path in [waiting.as_str(), "/auth/status"] {
            let answer = browser.send(browser.get(path).header(name, purpose)).await;
            assert_eq!(answer.status(), 200, "{name}: {purpose}");
            assert!(!answer.headers().contains_key("set-cookie"), "{name}: {purpose}");
            assert!(answer.text().await.unwrap().contains(if path == waiting {
                "Look at your phone"
            } else {
                "pending"
            }));
        }
    }
    assert!(site.ac.sessions(&"alice".into()).await.unwrap().is_empty());
    assert_eq!(destination(&browser, &waiting).await, "/first");
}

/// T149, T020: the address of a waiting page is the visitor's to change.
#[tokio::test]
async fn next_is_checked_when_it_is_followed() {
    let site = Site::new(&["alice"]).await;
    let browser = site.browser();
    begin(&browser, "alice", "/first").await;
    site.approved(&browser, "alice").await;
    for evil in ["//evil.example", "https://evil.example/", "/auth/logout"] {
        assert_eq!(destination(&browser, &format!("/auth/waiting?next={evil}")).await, "/");
    }
}

/// T149: what does not get on keeps the page that was wanted: a start that is refused, a phone that
/// does not answer, a browser without cookies.
#[tokio::test]
async fn start_again_keeps_the_page() {
    let site = Site::new(&["alice"]).await;
    let login = r#"<a href="/auth/login?next=/first""#;
    let browser = site.browser();
    let refused = browser.form("/auth/login", &[("username", ""), ("next", "/first")]).await;
    assert_eq!(refused.status(), 422);
    assert!(refused.text().await.unwrap().contains(login));
    let waiting = begin(&browser, "alice", "/first").await;
    assert!(browser.page(&waiting).await.text().await.unwrap().contains(login));
    let busy = site.browser();
    let refused = busy.form("/auth/login", &[("username", "alice"), ("next", "/first")]).await;
    assert_eq!(refused.status(), 429);
    assert!(refused.text().await.unwrap().contains(login));
    let lost = site.browser().page(&waiting).await;
    assert_eq!(lost.status(), 400);
    assert!(lost.text().await.unwrap().contains(login));
    // A script has a page of its own to go on to.
    let started = browser.json("/auth/login", &json!({ "username": "alice" })).await;
    assert_eq!(started.text().await.unwrap(), r#"{"status":"pending"}"#);
}

/// Where a link of the page leads.
fn link(page: &str, text: &str) -> String {
    let (before, _) = page.split_once(&format!(">{text}</a>")).unwrap();
    let (_, link) = before.rsplit_once("<a href=\"").unwrap();
    link.split_once('"').unwrap().0.replace("&#38;", "&")
}

/// T159: a browser that loads no page again by itself has a link.
#[tokio::test]
async fn link_goes_on_without_refresh() {
    let site = Site::new(&["alice"]).await;
    let browser = site.browser();
    let waiting = begin(&browser, "alice", "/first?page=2&more").await;
    let page = browser.page(&waiting).await.text().await.unwrap();
    let on = link(&page, "Go on");
    assert_eq!(on, waiting);
    assert!(link(&page, "Start again").starts_with("/auth/login?next="));
    // As long as there is no answer, it is the same page.
    let page = browser.page(&on).await.text().await.unwrap();
    assert_eq!(link(&page, "Go on"), waiting);
    let session = approve(&site.emulator).await;
    assert_eq!(destination(&browser, &on).await, "/first?page=2&more");

    // The page of a phone that is away is alike.
    site.emulator.act_on_session(&session.session_token, Action::WalkAway).unwrap();
    until("away", async || (browser.status().await == "walkaway").then_some(())).await;
    let locked = location(&browser.page("/first").await).to_owned();
    let page = browser.page(&locked).await.text().await.unwrap();
    assert_eq!(
        (locked.as_str(), link(&page, "Try again")),
        ("/auth/locked?next=/first", locked.clone())
    );
}
