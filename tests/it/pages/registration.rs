//! The page of a registration link: it waits for the phone, continues, and reveals nothing to other
//! browsers.

use std::sync::Mutex;
use std::time::Duration;

use activeconnect_emulator::{Emulator, Endpoint, Fault, FaultKind};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures_util::future::join_all;
use serde::Deserialize;
use tower_activeconnect::{Activeconnect, ActiveconnectBuilder};

use super::fixture::{attributes, files, header};
use crate::support::chromium::{Chromium, Tab};
use crate::support::{Browser, advance, builder, location, poll_until, serve};

const COOKIE: &str = "__Host-activeconnect-registration";
const ROUTE: &str = "/auth/registration";
const FAILS: FaultKind =
    FaultKind::Http { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after_s: None };

/// How a link is created and shown.
#[derive(Default, Deserialize)]
struct Options {
    name: Option<String>,
    next: Option<String>,
    lost: Option<String>,
    plain: Option<String>,
}

/// The application gives every user a grant; other tests cover who may have a link.
async fn link(
    State(ac): State<Activeconnect>,
    Path(user): Path<String>,
    Query(options): Query<Options>,
    request: Parts,
) -> Result<Response, StatusCode> {
    let grant = ac.enrollment_grant(&user.into()).unwrap();
    let mut making = match options.lost {
        Some(_) => ac.lost_device(&grant),
        None => ac.registration_link(&grant),
    };
    if let Some(name) = options.name {
        making = making.display_name(name);
    }
    let mut link = making.await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    if let Some(next) = options.next {
        link = link.next(next);
    }
    Ok(match options.plain {
        Some(_) => link.into_response(),
        None => link.response_to(&request),
    })
}

struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    url: String,
    /// The user whose phone registers next, by token.
    tokens: Mutex<Vec<(String, String)>>,
}

impl Site {
    async fn new(configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = configure(builder(&emulator)).build().unwrap();
        let app = Router::new()
            .route("/link/{user}", get(link))
            .route("/welcome", get(async || "welcome"))
            .nest("/auth", ac.routes())
            .with_state(ac.clone());
        let url = serve(app).await;
        Self { emulator, ac, url, tokens: Mutex::default() }
    }

    /// Enrolls a user without a phone.
    async fn enroll(&self, user: &str) {
        let known: Vec<String> = self.users();
        self.ac.enroll(&user.into()).await.unwrap();
        let token = self.users().into_iter().find(|token| !known.contains(token)).unwrap();
        self.tokens.lock().unwrap().push((user.to_owned(), token));
    }

    fn users(&self) -> Vec<String> {
        self.emulator.state().users.into_iter().map(|user| user.user_id).collect()
    }

    fn register_phone(&self, user: &str) {
        let tokens = self.tokens.lock().unwrap();
        let (_, token) = tokens.iter().find(|(name, _)| name == user).unwrap();
        self.emulator.register_device(token).unwrap();
    }

    /// The number of calls that check for a phone.
    fn calls(&self) -> u64 {
        self.emulator.state().calls.has_registered_mobile_device
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.url)
    }
}

/// Loads a page with a link.
async fn link_page(browser: &Browser, path: &str) -> String {
    let page = browser.page(path).await;
    assert_eq!(page.status(), 200, "{path}");
    assert_eq!(header(&page, "cache-control"), "no-store");
    assert_eq!(header(&page, "referrer-policy"), "no-referrer");
    page.text().await.unwrap()
}

async fn status(browser: &Browser) -> String {
    let response = browser.api(ROUTE).await;
    assert_eq!((response.status().as_u16(), header(&response, "cache-control")), (200, "no-store"));
    let response: serde_json::Value = response.json().await.unwrap();
    assert_eq!(response.as_object().unwrap().len(), 1, "{response}");
    response["status"].as_str().unwrap().to_owned()
}

/// Polls until the page reports the registration.
async fn is_registered(browser: &Browser) {
    poll_until("registered", async || (status(browser).await == "registered").then_some(())).await;
}

