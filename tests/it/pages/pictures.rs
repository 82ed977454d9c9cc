//! Pictures of every page: `scripts/screenshot-pages` keeps them in docs/pages.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tower_activeconnect::emulator::{Action, Emulator};
use tower_activeconnect::{ActiveSession, Theme};

use crate::chromium::{Chromium, Tab};
use crate::support::{approve, builder, serve, until, with_phones};

/// A phone and a desktop, in CSS pixels.
const WIDTHS: [(&str, u32); 2] = [("phone", 390), ("desktop", 1280)];
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Takes pictures of the page that the tab shows.
async fn picture(tab: &Tab, folder: &Path, name: &str, heading: &str) {
    tab.until(&format!("document.querySelector('h1')?.innerText === '{heading}'")).await;
    tab.loaded().await;
    for (screen, width) in WIDTHS {
        tab.set_width(width).await;
        tab.until(&format!("innerWidth === {width}")).await;
        for scheme in ["light", "dark"] {
            tab.prefer_color_scheme(scheme).await;
            let picture = tab.picture().await;
            assert!(picture.starts_with(PNG), "{name}");
            std::fs::write(folder.join(format!("{name}-{screen}-{scheme}.png")), picture).unwrap();
        }
    }
}

#[tokio::test]
async fn every_page_is_pictured() {
    let Some(chromium) = Chromium::start().await else { return };
    let kept = std::env::var_os("PICTURES").map(PathBuf::from);
    let scratch = tempfile::tempdir().unwrap();
    let folder = kept.unwrap_or_else(|| scratch.path().to_owned());

    let emulator = Emulator::start().await.unwrap();
    let theme = Theme::new()
        .app_name("Acme")
        .sign_up_url("/register")
        .support_url("mailto:help@acme.example")
        .privacy_url("/privacy");
    let ac = builder(&emulator).theme(theme).build().unwrap();
    with_phones(&emulator, &ac, &["alice"]).await;
    let link = {
        let ac = ac.clone();
        async move |session: ActiveSession| {
            ac.registration_link(&session).await.map_err(|_| StatusCode::BAD_GATEWAY)
        }
    };
    let app = Router::new()
        .route("/", get(async |session: ActiveSession| session.user().to_string()))
        .route("/phone", get(link))
        .layer(ac.layer())
        .nest("/auth", ac.routes());
    // As people know it, and not by a port that is another one in each picture.
    let port = serve(app).await.rsplit_once(':').unwrap().1.to_owned();
    let url = format!("http://localhost:{port}");
    let tab = chromium.profile().await.tab().await;

    tab.go(&format!("{url}/auth/waiting")).await;
    picture(&tab, &folder, "refused", "No login waits here").await;
    tab.go(&format!("{url}/auth/login")).await;
    picture(&tab, &folder, "login", "Log in").await;
    tab.eval("document.querySelector('[name=username]').value = 'alice'").await;
    tab.eval("document.forms[0].submit()").await;
    picture(&tab, &folder, "waiting", "Look at your phone").await;
    let session = approve(&emulator).await;
    tab.until("location.pathname === '/' && document.body?.innerText === 'alice'").await;
    tab.go(&format!("{url}/auth/confirm")).await;
    picture(&tab, &folder, "confirm", "Confirm that it is you").await;
    tab.go(&format!("{url}/phone")).await;
    picture(&tab, &folder, "registration", "Register your phone").await;
    emulator.act_on_session(&session.session_token, Action::WalkAway).unwrap();
    until("away", async || {
        tab.go(&format!("{url}/")).await;
        tab.place().await.contains("/auth/locked").then_some(())
    })
    .await;
    picture(&tab, &folder, "locked", "Locked").await;
}
