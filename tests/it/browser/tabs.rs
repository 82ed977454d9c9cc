//! Several tabs of one browser in Chromium: each ends on the page that it requested.

use std::sync::{Arc, Mutex};

use activeconnect_emulator::Emulator;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::{from_fn, map_response};
use axum::response::{Html, Response};
use axum::routing::get;
use axum::{Router, middleware};
use tower_activeconnect::{ActiveSession, Activeconnect};

use crate::support::chromium::{Chromium, Tab};
use crate::support::{approve, builder, enroll_users, poll_until, serve};

/// A public page whose script requests the status repeatedly.
const STATUS_LOOP_PAGE: &str = "<!doctype html><title>asking</title><script>
setInterval(() => fetch('/auth/status'), 50);
</script>";
/// A public page with resources to prefetch.
const PREFETCH_PAGE: &str = r#"<!doctype html><title>ahead</title>
<link rel="prefetch" href="/auth/waiting?next=/linked">
<link rel="prefetch" href="/auth/status">
<script type="speculationrules">{
    "prefetch": [{ "urls": ["/auth/waiting?next=/prefetched"], "eagerness": "immediate" }],
    "prerender": [{ "urls": ["/auth/waiting?next=/prerendered"], "eagerness": "immediate" }]
}</script>"#;

struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    url: String,
    /// The prefetched requests: path, query and purpose.
    loaded_ahead: Arc<Mutex<Vec<String>>>,
}

impl Site {
    async fn new(users: &[&str]) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).build().unwrap();
        enroll_users(&emulator, &ac, users).await;
        let loaded_ahead = Arc::new(Mutex::new(Vec::new()));
        let record = loaded_ahead.clone();
        let record = from_fn(move |request: Request, next: middleware::Next| {
            let record = record.clone();
            async move {
                if let Some(purpose) = request.headers().get("sec-purpose") {
                    let line = format!("{} {}", request.uri(), purpose.to_str().unwrap());
                    record.lock().unwrap().push(line);
                }
                next.run(request).await
            }
        });
        let page = async |session: ActiveSession, request: Request| {
            Html(format!("{} of {}", request.uri(), session.user()))
        };
        let app = Router::new()
            .fallback(page)
            .layer(ac.layer())
            .route("/asking", get(async || Html(STATUS_LOOP_PAGE)))
            .route("/ahead", get(async || Html(PREFETCH_PAGE)))
            .nest("/auth", ac.routes())
            .layer(record);
        let url = serve(app).await;
        Self { emulator, ac, url, loaded_ahead }
    }

    async fn navigate(&self, tab: &Tab, path: &str) {
        tab.navigate(&format!("{}{path}", self.url)).await;
    }

    /// Waits until the tab shows this gated page.
    async fn wait_for_page(&self, tab: &Tab, path: &str, user: &str) {
        tab.wait_for(&format!("document.body?.innerText === '{path} of {user}'")).await;
        assert_eq!(tab.url().await, format!("{}{path}", self.url));
    }
}

async fn submit_login(tab: &Tab, user: &str) {
    tab.eval(&format!("document.querySelector('[name=username]').value = '{user}'")).await;
    tab.eval("document.forms[0].submit()").await;
    tab.wait_for("location.pathname === '/auth/waiting'").await;
}

/// T149
#[tokio::test]
async fn two_logins_end_on_two_pages() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new(&["alice"]).await;
    let profile = chromium.profile().await;
    let (first, second) = (profile.tab().await, profile.tab().await);
    site.navigate(&first, "/first").await;
    site.navigate(&second, "/second").await;
    submit_login(&first, "alice").await;
    submit_login(&second, "alice").await;
    poll_until("the second start sends a push", async || {
        (site.emulator.state().calls.authenticate_user == 2).then_some(())
    })
    .await;
    approve(&site.emulator).await;
    site.wait_for_page(&first, "/first", "alice").await;
    site.wait_for_page(&second, "/second", "alice").await;
    assert_eq!(site.ac.sessions(&"alice".into()).await.unwrap().len(), 1);
}