#[tokio::test]
async fn page_continues_after_registration() {
    let site = Site::new(|builder| builder).await;
    site.enroll("alice").await;
    let browser = site.browser();
    let page = link_page(&browser, "/link/alice?next=/welcome").await;
    let secret = attributes(&page, "data-copy").remove(0);
    assert_eq!(attributes(&page, "data-status"), [ROUTE]);
    assert_eq!(attributes(&page, "data-go-on"), [ROUTE]);
    let seconds: u64 = attributes(&page, "data-seconds")[0].parse().unwrap();
    assert!((590..=600).contains(&seconds), "{seconds}");
    // Without scripts the reloading page must not be the one with the link.
    assert!(!page.contains("http-equiv"), "{page}");
    let button = format!("<a href=\"{ROUTE}\" target=\"_blank\" class=\"button\">Go on</a>");
    assert!(page.contains(&format!("<p data-without-script>{button}</p>")), "{page}");

    assert_eq!(status(&browser).await, "pending");
    let response = browser.page(ROUTE).await;
    assert_eq!((response.status().as_u16(), header(&response, "cache-control")), (200, "no-store"));
    let response = response.text().await.unwrap();
    assert!(response.contains("<h1>Waiting for your phone</h1>"), "{response}");
    let refresh = "<noscript><meta http-equiv=\"refresh\" content=\"3\"></noscript>";
    assert!(response.contains(refresh) && !response.contains(&secret), "{response}");

    site.register_phone("alice");
    is_registered(&browser).await;
    // A prefetch or a second tab consumes nothing.
    for purpose in ["prefetch", "none", "none"] {
        let load = browser.get(ROUTE).header("sec-fetch-mode", "navigate");
        let response = browser.send(load.header("sec-purpose", purpose)).await;
        assert_eq!((response.status().as_u16(), location(&response)), (303, "/welcome"));
    }
    let calls = site.calls();
    assert_eq!(status(&browser).await, "registered");
    assert_eq!(site.calls(), calls, "nothing is left to ask");
}

/// T133, T135: knowing the user or the link gives no access to the page.
#[tokio::test]
async fn other_browsers_learn_nothing() {
    let site = Site::new(|builder| builder).await;
    site.enroll("alice").await;
    let browser = site.browser();
    link_page(&browser, "/link/alice?next=/welcome").await;
    let ours = browser.cookie(COOKIE).unwrap();
    site.register_phone("alice");
    let (calls, anonymous) = (site.calls(), site.browser());
    let grant = site.ac.enrollment_grant(&"alice".into()).unwrap().expose();
    anonymous.json("/auth/login", &serde_json::json!({ "username": "alice" })).await;
    let attempt = anonymous.cookie("__Host-activeconnect-attempt").unwrap();
    let forged = format!("{}{}", &ours[..42], if ours.ends_with('A') { 'E' } else { 'A' });
    for value in [None, Some(""), Some("alice"), Some(&*grant), Some(&*attempt), Some(&*forged)] {
        if let Some(value) = value {
            anonymous.set_cookie(COOKIE, value);
        }
        assert_eq!(status(&anonymous).await, "none", "{value:?}");
        assert_eq!(status(&anonymous).await, "none", "{value:?}");
        let page = anonymous.page(&format!("{ROUTE}?username=alice&next=/welcome")).await;
        assert_eq!(page.status(), 400, "{value:?}");
        let page = page.text().await.unwrap();
        assert!(page.contains("No registration waits here"), "{page}");
        assert!(!page.contains("alice") && !page.contains("welcome"), "{page}");
    }
    assert_eq!(site.calls(), calls, "an anonymous client causes no call");
    is_registered(&browser).await;
    // The page's cookie is no credential elsewhere.
    let bearer = browser.get("/auth/status").bearer_auth(&ours).send().await.unwrap();
    assert!(bearer.text().await.unwrap().contains("none"));
}

/// Two valid cookies are ambiguous and ignored.
#[tokio::test]
async fn ambiguous_link_cookie_is_ignored() {
    let site = Site::new(|builder| builder).await;
    site.enroll("alice").await;
    site.enroll("mallory").await;
    let (alices, mallorys) = (site.browser(), site.browser());
    link_page(&alices, "/link/alice").await;
    link_page(&mallorys, "/link/mallory").await;
    site.register_phone("mallory");
    is_registered(&mallorys).await;
    assert_eq!(status(&alices).await, "pending");
    let [alices, mallorys] = [alices, mallorys].map(|browser| browser.cookie(COOKIE).unwrap());
    let ask = async |cookies: String| {
        let request = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = request.get(format!("{}{ROUTE}", site.url)).header("cookie", cookies);
        request.send().await.unwrap().text().await.unwrap()
    };
    let both = format!("{COOKIE}={mallorys}; {COOKIE}={alices}");
    assert_eq!(ask(both).await, "{\"status\":\"none\"}");
    let junk = format!("{COOKIE}=junk; {COOKIE}={alices}");
    assert_eq!(ask(junk).await, "{\"status\":\"pending\"}");
}

