//! Several tabs of one browser, in Chromium: each ends on the page that it wanted.

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
use crate::support::{approve, builder, serve, until, with_phones};

/// A page that anyone may see, whose script asks for the status all the time.
const ASKING: &str = "<!doctype html><title>asking</title><script>
setInterval(() => fetch('/auth/status'), 50);
</script>";
/// A page that anyone may see, with a list of what to load ahead.
const LOADING_AHEAD: &str = r#"<!doctype html><title>ahead</title>
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
    /// What was loaded ahead: path, query and purpose.
    loaded_ahead: Arc<Mutex<Vec<String>>>,
}

impl Site {
    async fn new(users: &[&str]) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).build().unwrap();
        with_phones(&emulator, &ac, users).await;
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
            .route("/asking", get(async || Html(ASKING)))
            .route("/ahead", get(async || Html(LOADING_AHEAD)))
            .nest("/auth", ac.routes())
            .layer(record);
        let url = serve(app).await;
        Self { emulator, ac, url, loaded_ahead }
    }

    async fn go(&self, tab: &Tab, path: &str) {
        tab.go(&format!("{}{path}", self.url)).await;
    }

    /// Waits until the tab shows this gated page.
    async fn shows(&self, tab: &Tab, path: &str, user: &str) {
        tab.until(&format!("document.body?.innerText === '{path} of {user}'")).await;
        assert_eq!(tab.place().await, format!("{}{path}", self.url));
    }
}

async fn submit(tab: &Tab, user: &str) {
    tab.eval(&format!("document.querySelector('[name=username]').value = '{user}'")).await;
    tab.eval("document.forms[0].submit()").await;
    tab.until("location.pathname === '/auth/waiting'").await;
}

/// T149
#[tokio::test]
async fn two_logins_end_on_two_pages() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new(&["alice"]).await;
    let profile = chromium.profile().await;
    let (first, second) = (profile.tab().await, profile.tab().await);
    site.go(&first, "/first").await;
    site.go(&second, "/second").await;
    submit(&first, "alice").await;
    submit(&second, "alice").await;
    until("the second start rings", async || {
        (site.emulator.state().calls.authenticate_user == 2).then_some(())
    })
    .await;
    approve(&site.emulator).await;
    site.shows(&first, "/first", "alice").await;
    site.shows(&second, "/second", "alice").await;
    assert_eq!(site.ac.sessions(&"alice".into()).await.unwrap().len(), 1);
}

/// T149: a page is asked for while a login waits, and a script asks for the status.
#[tokio::test]
async fn page_asked_for_meanwhile_is_shown() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new(&["alice", "bob"]).await;
    for (user, asks) in [("alice", false), ("bob", true)] {
        let profile = chromium.profile().await;
        let (first, second) = (profile.tab().await, profile.tab().await);
        let asking = profile.tab().await;
        site.go(&first, "/first").await;
        submit(&first, user).await;
        site.go(&second, "/second?page=2").await;
        assert_eq!(second.eval("location.pathname").await, "/auth/waiting");
        if asks {
            site.go(&asking, "/asking").await;
        }
        approve(&site.emulator).await;
        site.shows(&first, "/first", user).await;
        site.shows(&second, "/second?page=2", user).await;
    }
}

/// T149: Chromium loads the waiting page and the status ahead.
#[tokio::test]
async fn page_loaded_ahead_claims_nothing() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new(&["alice"]).await;
    let profile = chromium.profile().await;
    let (first, ahead) = (profile.tab().await, profile.tab().await);
    site.go(&first, "/first").await;
    submit(&first, "alice").await;
    // No page of this browser claims the result.
    first.go("about:blank").await;
    approve(&site.emulator).await;
    let known = site.emulator.state().calls.status;
    until("the approval is known", async || {
        (site.emulator.state().calls.status >= known + 3).then_some(())
    })
    .await;
    site.go(&ahead, "/ahead").await;
    until("all is loaded ahead", async || {
        let loaded = site.loaded_ahead.lock().unwrap().clone();
        let has = |what: &str| loaded.iter().any(|line| line.starts_with(what));
        ["/auth/waiting?next=/linked ", "/auth/waiting?next=/prefetched ", "/auth/status "]
            .into_iter()
            .chain(["/auth/waiting?next=/prerendered "])
            .all(has)
            .then_some(())
    })
    .await;
    assert!(profile.cookie("__Host-activeconnect").await.is_none());
    assert!(site.ac.sessions(&"alice".into()).await.unwrap().is_empty());
    site.go(&first, "/first").await;
    site.shows(&first, "/first", "alice").await;
}

/// T159: a browser that refreshes no page by itself and runs no script goes on by a link. Chromium has
/// no such setting, so the page comes without its refresh.
#[tokio::test]
async fn link_goes_on_where_nothing_refreshes() {
    let Some(chromium) = Chromium::start().await else { return };
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    with_phones(&emulator, &ac, &["alice"]).await;
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
    tab.go(&format!("{url}/page")).await;
    submit(&tab, "alice").await;
    approve(&emulator).await;
    let known = emulator.state().calls.status;
    until("the approval is known", async || {
        (emulator.state().calls.status >= known + 3).then_some(())
    })
    .await;
    assert!(tab.text().await.contains("Look at your phone"));
    let on = "[...document.links].find(link => link.innerText === 'Go on')";
    tab.eval(&format!("{on}.click()")).await;
    tab.until("document.body?.innerText === 'alice'").await;
    assert_eq!(tab.place().await, format!("{url}/page"));
}
