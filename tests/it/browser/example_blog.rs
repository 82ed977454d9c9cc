//! The example blog in a real browser.

use activeconnect_emulator::{Action, Emulator};

use crate::support::approve;
use crate::support::blog::Blog;
use crate::support::chromium::{Chromium, Tab};

async fn log_in(emulator: &Emulator, blog: &Blog, tab: &Tab, user: &str) {
    // `guard.js` hides the timeline of a hidden tab.
    tab.bring_to_front().await;
    tab.navigate(&format!("{}/", blog.url)).await;
    tab.wait_for("location.pathname === '/auth/login'").await;
    tab.eval(&format!("document.querySelector('[name=username]').value = '{user}'")).await;
    tab.eval("document.forms[0].submit()").await;
    tab.wait_for("location.pathname === '/auth/waiting'").await;
    approve(emulator).await;
    shows_timeline(tab, user).await;
}

async fn shows_timeline(tab: &Tab, user: &str) {
    tab.wait_for("document.title.startsWith('Timeline')").await;
    tab.wait_for_load().await;
    assert!(tab.text().await.contains(&format!("Logged in as {user}")));
}

/// After registration the page leads to the login once the phone is registered.
#[tokio::test]
async fn registration_page_leads_to_login() {
    let Some(chromium) = Chromium::start().await else { return };
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    let tab = chromium.profile().await.tab().await;
    tab.navigate(&format!("{}/register", blog.url)).await;
    tab.eval(
        "document.querySelector('[name=username]').value = 'alice';
         document.querySelector('[name=email]').value = 'alice@example.org';
         document.forms[0].submit()",
    )
    .await;
    tab.wait_for("!!document.querySelector('[data-follow] .link')").await;
    let user = emulator.state().users.remove(0).user_id;
    emulator.register_device(&user).unwrap();
    tab.wait_for("location.pathname === '/auth/login'").await;
    log_in(&emulator, &blog, &tab, "alice").await;
}

#[tokio::test]
async fn back_after_logout_shows_no_post() {
    let Some(chromium) = Chromium::start().await else { return };
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    blog.register("alice").await;
    let tab = chromium.profile().await.tab().await;
    log_in(&emulator, &blog, &tab, "alice").await;
    tab.eval("document.querySelector('form[action=\"/auth/logout\"]').submit()").await;
    tab.wait_for("location.href.endsWith('/auth/login')").await;
    tab.wait_for_load().await;
    tab.eval("window.isBeforeBack = true; history.back()").await;
    // The browser loads the page again, or restores it from memory and `guard.js` hides it.
    tab.wait_for(
        "!window.isBeforeBack && (!!document.querySelector('[name=username]')
            || getComputedStyle(document.body).visibility === 'hidden')",
    )
    .await;
    assert!(!tab.text().await.contains("alice"));
}

/// The session ends while the user writes a post.
#[tokio::test]
async fn draft_survives_session_end() {
    let Some(chromium) = Chromium::start().await else { return };
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    blog.register("alice").await;
    let profile = chromium.profile().await;
    let tab = profile.tab().await;
    log_in(&emulator, &blog, &tab, "alice").await;
    tab.eval("document.querySelector('textarea').value = 'not lost'").await;
    let session = emulator.state().sessions.pop().unwrap();
    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    tab.wait_for("getComputedStyle(document.body).visibility === 'hidden'").await;
    let login = profile.tab().await;
    log_in(&emulator, &blog, &login, "alice").await;
    tab.bring_to_front().await;
    tab.wait_for("getComputedStyle(document.body).visibility === 'visible'").await;
    tab.eval("document.querySelector('form[action=\"/posts\"] button').click()").await;
    tab.wait_for("document.querySelector('article .text')?.innerText === 'not lost'").await;
}

/// T166: a browser sends the cookies of a host to all its ports.
#[tokio::test]
async fn blogs_on_two_ports_keep_two_logins() {
    let Some(chromium) = Chromium::start().await else { return };
    let emulator = Emulator::start().await.unwrap();
    let (first, second) = (Blog::start(&emulator).await, Blog::start(&emulator).await);
    first.register("alice").await;
    second.register("bob").await;
    let profile = chromium.profile().await;
    let (alices, bobs) = (profile.tab().await, profile.tab().await);
    log_in(&emulator, &first, &alices, "alice").await;
    log_in(&emulator, &second, &bobs, "bob").await;
    for (blog, tab, user) in [(&first, &alices, "alice"), (&second, &bobs, "bob")] {
        tab.bring_to_front().await;
        tab.navigate(&format!("{}/", blog.url)).await;
        shows_timeline(tab, user).await;
        assert!(profile.cookie(&blog.session_cookie()).await.is_some());
    }
    bobs.eval("document.querySelector('form[action=\"/auth/logout\"]').submit()").await;
    bobs.wait_for("location.pathname === '/auth/login'").await;
    alices.bring_to_front().await;
    alices.navigate(&format!("{}/", first.url)).await;
    shows_timeline(&alices, "alice").await;
}