#[tokio::test]
async fn twenty_requests_share_one_call() {
    let site = Site::new(|builder| builder).await;
    site.enroll("alice").await;
    let browser = site.browser();
    link_page(&browser, "/link/alice").await;
    let before = site.calls();
    let slow = Fault::new(Endpoint::HasRegisteredMobileDevice, FaultKind::Delay);
    site.emulator.inject_fault(slow.times(1));
    for round in ["while one call runs", "just after it"] {
        let responses = join_all((0..20).map(|_| status(&browser))).await;
        assert_eq!(responses, ["pending"; 20], "{round}");
        assert_eq!(site.calls(), before + 1, "{round}");
    }
}

/// An outage reports nothing about the phone, and causes no extra calls.
#[tokio::test]
async fn outage_keeps_the_page_waiting() {
    let site = Site::new(|builder| builder).await;
    site.enroll("alice").await;
    site.enroll("bob").await;
    let (browser, bobs) = (site.browser(), site.browser());
    link_page(&browser, "/link/alice").await;
    link_page(&bobs, "/link/bob").await;
    let before = site.calls();
    site.emulator.inject_fault(Fault::new(Endpoint::HasRegisteredMobileDevice, FAILS));
    site.register_phone("alice");
    for _ in 0..8 {
        assert_eq!(status(&browser).await, "pending");
        assert_eq!(status(&bobs).await, "pending");
        advance(Duration::from_secs(1), Duration::from_secs(1)).await;
    }
    // At 0, 2 and 6 s, for both pages together.
    let calls = site.calls() - before;
    assert!((2..=4).contains(&calls), "{calls}");
    site.emulator.clear_faults();
    advance(Duration::from_secs(30), Duration::from_secs(10)).await;
    is_registered(&browser).await;
}

#[tokio::test]
async fn page_waits_for_ten_minutes() {
    let site = Site::new(|builder| builder).await;
    site.enroll("alice").await;
    let browser = site.browser();
    link_page(&browser, "/link/alice").await;
    advance(Duration::from_secs(590), Duration::from_secs(590)).await;
    assert_eq!(status(&browser).await, "pending");
    advance(Duration::from_secs(10), Duration::from_secs(10)).await;
    let calls = site.calls();
    assert_eq!(status(&browser).await, "none");
    assert_eq!(browser.page(ROUTE).await.status(), 400);
    assert_eq!(site.calls(), calls);
}

/// A deleted user has no phone to wait for.
#[tokio::test]
async fn page_of_unenrolled_user_ends() {
    let site = Site::new(|builder| builder).await;
    site.enroll("alice").await;
    let browser = site.browser();
    link_page(&browser, "/link/alice").await;
    site.ac.unenroll(&"alice".into()).await.unwrap();
    poll_until("over", async || (status(&browser).await == "none").then_some(())).await;
}

#[tokio::test]
async fn display_name_stands_for_the_id() {
    let site = Site::new(|builder| builder).await;
    site.enroll("7041").await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for (path, shown, hidden) in [
        ("/link/7041?name=Alice%20%3Cb%3E", "<bdi>Alice &#60;b&#62;</bdi>", "7041"),
        ("/link/7041?name=Alice&lost", "<bdi>Alice</bdi>", "7041"),
        ("/link/7041", "<bdi>7041</bdi>", "Alice"),
    ] {
        let page = link_page(&site.browser(), path).await;
        assert!(page.contains(shown) && !page.contains(hidden), "{path}: {page}");
        // The service shows the name on the phone.
        let link = attributes(&page, "data-copy").remove(0);
        let phone = http.get(link).send().await.unwrap().text().await.unwrap();
        assert!(!phone.contains(hidden), "{path}: {phone}");
        let is_named = phone.contains("Alice") || phone.contains("7041");
        assert_eq!(is_named, !path.contains("lost"), "{path}: {phone}");
    }
    let grant = site.ac.enrollment_grant(&"7041".into()).unwrap();
    let sms = site.ac.send_registration_sms(&grant, "+15550001", None).display_name("Alice");
    sms.await.unwrap();
}

