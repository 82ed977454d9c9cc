//! The login page of a logged-in browser: it continues, without a redirect loop.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use activeconnect_emulator::{Action, Emulator, Endpoint, Fault, FaultKind, SessionReport};
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::get;
use reqwest::Response;
use serde_json::json;
use tower::Layer as _;
use tower_activeconnect::protocol::AuthMethod;
use tower_activeconnect::{ActiveSession, Activeconnect, ActiveconnectBuilder, UserId};
use tracing::Level;

use crate::support::log_capture::{LogCapture, capture};
use crate::support::{
    Browser, advance, approve, builder, enroll_users, location, poll_until, serve,
};

/// A site whose pages are all gated except the login's; `/secret` also requires the face.
struct Site {
    emulator: Emulator,
    url: String,
}

impl Site {
    async fn new() -> Self {
        Self::with_routes_of(|ac| (ac.clone(), ac.clone())).await
    }

    /// The layer of the first handle with the routes of the second.
    async fn with_routes_of(
        handles: impl FnOnce(&Activeconnect) -> (Activeconnect, Activeconnect),
    ) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).build().unwrap();
        enroll_users(&emulator, &ac, &["alice", "bob"]).await;
        let (gate, routes) = handles(&ac);
        let secret = Router::new()
            .route("/secret", get(async || "secret"))
            .layer(gate.layer().require_methods([AuthMethod::Facial]));
        let optional = Router::new()
            .route("/optional", get(async |session: ActiveSession| session.user().to_string()))
            .layer(gate.layer().optional());
        let page = async |_: ActiveSession, request: Request| request.uri().to_string();
        let app = Router::new()
            .fallback(page)
            .layer(gate.layer())
            .merge(secret)
            .merge(optional)
            .nest("/auth", routes.routes());
        let url = serve(app).await;
        Self { emulator, url }
    }

    async fn logged_in(&self) -> (Browser, SessionReport) {
        let browser = Browser::new(&self.url);
        let session = browser.log_in(&self.emulator, "alice").await;
        (browser, session)
    }
}

