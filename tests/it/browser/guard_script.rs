//! `guard.js` in an application's pages, in Chromium: what it hides, when, and what stays.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use activeconnect_emulator::{Action, Emulator, Endpoint, Fault, FaultKind, SessionReport};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse as _};
use axum::routing::get;
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::sync::watch;
use tower_activeconnect::{ActiveSession, Activeconnect};

use crate::support::axe;
use crate::support::chromium::{Chromium, Profile, Tab};
use crate::support::{Browser, advance, approve, builder, enroll_users, poll_until, serve};

/// The policy that `docs/pages.md` recommends, with Trusted Types.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

/// Records blocked resources, and opens the closed shadow root for tests and axe-core.
const INSTRUMENTATION: &str = "
window.blocked = [];
addEventListener('securitypolicyviolation', event =>
    blocked.push(`${event.violatedDirective} ${event.blockedURI}`));
const attach = Element.prototype.attachShadow;
Element.prototype.attachShadow = function (init) {
    window.shadowMode = init.mode;
    return window.lockRoot = attach.call(this, { ...init, mode: 'open' });
};
window.lockText = () =>
    window.lockRoot?.host.isConnected ? lockRoot.querySelector('dialog').innerText : '';
window.isHidden = () => lockText() !== '' && document.body.innerText.trim() === '';
window.isShown = () => lockText() === '' && document.body.innerText.includes('secret of');";

struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    url: String,
    /// The number of open event streams.
    streams: Arc<AtomicUsize>,
    /// The number of requests for each path.
    requests: Arc<Mutex<HashMap<String, usize>>>,
    /// Requests for these paths wait.
    held: watch::Sender<&'static [&'static str]>,
    /// The routes respond with 503, as a proxy does.
    is_down: Arc<AtomicBool>,
    /// Only the event stream responds with 503.
    is_without_events: Arc<AtomicBool>,
}

fn page(user: impl Display, settings: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=en><title>Drafts</title>
        <meta name=viewport content='width=device-width'><main><h1>secret of {user}</h1>
        <form><label>Draft <textarea id=draft></textarea></label></form></main>
        <script src=/auth/assets/guard.js {settings} defer></script>"
    ))
}

impl Site {
    async fn new() -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).build().unwrap();
        enroll_users(&emulator, &ac, &["alice", "bob"]).await;
        let streams = Arc::new(AtomicUsize::new(0));
        let requests: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let (is_down, is_without_events) = (Arc::<AtomicBool>::default(), Arc::default());
        let (held, holds) = watch::channel::<&[&str]>(&[]);
        let shared = (streams.clone(), requests.clone(), is_down.clone());
        let fails_events: Arc<AtomicBool> = Arc::clone(&is_without_events);
        let observe = from_fn(move |request: Request, next: Next| {
            let (streams, requests, is_down) = shared.clone();
            let (mut holds, fails_events) = (holds.clone(), fails_events.clone());
            async move {
                let path = request.uri().path().to_owned();
                *requests.lock().unwrap().entry(path.clone()).or_default() += 1;
                holds.wait_for(|held| !held.contains(&path.as_str())).await.unwrap();
                let is_stream = path == "/auth/events";
                let is_asked = is_stream || path == "/auth/status";
                if is_asked && is_down.load(Ordering::SeqCst)
                    || is_stream && fails_events.load(Ordering::SeqCst)
                {
                    return StatusCode::SERVICE_UNAVAILABLE.into_response();
                }
                let response = next.run(request).await;
                if !is_stream || response.status() != StatusCode::OK {
                    return response;
                }
                streams.fetch_add(1, Ordering::SeqCst);
                let open = OpenStream(streams);
                response.map(|body| {
                    Body::from_stream(body.into_data_stream().map(move |frame| {
                        let _ = &open;
                        frame
                    }))
                })
            }
        });
        let kept = async |session: ActiveSession| {
            let owner = format!("data-owner={}", session.owner_id());
            ([(CACHE_CONTROL, "private, max-age=3600")], page(session.user(), &owner))
        };
        let worded = async |session: ActiveSession| {
            let words = "data-heading=Gesperrt data-locked=Weg data-login-label=Anmelden
                data-ended=Ende data-login=/signin data-next=/elsewhere";
            page(session.user(), words)
        };
        let strict: [(HeaderName, &str); 1] = [(CONTENT_SECURITY_POLICY, CSP)];
        let app = Router::new()
            .route("/page", get(async move |s: ActiveSession| (strict, page(s.user(), ""))))
            .route("/plain", get(async |session: ActiveSession| page(session.user(), "")))
            .route("/kept", get(kept))
            .route("/worded", get(worded))
            .layer(ac.layer())
            .route("/open", get(async || page("nobody", "")))
            .route("/elsewhere", get(async || Html("<!doctype html><title>elsewhere</title>")))
            .nest("/auth", ac.routes())
            .layer(observe);
        let url = serve(app).await;
        Self { emulator, ac, url, streams, requests, held, is_down, is_without_events }
    }

    fn request_count(&self, path: &str) -> usize {
        self.requests.lock().unwrap().get(path).copied().unwrap_or_default()
    }

    async fn tab(&self, profile: &Profile) -> Tab {
        let tab = profile.tab().await;
        tab.add_init_script(INSTRUMENTATION).await;
        tab
    }

    /// Logs in in this tab and opens a page.
    async fn log_in(&self, tab: &Tab, user: &str, page: &str) -> SessionReport {
        tab.navigate(&format!("{}{page}", self.url)).await;
        let session = self.submit_login(tab, user).await;
        tab.wait_for("window.isShown?.()").await;
        session
    }

    /// Logs in on the open login page.
    async fn submit_login(&self, tab: &Tab, user: &str) -> SessionReport {
        tab.wait_for("!!document.querySelector('[name=username]')").await;
        tab.eval(&format!("document.querySelector('[name=username]').value = '{user}'")).await;
        tab.eval("document.querySelector('main form button').click()").await;
        tab.wait_for("location.pathname === '/auth/waiting'").await;
        approve(&self.emulator).await
    }

    fn act_on_phone(&self, session: &SessionReport, action: Action) {
        self.emulator.act_on_session(&session.session_token, action).unwrap();
    }

    async fn wait_for_streams(&self, count: usize) {
        poll_until(&format!("{count} streams"), async || {
            (self.streams.load(Ordering::SeqCst) == count).then_some(())
        })
        .await;
    }

    /// Waits for one more request than `before`.
    async fn wait_for_request(&self, path: &str, before: usize) {
        poll_until(path, async || (self.request_count(path) > before).then_some(())).await;
    }
}