/// The service reports whether there is a phone, not how many, so the page cannot detect a second
/// one.
#[tokio::test]
async fn page_for_second_phone_does_not_wait() {
    let site = Site::new(|builder| builder).await;
    site.enroll("alice").await;
    site.register_phone("alice");
    let browser = site.browser();
    let page = link_page(&browser, "/link/alice?next=/welcome").await;
    assert!(page.contains("<a href=\"/welcome\" class=\"button\">Done</a>"), "{page}");
    assert!(!page.contains("data-follow"), "{page}");
    assert_eq!(browser.cookie(COOKIE), None);
    assert_eq!(status(&browser).await, "none");

    // A lost phone is not registered any more.
    let page = link_page(&browser, "/link/alice?lost&next=/welcome").await;
    assert!(page.contains("data-follow"), "{page}");
    assert_eq!(status(&browser).await, "pending");
    site.register_phone("alice");
    advance(Duration::from_secs(2), Duration::from_secs(2)).await;
    is_registered(&browser).await;
    assert_eq!(location(&browser.page(ROUTE).await), "/welcome");
}

/// The page shows the link even if the service does not report whether there is a phone.
#[tokio::test]
async fn link_is_shown_during_outage() {
    let site = Site::new(|builder| builder).await;
    site.enroll("alice").await;
    site.emulator.inject_fault(Fault::new(Endpoint::HasRegisteredMobileDevice, FAILS));
    let page = link_page(&site.browser(), "/link/alice").await;
    assert!(page.contains(">Done</a>") && !page.contains("data-follow"), "{page}");
}

/// T020: for any `next` of the application, the page stays on this site.
#[tokio::test]
async fn page_continues_within_this_site() {
    let site = Site::new(|builder| builder).await;
    site.enroll("alice").await;
    for (next, to) in [
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("/%5cevil.example", "/%5cevil.example"),
        ("javascript:alert(1)", "/"),
        ("/auth/logout", "/"),
        ("/welcome?a=b", "/welcome?a=b"),
    ] {
        let browser = site.browser();
        let next = next.replace('?', "%3F").replace("%5c", "%255c");
        let page = link_page(&browser, &format!("/link/alice?lost&next={next}")).await;
        let done = format!("<a href=\"{to}\" class=\"button\">Done</a>");
        assert!(page.contains(&done), "{next}: {page}");
        site.register_phone("alice");
        is_registered(&browser).await;
        assert_eq!(location(&browser.page(&format!("{ROUTE}?next=/other")).await), to);
    }
}

/// T019: pages of other origins learn nothing.
#[tokio::test]
async fn other_sites_get_no_status() {
    let site = Site::new(|builder| builder).await;
    site.enroll("alice").await;
    let browser = site.browser();
    link_page(&browser, "/link/alice").await;
    for from in ["cross-site", "same-site"] {
        for (mode, part) in [("no-cors", "image"), ("cors", "empty"), ("navigate", "document")] {
            let request = browser.get(ROUTE).header("sec-fetch-site", from);
            let request = request.header("sec-fetch-mode", mode).header("sec-fetch-dest", part);
            assert_eq!(browser.send(request).await.status(), 403, "{from} {mode}");
        }
    }
    let ours = browser.get(ROUTE).header("sec-fetch-site", "same-origin");
    assert_eq!(browser.send(ours).await.status(), 200);
}

#[tokio::test]
async fn page_follows_request_headers() {
    let site = Site::new(|builder| builder.language("fr")).await;
    site.enroll("alice").await;
    let page = async |path: &str| {
        let request = site.browser().get(path).header("accept-language", "de");
        request.send().await.unwrap().text().await.unwrap()
    };
    let german = page("/link/alice").await;
    assert!(german.contains("<html lang=\"de\""), "{german}");
    assert_eq!(attributes(&german, "data-go-on"), [ROUTE]);
    let spanish = page("/link/alice?lang=es").await;
    assert!(spanish.contains("<html lang=\"es\""), "{spanish}");
    assert_eq!(attributes(&spanish, "data-go-on"), [format!("{ROUTE}?lang=es")]);
    let unknown = page("/link/alice?plain").await;
    assert!(unknown.contains("<html lang=\"fr\""), "{unknown}");
}

#[tokio::test]
async fn page_stays_under_the_prefix() {
    let site = Site::new(|builder| builder.mount_prefix("/app")).await;
    site.enroll("alice").await;
    let browser = site.browser();
    let page = link_page(&browser, "/link/alice?next=/welcome").await;
    assert_eq!(attributes(&page, "data-go-on"), ["/app/auth/registration"]);
    assert!(files(&page).iter().all(|file| file.starts_with("/app/auth/assets/")), "{page}");
    assert!(page.contains("<a href=\"/app/welcome\" class=\"button\">Done</a>"), "{page}");
    site.register_phone("alice");
    is_registered(&browser).await;
    assert_eq!(location(&browser.page(ROUTE).await), "/app/welcome");
}

