//! Pages of an allowed origin and of other origins in Chromium.

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::Html;
use axum::routing::any;
use serde_json::json;
use tower_activeconnect::ActiveSession;

use crate::support::chromium::Chromium;
use crate::support::{approve, builder, enroll_users, serve};

/// Requests of a single-page application; `auth` is the URL of the routes.
const SCRIPT: &str = "
const credentials = 'include';
const ask = (path, more) => fetch(auth + path, { credentials, ...more })
    .then(response => response.json(), error => ({ status: error.name }));
const post = (path, body) => ask(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
}).then(response => response.status);
const status = () => ask('/status').then(response => response.status);
const event = () => new Promise(done => {
    const events = new EventSource(auth + '/events', { withCredentials: true });
    const close = word => { events.close(); done(word); };
    events.onmessage = event => close(JSON.parse(event.data).status);
    events.onerror = () => close('rejected');
});
const socket = () => new Promise(done => {
    const socket = new WebSocket(auth.replace('http', 'ws').replace('/auth', '/socket'));
    socket.onmessage = event => done(event.data);
    socket.onerror = () => done('rejected');
});
";

#[tokio::test]
async fn page_of_an_allowed_origin_logs_in_and_out() {
    let Some(chromium) = Chromium::start().await else { return };
    let page = async |script: &'static str| {
        let page = Html(format!("<!doctype html><title>page</title><script>{script}</script>"));
        serve(Router::new().fallback(async move || page)).await
    };
    let page = page(SCRIPT).await;
    let at = |url: &str, host: &str| url.replace("127.0.0.1", host);
    let (www, sibling) = (at(&page, "www.app.localhost"), at(&page, "old.app.localhost"));
    let (evil, other_site) = (at(&page, "evil.localhost"), at(&page, "partner.localhost"));

    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).allow_origin(&www).allow_origin(&other_site).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let socket = async |session: ActiveSession, upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async move |mut socket| {
            _ = socket.send(Message::text(session.user().to_string())).await;
        })
    };
    let app = Router::new().route("/socket", any(socket)).layer(ac.layer());
    let app = serve(app.nest("/auth", ac.routes())).await;
    let auth = format!("{}/auth", at(&app, "api.app.localhost"));

    let profile = chromium.profile().await;
    let tab = profile.tab().await;
    let visit = async |page: &str| {
        tab.navigate(page).await;
        tab.eval(&format!("window.auth = {}", json!(auth))).await;
    };
    visit(&www).await;
    assert_eq!(tab.eval("status()").await, "none");
    assert_eq!(tab.eval("post('/login', { username: 'alice' })").await, "pending");
    assert_eq!(tab.eval("event()").await, "pending");
    approve(&emulator).await;
    tab.wait_for("status().then(status => status === 'active')").await;
    assert_eq!(tab.eval("event()").await, "active");
    assert_eq!(tab.eval("socket()").await, "alice");

    // A page of the same site sends cookies, but its origin is not allowed. A page of another site
    // has neither cookies nor an allowed origin. For an allowed origin on another site, the browser
    // sends no cookie.
    for (page, response, received) in [
        (&sibling, "TypeError", "rejected"),
        (&evil, "TypeError", "rejected"),
        (&other_site, "none", "none"),
    ] {
        visit(page).await;
        assert_eq!(tab.eval("status()").await, response, "{page}");
        assert_eq!(tab.eval("event()").await, received, "{page}");
        assert_eq!(tab.eval("socket()").await, "rejected", "{page}");
        tab.eval("post('/logout', {})").await;
    }
    visit(&www).await;
    assert_eq!(tab.eval("status()").await, "active");
    tab.eval("post('/logout', {})").await;
    assert_eq!(tab.eval("status()").await, "none");
}