struct OpenStream(Arc<AtomicUsize>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits for a lock with this text.
async fn wait_for_lock(tab: &Tab, expected_text: &str) {
    tab.wait_for(&format!("window.lockText?.().includes('{expected_text}') && isHidden()")).await;
}

/// Follows the lock's link into another tab.
async fn follow_link(profile: &Profile, tab: &Tab) -> Tab {
    tab.eval("lockRoot.querySelector('a').click()").await;
    let login = profile.wait_for_tab("/auth/login").await;
    login.bring_to_front().await;
    login
}

#[tokio::test]
async fn walkaway_hides_page_and_return_shows_it() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new().await;
    let tab = site.tab(&chromium.profile().await).await;
    let session = site.log_in(&tab, "alice", "/page").await;
    site.wait_for_streams(1).await;
    tab.eval("draft.value = 'not sent yet'; draft.focus(); draft.setSelectionRange(4, 8)").await;

    site.act_on_phone(&session, Action::WalkAway);
    wait_for_lock(&tab, "Your phone is no longer nearby.").await;
    assert_eq!(tab.eval("shadowMode").await, "closed");
    assert_eq!(tab.eval("document.activeElement === lockRoot.host").await, true);
    assert_eq!(tab.eval("lockRoot.querySelector('dialog').role").await, "alertdialog");
    let on_top = "[[1, 1], [innerWidth / 2, innerHeight / 2], [innerWidth - 2, innerHeight - 2]]
        .every(point => document.elementFromPoint(...point) === lockRoot.host)";
    assert_eq!(tab.eval(on_top).await, true);
    // Neither keys nor scripts reach the page.
    for key in ["Tab", "Escape", "Escape", "Tab"] {
        tab.press(key).await;
    }
    tab.eval("draft.focus()").await;
    assert_eq!(tab.eval("document.activeElement === draft").await, false);
    wait_for_lock(&tab, "Your phone is no longer nearby.").await;

    site.act_on_phone(&session, Action::Return);
    tab.wait_for("isShown()").await;
    let kept = "[draft.value, draft.selectionStart, document.activeElement === draft, blocked]";
    assert_eq!(tab.eval(kept).await, json!(["not sent yet", 4, true, []]));
}