async fn tab(chromium: &Chromium) -> Tab {
    chromium.profile().await.tab().await
}

#[tokio::test]
async fn page_continues_by_script() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new(|builder| builder).await;
    site.enroll("alice").await;
    let tab = tab(&chromium).await;
    tab.navigate(&format!("{}/link/alice?next=/welcome", site.url)).await;
    tab.wait_for("document.querySelector('[data-without-script]').hidden").await;
    let local = "new Intl.DateTimeFormat('en', { timeStyle: 'medium' })
        .format(new Date(Number(document.querySelector('[data-until]').dataset.until)))
        === document.querySelector('[data-until]').textContent";
    tab.wait_for(local).await;
    tab.eval("window.isSame = true").await;
    let before = site.calls();
    poll_until("the page asks", async || (site.calls() > before).then_some(())).await;
    tab.wait_for("isSame && document.querySelector('[data-at-end]').hidden").await;
    tab.wait_for("document.querySelector('[data-state]').checkVisibility()").await;
    site.register_phone("alice");
    tab.wait_for("location.pathname === '/welcome'").await;
}

#[tokio::test]
async fn page_continues_without_scripts() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new(|builder| builder).await;
    site.enroll("alice").await;
    let tab = tab(&chromium).await;
    tab.disable_scripts().await;
    tab.navigate(&format!("{}/link/alice?next=/welcome", site.url)).await;
    assert_eq!(tab.eval("document.querySelector('[data-copy]').checkVisibility()").await, false);
    // The page does not promise to continue by itself.
    let promise = "document.querySelector('[data-state]').checkVisibility()";
    assert_eq!(tab.eval(promise).await, false);
    let button = "document.querySelector('[data-without-script] a')";
    assert_eq!(tab.eval(&format!("{button}.target")).await, "_blank");
    let href = tab.eval(&format!("{button}.href")).await;
    tab.navigate(href.as_str().unwrap()).await;
    tab.wait_for("document.querySelector('h1')?.innerText === 'Waiting for your phone'").await;
    site.register_phone("alice");
    tab.wait_for("location.pathname === '/welcome'").await;
}

/// The link may still be valid: the page stays, explains what to do, and offers to continue.
#[tokio::test]
async fn expired_page_stays_and_says_so() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new(|builder| builder).await;
    site.enroll("alice").await;
    let tab = tab(&chromium).await;
    tab.navigate(&format!("{}/link/alice?next=/welcome", site.url)).await;
    site.ac.unenroll(&"alice".into()).await.unwrap();
    tab.wait_for("'over' in document.querySelector('[data-follow]').dataset").await;
    let text = tab.text().await;
    assert!(text.contains("This page no longer waits."), "{text}");
    assert_eq!(tab.eval("document.querySelector('.code').checkVisibility()").await, true);
    tab.eval("document.querySelector('[data-at-end] a').click()").await;
    tab.wait_for("location.pathname === '/welcome'").await;
}

/// By keyboard, with a message for screen readers.
#[tokio::test]
async fn button_copies_the_link() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new(|builder| builder).await;
    site.enroll("alice").await;
    // The page for a second phone has the button, too.
    for has_phone in [false, true] {
        if has_phone {
            site.register_phone("alice");
        }
        let profile = chromium.profile().await;
        profile.allow_clipboard(&site.url).await;
        let tab = profile.tab().await;
        tab.navigate(&format!("{}/link/alice", site.url)).await;
        tab.wait_for("document.querySelector('[data-copy]').checkVisibility()").await;
        tab.eval("document.querySelector('[data-copy] button').focus()").await;
        tab.press("Enter").await;
        tab.wait_for("document.querySelector('[role=status][data-copied]').innerText === 'Copied'")
            .await;
        let copied = tab.eval("navigator.clipboard.readText()").await;
        assert_eq!(copied, tab.eval("document.querySelector('.link').innerText").await);
        let link = copied.as_str().unwrap();
        assert!(link.starts_with(site.emulator.url()), "{link}");
    }
}

/// Without the Clipboard API there is no button.
#[tokio::test]
async fn copy_button_needs_the_clipboard() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new(|builder| builder).await;
    site.enroll("alice").await;
    let tab = tab(&chromium).await;
    tab.add_init_script("delete Navigator.prototype.clipboard").await;
    tab.navigate(&format!("{}/link/alice", site.url)).await;
    tab.wait_for("document.querySelector('[data-without-script]').hidden").await;
    assert_eq!(tab.eval("document.querySelector('[data-copy]').checkVisibility()").await, false);
}