/// T149: a page is requested while a login is pending, and a script requests the status.
#[tokio::test]
async fn page_requested_during_login_is_shown() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new(&["alice", "bob"]).await;
    for (user, sends) in [("alice", false), ("bob", true)] {
        let profile = chromium.profile().await;
        let (first, second) = (profile.tab().await, profile.tab().await);
        let asking = profile.tab().await;
        site.navigate(&first, "/first").await;
        submit_login(&first, user).await;
        site.navigate(&second, "/second?page=2").await;
        assert_eq!(second.eval("location.pathname").await, "/auth/waiting");
        if sends {
            site.navigate(&asking, "/asking").await;
        }
        approve(&site.emulator).await;
        site.wait_for_page(&first, "/first", user).await;
        site.wait_for_page(&second, "/second?page=2", user).await;
    }
}

/// T149: Chromium prefetches the waiting page and the status.
#[tokio::test]
async fn prefetched_page_claims_nothing() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new(&["alice"]).await;
    let profile = chromium.profile().await;
    let (first, ahead) = (profile.tab().await, profile.tab().await);
    site.navigate(&first, "/first").await;
    submit_login(&first, "alice").await;
    // No page of this browser can claim the result.
    first.navigate("about:blank").await;
    approve(&site.emulator).await;
    let known = site.emulator.state().calls.status;
    poll_until("the approval is known", async || {
        (site.emulator.state().calls.status >= known + 3).then_some(())
    })
    .await;
    site.navigate(&ahead, "/ahead").await;
    poll_until("all is loaded ahead", async || {
        let loaded = site.loaded_ahead.lock().unwrap().clone();
        let has = |context: &str| loaded.iter().any(|line| line.starts_with(context));
        ["/auth/waiting?next=/linked ", "/auth/waiting?next=/prefetched ", "/auth/status "]
            .into_iter()
            .chain(["/auth/waiting?next=/prerendered "])
            .all(has)
            .then_some(())
    })
    .await;
    assert!(profile.cookie("__Host-activeconnect").await.is_none());
    assert!(site.ac.sessions(&"alice".into()).await.unwrap().is_empty());
    site.navigate(&first, "/first").await;
    site.wait_for_page(&first, "/first", "alice").await;
}

/// T159: without page refresh and scripts the user continues by a link. Chromium has no setting
/// against refreshes, so the test removes the refresh from the page.
#[tokio::test]
async fn link_continues_without_refresh_and_script() {
    let Some(chromium) = Chromium::start().await else { return };
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let without_refresh = map_response(async |response: Response| {
        let (mut head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let page = String::from_utf8(body.to_vec()).unwrap();
        head.headers.remove(CONTENT_LENGTH);
        Response::from_parts(head, Body::from(page.replace("http-equiv=\"refresh\"", "")))
    });
    let app = Router::new()
        .route("/page", get(async |session: ActiveSession| session.user().to_string()))
        .layer(ac.layer())
        .nest("/auth", ac.routes())
        .layer(without_refresh);
    let url = serve(app).await;
    let tab = chromium.profile().await.tab().await;
    tab.disable_scripts().await;
    tab.navigate(&format!("{url}/page")).await;
    submit_login(&tab, "alice").await;
    approve(&emulator).await;
    let known = emulator.state().calls.status;
    poll_until("the approval is known", async || {
        (emulator.state().calls.status >= known + 3).then_some(())
    })
    .await;
    assert!(tab.text().await.contains("Look at your phone"));
    let on = "[...document.links].find(link => link.innerText === 'Go on')";
    tab.eval(&format!("{on}.click()")).await;
    tab.wait_for("document.body?.innerText === 'alice'").await;
    assert_eq!(tab.url().await, format!("{url}/page"));
}
