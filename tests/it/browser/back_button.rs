//! The Back button after a session's end, in Chromium: what comes out of its caches.

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::response::Html;
use axum::routing::get;
use serde_json::Value;
use tower_activeconnect::layer::CacheControl;
use tower_activeconnect::protocol::AuthMethod;
use tower_activeconnect::{ActiveSession, Activeconnect};

use crate::support::chromium::{Chromium, Tab};
use crate::support::{approve, builder, serve, until, with_phones};

/// What the documentation of `cache_control` says.
const RELOAD: &str = "addEventListener('pageshow', event => event.persisted && location.reload());";

fn page(session: &ActiveSession) -> Html<String> {
    let user = session.user();
    Html(format!(
        "<!doctype html><title>page</title><p>secret of {user}
        <form id=out method=post action=/auth/logout></form><script>{RELOAD}</script>"
    ))
}

async fn log_in(emulator: &Emulator, tab: &Tab, user: &str, url: &str) {
    tab.go(url).await;
    tab.until("location.pathname === '/auth/login'").await;
    tab.eval(&format!("document.querySelector('[name=username]').value = '{user}'")).await;
    tab.eval("document.forms[0].submit()").await;
    tab.until("location.pathname === '/auth/waiting'").await;
    approve(emulator).await;
    tab.until(&format!("location.href === '{url}'")).await;
    tab.loaded().await;
}

/// How the page came to be: by `back_forward`, a `reload`, or `navigate`. What was restored from
/// memory and went on by itself came by the latter two.
async fn navigation(tab: &Tab) -> Value {
    tab.eval("performance.getEntriesByType('navigation')[0].type").await
}

#[tokio::test]
async fn back_after_logout_asks_the_gate() {
    let Some(chromium) = Chromium::start().await else { return };
    let without_memory = ["--disable-features=BackForwardCache"];
    let Some(forgetful) = Chromium::start_with(&without_memory).await else { return };
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    with_phones(&emulator, &ac, &["alice", "bob", "carol", "dave"]).await;
    let pages = |layer| {
        let show = async |session: ActiveSession| page(&session);
        Router::new().route("/page", get(show)).layer(layer)
    };
    let app = Router::new()
        .nest("/unkept", pages(ac.layer().cache_control(CacheControl::NoStore)))
        .nest("/kept", pages(ac.layer()))
        .nest("/auth", ac.routes());
    let site = serve(app).await;
    // A name is reserved for a minute after a login, so each browser has a user of its own.
    for (user, path, chromium, came_by, is_shown) in [
        ("alice", "/unkept/page", &chromium, "reload", false),
        ("bob", "/kept/page", &chromium, "reload", false),
        ("carol", "/unkept/page", &forgetful, "back_forward", false),
        // Why there is the setting: the browser's cache has the page.
        ("dave", "/kept/page", &forgetful, "back_forward", true),
    ] {
        let tab = chromium.profile().await.tab().await;
        log_in(&emulator, &tab, user, &format!("{site}{path}")).await;
        tab.eval("out.submit()").await;
        tab.until("location.href.endsWith('/auth/login')").await;
        tab.loaded().await;
        tab.eval("history.back()").await;
        let place = if is_shown { path } else { "/auth/login?next=" };
        tab.until(&format!("location.href.includes('{place}')")).await;
        tab.loaded().await;
        assert_eq!(tab.text().await.contains(user), is_shown, "{path} {came_by}");
        assert_eq!(navigation(&tab).await, came_by, "{path}");
    }
}

/// The crate's own pages, here the one that names the user, are not shown as they were left.
#[tokio::test]
async fn own_pages_load_anew_when_restored() {
    let Some(chromium) = Chromium::start().await else { return };
    let emulator = Emulator::start().await.unwrap();
    let ac: Activeconnect = builder(&emulator).build().unwrap();
    with_phones(&emulator, &ac, &["alice"]).await;
    let secret = Router::new()
        .route("/secret", get(async || ()))
        .layer(ac.layer().require_methods([AuthMethod::Facial]));
    let app = Router::new()
        .route("/", get(async |session: ActiveSession| page(&session)))
        .layer(ac.layer())
        .merge(secret)
        .route("/elsewhere", get(async || Html("<!doctype html><title>elsewhere</title>")))
        .nest("/auth", ac.routes());
    let site = serve(app).await;
    let tab = chromium.profile().await.tab().await;
    log_in(&emulator, &tab, "alice", &format!("{site}/")).await;
    tab.go(&format!("{site}/secret")).await;
    assert!(tab.place().await.contains("/auth/confirm"));
    assert!(tab.text().await.contains("alice"));
    tab.eval("location.href = '/elsewhere'").await;
    tab.until("document.title === 'elsewhere'").await;
    // Nothing tells the browser.
    let session = emulator.state().sessions.pop().unwrap();
    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    until("ended", async || ac.sessions(&"alice".into()).await.unwrap().is_empty().then_some(()))
        .await;
    tab.eval("history.back()").await;
    tab.until("location.pathname === '/auth/login'").await;
    tab.loaded().await;
    assert!(!tab.text().await.contains("alice"));
    assert_eq!(navigation(&tab).await, "navigate", "it was restored, and went on");
}
