//! Pictures of every page: `scripts/screenshot-pages` keeps them in docs/pages.

use std::path::{Path, PathBuf};

use tower_activeconnect::Theme;

use super::in_chromium::Fixture;
use crate::chromium::Tab;
use crate::support::approve;

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
    let kept = std::env::var_os("PICTURES").map(PathBuf::from);
    let scratch = tempfile::tempdir().unwrap();
    let folder = kept.unwrap_or_else(|| scratch.path().to_owned());

    let theme = Theme::new()
        .app_name("Acme")
        .sign_up_url("/register")
        .support_url("mailto:help@acme.example")
        .privacy_url("/privacy");
    let Some(site) = Fixture::start(|builder| builder.theme(theme)).await else { return };
    let tab = &site.tab;

    site.go("/auth/waiting").await;
    picture(tab, &folder, "refused", "No login waits here").await;
    site.go("/auth/login").await;
    picture(tab, &folder, "login", "Log in").await;
    site.begin_login("alice").await;
    picture(tab, &folder, "waiting", "Look at your phone").await;
    let session = approve(&site.emulator).await;
    site.shows_home().await;
    site.go("/auth/confirm").await;
    picture(tab, &folder, "confirm", "Confirm that it is you").await;
    site.go("/phone").await;
    picture(tab, &folder, "registration", "Register your phone").await;
    site.walk_away(&session).await;
    picture(tab, &folder, "locked", "Locked").await;
}
