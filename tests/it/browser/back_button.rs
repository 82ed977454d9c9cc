//! The Back button after a session's end, in Chromium: pages from the browser's caches.

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::response::Html;
use axum::routing::get;
use serde_json::Value;
use tower_activeconnect::layer::CacheControl;
use tower_activeconnect::protocol::AuthMethod;
use tower_activeconnect::{ActiveSession, Activeconnect};

use crate::support::chromium::{Chromium, Tab};
use crate::support::{approve, builder, enroll_users, poll_until, serve};

/// The script of the documentation of `cache_control`.
const RELOAD: &str = "addEventListener('pageshow', event => event.persisted && location.reload());";

fn page(session: &ActiveSession) -> Html<String> {
    let user = session.user();
    Html(format!(
        "<!doctype html><title>page</title><p>secret of {user}
        <form id=out method=post action=/auth/logout></form><script>{RELOAD}</script>"
    ))
}

async fn log_in(emulator: &Emulator, tab: &Tab, user: &str, url: &str) {
    tab.navigate(url).await;
    tab.wait_for("location.pathname === '/auth/login'").await;
    tab.eval(&format!("document.querySelector('[name=username]').value = '{user}'")).await;
    tab.eval("document.forms[0].submit()").await;
    tab.wait_for("location.pathname === '/auth/waiting'").await;
    approve(emulator).await;
    tab.wait_for(&format!("location.href === '{url}'")).await;
    tab.wait_for_load().await;
}

/// The type of the current navigation: `back_forward`, `reload` or `navigate`. A page restored from
/// memory that then reloads or redirects has one of the latter two.
async fn navigation(tab: &Tab) -> Value {
    tab.eval("performance.getEntriesByType('navigation')[0].type").await
}

#[tokio::test]
async fn back_after_logout_shows_no_page() {
    let Some(chromium) = Chromium::start().await else { return };
    let without_memory = ["--disable-features=BackForwardCache"];
    let Some(forgetful) = Chromium::start_with(&without_memory).await else { return };
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice", "bob", "carol", "dave"]).await;
    let pages = |layer| {
        let show = async |session: ActiveSession| page(&session);
        Router::new().route("/page", get(show)).layer(layer)
    };
    let app = Router::new()
        .nest("/unkept", pages(ac.layer().cache_control(CacheControl::NoStore)))
        .nest("/kept", pages(ac.layer()))
        .nest("/auth", ac.routes());
    let site = serve(app).await;
    // A username is reserved for a minute after a login, so each browser has its own user.
    for (user, path, chromium, came_by, is_shown) in [
        ("alice", "/unkept/page", &chromium, "reload", false),
        ("bob", "/kept/page", &chromium, "reload", false),
        ("carol", "/unkept/page", &forgetful, "back_forward", false),
        // The case for which the setting exists: the page is in the browser's cache.
        ("dave", "/kept/page", &forgetful, "back_forward", true),
    ] {
        let tab = chromium.profile().await.tab().await;
        log_in(&emulator, &tab, user, &format!("{site}{path}")).await;
        tab.eval("out.submit()").await;
        tab.wait_for("location.href.endsWith('/auth/login')").await;
        tab.wait_for_load().await;
        tab.eval("history.back()").await;
        let url_path = if is_shown { path } else { "/auth/login?next=" };
        tab.wait_for(&format!("location.href.includes('{url_path}')")).await;
        tab.wait_for_load().await;
        assert_eq!(tab.text().await.contains(user), is_shown, "{path} {came_by}");
        assert_eq!(navigation(&tab).await, came_by, "{path}");
    }
}

/// The crate's own page, which has the user's name, reloads when it is restored.
#[tokio::test]
async fn own_pages_reload_when_restored() {
    let Some(chromium) = Chromium::start().await else { return };
    let emulator = Emulator::start().await.unwrap();
    let ac: Activeconnect = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
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
    tab.navigate(&format!("{site}/secret")).await;
    assert!(tab.url().await.contains("/auth/confirm"));
    assert!(tab.text().await.contains("alice"));
    tab.eval("location.href = '/elsewhere'").await;
    tab.wait_for("document.title === 'elsewhere'").await;
    // The browser does not learn of this end.
    let session = emulator.state().sessions.pop().unwrap();
    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    poll_until("the session ended", async || {
        ac.sessions(&"alice".into()).await.unwrap().is_empty().then_some(())
    })
    .await;
    tab.eval("history.back()").await;
    tab.wait_for("location.pathname === '/auth/login'").await;
    tab.wait_for_load().await;
    assert!(!tab.text().await.contains("alice"));
    assert_eq!(navigation(&tab).await, "navigate", "the page was restored and redirected");
}