/// T189
#[tokio::test]
async fn login_of_new_browser_shows_warning() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new().await;
    let alice = "alice".into();
    let (credential, _) = tokio::join!(site.ac.log_in(&alice), approve(&site.emulator));
    // Until that login's deadline anonymous clients cannot send a push.
    advance(Duration::from_secs(60), Duration::from_secs(5)).await;
    let profile = chromium.profile().await;
    profile.set_host_cookie(&site.url, "__Host-activeconnect", &credential.unwrap().expose()).await;
    let tab = site.tab(&profile).await;
    tab.navigate(&format!("{}/page", site.url)).await;
    tab.wait_for("window.isShown?.()").await;
    let warning = "document.querySelector('.activeconnect-warning')";
    assert_eq!(tab.eval(&format!("{warning}.checkVisibility()")).await, false);
    let anonymous = Browser::new(&site.url);
    let started = json!({ "username": "alice" });
    anonymous.json("/auth/login", &started).await;
    approve(&site.emulator).await;
    poll_until("logged in", async || (anonymous.status().await == "active").then_some(())).await;
    tab.wait_for(&format!("{warning}.checkVisibility() && isShown()")).await;
    let actual = tab.eval(&format!("[{warning}.textContent, {warning}.pathname, blocked]")).await;
    let text = "New browser on your account. Was it you?";
    assert_eq!(actual, json!([text, "/auth/sessions", []]));
    tab.eval(&format!("{warning}.click()")).await;
    tab.wait_for("document.body?.innerText.includes('New browser.')").await;
    tab.navigate(&format!("{}/page", site.url)).await;
    tab.wait_for("isShown()").await;
    assert_eq!(tab.eval(&format!("{warning}.checkVisibility()")).await, false);
}

#[tokio::test]
async fn same_user_keeps_typed_text() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new().await;
    let profile = chromium.profile().await;
    let tab = site.tab(&profile).await;
    let session = site.log_in(&tab, "alice", "/page").await;
    tab.eval("draft.value = 'not sent yet'; draft.focus(); window.isSame = true").await;
    site.act_on_phone(&session, Action::Close);
    wait_for_lock(&tab, "You are logged out.").await;
    let link = "[lockRoot.querySelector('a').rel, lockRoot.querySelector('a').innerText]";
    assert_eq!(tab.eval(link).await, json!(["noopener", "Log in"]));
    assert_eq!(tab.eval("document.activeElement === lockRoot.host").await, true);
    let stored = "[localStorage.length, sessionStorage.length, history.state, document.cookie]";
    assert_eq!(tab.eval(stored).await, json!([0, 0, null, ""]));

    let login = follow_link(&profile, &tab).await;
    assert!(login.url().await.ends_with("/auth/login?next=%2Fpage"));
    assert_eq!(login.eval("window.opener").await, json!(null));
    site.submit_login(&login, "alice").await;
    login.wait_for("location.pathname === '/page'").await;
    tab.bring_to_front().await;
    tab.wait_for("isShown()").await;
    let kept = "[draft.value, document.activeElement === draft, isSame, blocked]";
    assert_eq!(tab.eval(kept).await, json!(["not sent yet", true, true, []]));
    assert_eq!(tab.eval(stored).await, json!([0, 0, null, ""]));
}

#[tokio::test]
async fn other_user_gets_own_page() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new().await;
    let profile = chromium.profile().await;
    let tab = site.tab(&profile).await;
    let session = site.log_in(&tab, "alice", "/page#draft").await;
    tab.eval("draft.value = 'not sent yet'").await;
    site.act_on_phone(&session, Action::Close);
    wait_for_lock(&tab, "You are logged out.").await;
    let login = follow_link(&profile, &tab).await;
    site.submit_login(&login, "bob").await;
    login.wait_for("location.pathname === '/page'").await;

    site.held.send_replace(&["/page"]);
    let before = site.request_count("/page");
    tab.bring_to_front().await;
    site.wait_for_request("/page", before).await;
    assert_eq!(tab.eval("isHidden()").await, true);
    site.held.send_replace(&[]);
    tab.wait_for("window.isShown?.() && document.body.innerText.includes('secret of bob')").await;
    assert_eq!(tab.eval("draft.value").await, "");
}

/// A page from the browser's cache, with the owner for whom it was made.
#[tokio::test]
async fn cached_page_of_other_user_is_reloaded() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new().await;
    let profile = chromium.profile().await;
    let tab = site.tab(&profile).await;
    let session = site.log_in(&tab, "alice", "/kept").await;
    tab.navigate(&format!("{}/elsewhere", site.url)).await;
    site.act_on_phone(&session, Action::Close);
    tab.navigate(&format!("{}/auth/login", site.url)).await;
    poll_until("the session ended", async || {
        site.ac.sessions(&"alice".into()).await.unwrap().is_empty().then_some(())
    })
    .await;
    tab.navigate(&format!("{}/auth/login?next=/elsewhere", site.url)).await;
    site.submit_login(&tab, "bob").await;
    tab.wait_for("location.pathname === '/elsewhere'").await;
    assert_eq!(site.request_count("/kept"), 2, "one request was denied");
    tab.navigate(&format!("{}/kept", site.url)).await;
    tab.wait_for("window.isShown?.() && document.body.innerText.includes('secret of bob')").await;
    assert_eq!(site.request_count("/kept"), 3);
}