/// Asserts whether the login page shows its form.
async fn assert_shows_form(page: Response) -> bool {
    let is_ok = page.status() == StatusCode::OK;
    let text = page.text().await.unwrap();
    is_ok && text.contains(r#"name="username""#)
}

/// T158
#[tokio::test]
async fn logged_in_browser_goes_on() {
    let site = Site::new().await;
    assert!(assert_shows_form(Browser::new(&site.url).page("/auth/login?next=/page").await).await);
    let (browser, _) = site.logged_in().await;
    for (login, url_path) in [
        ("/auth/login?next=/page%3Fnumber%3D2", "/page?number=2"),
        ("/auth/login", "/"),
        ("/auth/login?next=//evil.example", "/"),
        ("/auth/login?next=/auth/login", "/"),
    ] {
        let page = browser.page(login).await;
        assert_eq!((page.status().as_u16(), location(&page)), (303, url_path));
        assert_eq!(page.headers()["cache-control"], "no-store");
    }
    assert_eq!(browser.status().await, "active");
}

/// T158: a page of another origin may link here, but cannot learn from an image whether the user is
/// logged in.
#[tokio::test]
async fn other_pages_do_not_learn_user() {
    let site = Site::new().await;
    let (browser, _) = site.logged_in().await;
    let load = async |page: &str, from: &str, part: &str| {
        let path = format!("/auth/{page}?next=/optional");
        let request = browser.get(&path).header("accept", "text/html");
        let request = request.header("sec-fetch-site", from).header("sec-fetch-dest", part);
        browser.send(request.header("sec-fetch-mode", "navigate")).await.status().as_u16()
    };
    for page in ["login", "waiting", "locked"] {
        for from in ["same-site", "cross-site"] {
            assert_eq!(load(page, from, "document").await, 303, "{page} {from}");
            for part in ["image", "iframe", "empty"] {
                assert_eq!(load(page, from, part).await, 403, "{page} {from} {part}");
            }
        }
        assert_eq!(load(page, "same-origin", "empty").await, 303, "{page}");
    }
}

/// T158: a login of another user than the logged-in one, also while that login is pending.
#[tokio::test]
async fn switch_shows_the_form() {
    let site = Site::new().await;
    let (browser, _) = site.logged_in().await;
    assert!(assert_shows_form(browser.page("/auth/login?switch").await).await);
    let form = browser.page("/auth/login?next=/page&switch").await.text().await.unwrap();
    assert!(form.contains(r#"name="next" value="/page""#), "{form}");
    let form = [("username", "bob"), ("next", "/page")];
    let waiting = location(&browser.form("/auth/login", &form).await).to_owned();
    let page = browser.page(&waiting).await.text().await.unwrap();
    assert!(page.contains(r#"<a href="/auth/login?next=/page&#38;switch">Start again"#), "{page}");
    approve(&site.emulator).await;
    poll_until("the other one is in", async || {
        (browser.page(&waiting).await.headers().get("location")? == "/page").then_some(())
    })
    .await;
    assert_eq!(browser.page("/optional").await.text().await.unwrap(), "bob");
}

/// T158: only a session that is allowed now continues.
#[tokio::test]
async fn denied_session_gets_login_form() {
    let site = Site::new().await;
    let (browser, session) = site.logged_in().await;
    let act = |action| site.emulator.act_on_session(&session.session_token, action).unwrap();
    let becomes = async |status: &str| {
        poll_until(status, async || (browser.status().await == status).then_some(())).await;
    };
    let login = "/auth/login?next=/page";
    act(Action::WalkAway);
    becomes("walkaway").await;
    assert!(assert_shows_form(browser.page(login).await).await);
    act(Action::Return);
    becomes("active").await;
    assert_eq!(location(&browser.page(login).await), "/page");
    site.emulator.inject_fault(Fault::new(Endpoint::Status, FaultKind::Reset));
    advance(Duration::from_secs(20), Duration::from_secs(1)).await;
    becomes("unavailable").await;
    assert!(assert_shows_form(browser.page(login).await).await);
    site.emulator.clear_faults();
    becomes("active").await;
    assert_eq!(location(&browser.page(login).await), "/page");
    act(Action::Close);
    becomes("closed").await;
    assert!(assert_shows_form(browser.page(login).await).await);
}

/// T158: a parked session is polled first.
#[tokio::test]
async fn parked_session_is_polled_first() {
    let site = Site::new().await;
    let (browser, session) = site.logged_in().await;
    advance(Duration::from_secs(130), Duration::from_secs(5)).await;
    assert_eq!(location(&browser.page("/auth/login?next=/page").await), "/page");
    advance(Duration::from_secs(130), Duration::from_secs(5)).await;
    site.emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    assert!(assert_shows_form(browser.page("/auth/login?next=/page").await).await);
}

/// Follows redirects like a browser; returns the last page and the number of redirects.
async fn follow_redirects(
    browser: &Browser,
    path: &str,
    user: &str,
    others: &str,
) -> (Response, usize) {
    let mut url_path = path.to_owned();
    for redirects in 0..10 {
        // The browser's other cookies are for pages, not for the login's.
        let others = if url_path.starts_with("/auth/") { "" } else { others };
        let request = browser.get(&url_path).header("accept", "text/html").header("x-user", user);
        let response = browser.send(request.header("cookie", others)).await;
        if response.status() != 303 {
            return (response, redirects);
        }
        location(&response).clone_into(&mut url_path);
    }
    panic!("{path} leads round and round");
}

/// T158, T021: the requested page requires more than a login.
#[tokio::test]
async fn step_up_page_does_not_loop() {
    let site = Site::new().await;
    let (browser, _) = site.logged_in().await;
    let (page, redirects) = follow_redirects(&browser, "/auth/login?next=/secret", "", "").await;
    assert_eq!((page.status().as_u16(), redirects), (200, 2));
    assert!(page.text().await.unwrap().contains("Confirm with your phone"));
}

fn header_user(parts: &Parts) -> Option<UserId> {
    parts.headers.get("x-user").map(|user| UserId::from(user.to_str().unwrap()))
}

/// T158: with a user resolver, only the resolved user continues.
#[tokio::test]
async fn other_users_session_gets_login_form() {
    let both = |ac: &Activeconnect| {
        (ac.with_user_resolver(header_user), ac.with_user_resolver(header_user))
    };
    let site = Site::with_routes_of(both).await;
    let browser = Browser::new(&site.url);
    let start = browser.post("/auth/login").header("x-user", "alice").json(&json!({}));
    assert_eq!(browser.send(start).await.status(), 202);
    approve(&site.emulator).await;
    let status = || browser.get("/auth/status").header("x-user", "alice");
    poll_until("in", async || {
        let status = browser.send(status()).await.text().await.unwrap();
        status.contains("active").then_some(())
    })
    .await;
    let login = async |user| {
        let request = browser.get("/auth/login?next=/page").header("x-user", user);
        browser.send(request).await
    };
    assert_eq!(location(&login("alice").await), "/page");
    for user in ["bob", "nobody"] {
        let page = login(user).await;
        assert_eq!(page.status(), 200);
        assert!(page.text().await.unwrap().contains(user));
    }
    assert!(assert_shows_form(browser.page("/auth/login?next=/page").await).await);
    let (page, _) = follow_redirects(&browser, "/page", "bob", "").await;
    assert_eq!(page.status(), 200);
}

/// T158, T021: the gate uses a user resolver, the routes do not.
#[tokio::test]
async fn other_handles_gate_does_not_loop() {
    let site = Site::with_routes_of(|ac| (ac.with_user_resolver(header_user), ac.clone())).await;
    let (browser, _) = site.logged_in().await;
    for path in ["/page", "/optional"] {
        let (page, _) = follow_redirects(&browser, path, "alice", "").await;
        assert_eq!(page.status(), 200, "{path}");
        let (page, redirects) = follow_redirects(&browser, path, "bob", "").await;
        assert_eq!(redirects, 1, "{path}");
        assert!(assert_shows_form(page).await, "{path}");
    }
}

/// T158, T021: requests to the page have too many cookies, or two sessions.
#[tokio::test]
async fn unreadable_cookies_do_not_loop() {
    let site = Site::new().await;
    let (browser, _) = site.logged_in().await;
    let many = (0..64).map(|number| format!("c{number}=v; ")).collect();
    let bobs = Browser::new(&site.url);
    bobs.log_in(&site.emulator, "bob").await;
    for others in [many, bobs.cookie_header()] {
        for path in ["/page", "/optional"] {
            let (page, redirects) = follow_redirects(&browser, path, "", &others).await;
            assert_eq!(redirects, 1, "{path} {others}");
            assert!(assert_shows_form(page).await, "{path} {others}");
        }
    }
}

/// T158, T021: the gate allows any session of the user, and the phone of another session walks
/// away.
#[tokio::test]
async fn other_sessions_phone_does_not_loop() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap().with_user_resolver(header_user);
    enroll_users(&emulator, &ac, &["alice"]).await;
    let app = Router::new()
        .fallback(async || "page")
        .layer(ac.layer().allow_any_user_session())
        .nest("/auth", ac.routes());
    let browser = Browser::new(&serve(app).await);
    let alice = "alice".into();
    let (elsewhere, session) = tokio::join!(ac.log_in(&alice), approve(&emulator));
    elsewhere.unwrap();
    let (page, redirects) = follow_redirects(&browser, "/page", "alice", "").await;
    assert_eq!((page.status().as_u16(), redirects), (200, 0));
    emulator.act_on_session(&session.session_token, Action::WalkAway).unwrap();
    poll_until("the phone is away", async || {
        let page = browser.get("/page").header("accept", "text/html").header("x-user", "alice");
        (browser.send(page).await.status() == 303).then_some(())
    })
    .await;
    let (page, _) = follow_redirects(&browser, "/page", "alice", "").await;
    assert_eq!(page.url().path(), "/auth/login");
}

fn page() -> Router {
    Router::new().fallback(async |_: ActiveSession| "page")
}

/// T021: the login's pages are behind the gate by mistake.
#[tokio::test]
async fn gated_login_page_does_not_loop() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let written = lines.clone();
    let _capture = capture(LogCapture(Level::WARN, move |line: &str| {
        written.lock().unwrap().push(line.to_owned());
    }));
    let nested_too_soon = |ac: &Activeconnect| page().nest("/auth", ac.routes()).layer(ac.layer());
    let nested_elsewhere =
        |ac: &Activeconnect| page().layer(ac.layer()).nest("/login", ac.routes());
    let nothing_strips = |ac: &Activeconnect| {
        Router::new().nest("/auth", ac.routes()).fallback_service(ac.layer().layer(page()))
    };
    let gated_enrollment = |ac: &Activeconnect| {
        let ac = ac.with_user_resolver(header_user);
        page().layer(ac.layer()).nest("/auth", ac.routes())
    };
    type Configure = fn(ActiveconnectBuilder) -> ActiveconnectBuilder;
    type Application = fn(&Activeconnect) -> Router;
    let plain: Configure = |builder| builder;
    let prefixed: Configure = |builder| builder.mount_prefix("/app");
    let with_page: Configure = |builder| builder.enrollment_path("/enroll");
    for (configure, application, gated) in [
        (plain, nested_too_soon as Application, "/auth/login"),
        (plain, nested_elsewhere, "/auth/login"),
        (prefixed, nothing_strips, "/app/auth/login"),
        (with_page, gated_enrollment, "/enroll"),
    ] {
        let emulator = Emulator::start().await.unwrap();
        let ac = configure(builder(&emulator)).build().unwrap();
        let browser = Browser::new(&serve(application(&ac)).await);
        for _ in 0..2 {
            let (response, redirects) =
                follow_redirects(&browser, "/page?number=2", "carol", "").await;
            assert_eq!((response.status().as_u16(), redirects), (500, 1), "{gated}");
        }
        let warnings = std::mem::take(&mut *lines.lock().unwrap());
        let warned = warnings.iter().filter(|line| line.contains("turns its own login page away"));
        let warned: Vec<_> = warned.collect();
        assert_eq!(warned.len(), 1, "{warnings:?}");
        assert!(warned[0].contains(&format!("page=\"{gated}\"")), "{warned:?}");
    }
}
