//! The example blog in a real browser.

use tower_activeconnect::emulator::Emulator;

use crate::blog::Blog;
use crate::chromium::Chromium;
use crate::support::approve;

#[tokio::test]
async fn back_after_logout_shows_no_post() {
    let Some(chromium) = Chromium::start().await else { return };
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    blog.register("alice").await;
    let tab = chromium.profile().await.tab().await;
    tab.go(&format!("{}/", blog.url)).await;
    tab.until("location.pathname === '/auth/login'").await;
    tab.eval("document.querySelector('[name=username]').value = 'alice'").await;
    tab.eval("document.forms[0].submit()").await;
    tab.until("location.pathname === '/auth/waiting'").await;
    approve(&emulator).await;
    tab.until("document.title.startsWith('Timeline')").await;
    tab.loaded().await;
    assert!(tab.text().await.contains("alice"));
    tab.eval("document.querySelector('form[action=\"/auth/logout\"]').submit()").await;
    tab.until("location.href.endsWith('/auth/login')").await;
    tab.loaded().await;
    tab.eval("window.isBeforeBack = true; history.back()").await;
    tab.until("!window.isBeforeBack && !!document.querySelector('[name=username]')").await;
    tab.loaded().await;
    assert!(!tab.text().await.contains("alice"));
}