/// HTTP/1.1 browsers open at most six connections to a site.
#[tokio::test]
async fn hidden_tabs_hold_no_connection() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new().await;
    let profile = chromium.profile().await;
    let first = site.tab(&profile).await;
    let session = site.log_in(&first, "alice", "/page").await;
    let mut tabs = vec![first];
    for _ in 1..8 {
        let tab = site.tab(&profile).await;
        tab.bring_to_front().await;
        tab.navigate(&format!("{}/page", site.url)).await;
        tab.wait_for("window.isShown?.()").await;
        site.wait_for_streams(1).await;
        let before = tabs.last().unwrap();
        before.wait_for("document.hidden && isHidden()").await;
        assert_eq!(before.eval("document.title").await, "Drafts");
        tabs.push(tab);
    }
    site.act_on_phone(&session, Action::WalkAway);
    for tab in tabs.iter().rev() {
        tab.bring_to_front().await;
        wait_for_lock(tab, "Your phone is no longer nearby.").await;
        site.wait_for_streams(1).await;
    }
    site.act_on_phone(&session, Action::Return);
    for tab in &tabs {
        tab.bring_to_front().await;
        tab.wait_for("isShown()").await;
        site.wait_for_streams(1).await;
    }
}

#[tokio::test]
async fn hidden_tab_requests_status_before_show() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new().await;
    let profile = chromium.profile().await;
    let (tab, other) = (site.tab(&profile).await, site.tab(&profile).await);
    tab.bring_to_front().await;
    site.log_in(&tab, "alice", "/page").await;
    other.bring_to_front().await;
    tab.wait_for("document.hidden").await;
    site.wait_for_streams(0).await;
    site.held.send_replace(&["/auth/status"]);
    let before = site.request_count("/auth/status");
    tab.bring_to_front().await;
    site.wait_for_request("/auth/status", before).await;
    let covered = "[document.hidden, isHidden(), lockText().includes('One moment')]";
    assert_eq!(tab.eval(covered).await, json!([false, true, true]));
    site.held.send_replace(&[]);
    tab.wait_for("isShown()").await;
}

/// The session ends while the browser keeps the page in memory.
#[tokio::test]
async fn restored_page_requests_status_before_show() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new().await;
    let tab = site.tab(&chromium.profile().await).await;
    let session = site.log_in(&tab, "alice", "/page").await;
    tab.eval("window.isRestored = true; location.href = '/elsewhere'").await;
    tab.wait_for("document.title === 'elsewhere'").await;
    site.wait_for_streams(0).await;
    site.act_on_phone(&session, Action::Close);
    poll_until("the session ended", async || {
        site.ac.sessions(&"alice".into()).await.unwrap().is_empty().then_some(())
    })
    .await;
    site.held.send_replace(&["/auth/status"]);
    let before = site.request_count("/auth/status");
    tab.eval("history.back()").await;
    tab.wait_for("window.isRestored === true").await;
    site.wait_for_request("/auth/status", before).await;
    assert_eq!(tab.eval("isHidden()").await, true);
    site.held.send_replace(&[]);
    wait_for_lock(&tab, "You are logged out.").await;
}

#[tokio::test]
async fn missing_responses_hide_page() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new().await;
    let tab = site.tab(&chromium.profile().await).await;
    site.log_in(&tab, "alice", "/page").await;
    site.wait_for_streams(1).await;
    site.is_down.store(true, Ordering::SeqCst);
    let responses = "performance.getEntriesByType('resource')
        .filter(entry => entry.name.endsWith('/auth/status')).length";
    let before = tab.eval(responses).await;
    tab.eval("dispatchEvent(new Event('focus'))").await;
    tab.wait_for(&format!("{responses} > {before}")).await;
    assert_eq!(tab.eval("isShown()").await, true, "the page stays during a short silence");
    tab.eval("{ const now = Date.now; Date.now = () => now() + 20000 }").await;
    wait_for_lock(&tab, "Your login cannot be checked now.").await;
    site.is_down.store(false, Ordering::SeqCst);
    tab.wait_for("isShown()").await;
}

/// The service reports an unknown status.
#[tokio::test]
async fn unknown_status_hides_the_page() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new().await;
    let tab = site.tab(&chromium.profile().await).await;
    site.log_in(&tab, "alice", "/page").await;
    site.emulator.inject_fault(Fault::new(Endpoint::Status, FaultKind::UnknownStatus));
    wait_for_lock(&tab, "Your login cannot be checked now.").await;
    site.emulator.clear_faults();
    tab.wait_for("isShown()").await;
}

/// A public page shows for the first user who logs in.
#[tokio::test]
async fn page_without_owner_shows_first_user() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new().await;
    let profile = chromium.profile().await;
    let tab = site.tab(&profile).await;
    tab.navigate(&format!("{}/open", site.url)).await;
    wait_for_lock(&tab, "You are logged out.").await;
    let login = follow_link(&profile, &tab).await;
    let session = site.submit_login(&login, "alice").await;
    login.wait_for("location.pathname === '/open'").await;
    tab.eval("window.isSame = true").await;
    tab.bring_to_front().await;
    tab.wait_for("isShown() && isSame").await;
    site.act_on_phone(&session, Action::Close);
    wait_for_lock(&tab, "You are logged out.").await;
    login.bring_to_front().await;
    login.navigate(&format!("{}/auth/login?next=/open", site.url)).await;
    site.submit_login(&login, "bob").await;
    login.wait_for("location.pathname === '/open'").await;
    tab.bring_to_front().await;
    tab.wait_for("window.isShown?.() && !window.isSame").await;
}

#[tokio::test]
async fn page_without_events_polls_status() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new().await;
    site.is_without_events.store(true, Ordering::SeqCst);
    let tab = site.tab(&chromium.profile().await).await;
    let session = site.log_in(&tab, "alice", "/page").await;
    site.act_on_phone(&session, Action::WalkAway);
    wait_for_lock(&tab, "Your phone is no longer nearby.").await;
    site.act_on_phone(&session, Action::Return);
    tab.wait_for("isShown()").await;
}

/// Three screen widths, light and dark. `scripts/screenshot-pages` stores the screenshots.
#[tokio::test]
async fn lock_fits_and_is_accessible() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new().await;
    let pictures = std::env::var_os("PICTURES").map(PathBuf::from);
    let tab = site.tab(&chromium.profile().await).await;
    let session = site.log_in(&tab, "alice", "/plain").await;
    let look = async |state: &str| {
        for (screen, width) in [("small", 320), ("phone", 390), ("desktop", 1280)] {
            tab.set_width(width).await;
            tab.wait_for(&format!("innerWidth === {width}")).await;
            let fits = "[...lockRoot.querySelectorAll('*')].every(element =>
                element.scrollWidth <= element.offsetWidth
                    && element.getBoundingClientRect().right <= innerWidth)";
            assert_eq!(tab.eval(fits).await, true, "{state} {width}");
            for scheme in ["light", "dark"] {
                tab.prefer_color_scheme(scheme).await;
                assert_eq!(axe::violations(&tab).await, [""; 0], "{state} {width} {scheme}");
                if let Some(folder) = &pictures {
                    let file = folder.join(format!("guard-{state}-{screen}-{scheme}.png"));
                    std::fs::write(file, tab.screenshot().await).unwrap();
                }
            }
        }
    };
    site.act_on_phone(&session, Action::WalkAway);
    wait_for_lock(&tab, "Your phone is no longer nearby.").await;
    look("locked").await;
    site.act_on_phone(&session, Action::Close);
    wait_for_lock(&tab, "You are logged out.").await;
    tab.press("Tab").await;
    assert_eq!(tab.eval("lockRoot.activeElement?.innerText").await, "Log in");
    look("ended").await;
}

#[tokio::test]
async fn data_attributes_replace_texts() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new().await;
    let tab = site.tab(&chromium.profile().await).await;
    let session = site.log_in(&tab, "alice", "/worded").await;
    site.act_on_phone(&session, Action::WalkAway);
    wait_for_lock(&tab, "Weg").await;
    assert_eq!(tab.eval("lockText()").await, "Gesperrt\n\nWeg");
    site.act_on_phone(&session, Action::Close);
    wait_for_lock(&tab, "Ende").await;
    assert_eq!(tab.eval("lockText()").await, "Gesperrt\n\nEnde\n\nAnmelden");
    assert_eq!(tab.eval("lockRoot.querySelector('dialog').ariaLabel").await, "Gesperrt");
    let link = "new URL(lockRoot.querySelector('a').href)";
    let address = tab.eval(&format!("[{link}.pathname, {link}.search]")).await;
    assert_eq!(address, json!(["/signin", "?next=%2Felsewhere"]));
}
