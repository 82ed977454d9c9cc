//! Requests that hostile pages send with the victim's cookies.

use serde_json::json;
use tower_activeconnect::protocol::SessionStatus;

use super::fixture::Fixture;
use crate::support::approve;
use crate::support::chromium::Tab;

/// Sends a form that the current page creates.
async fn send_form(tab: &Tab, action: &str, fields: &[(&str, &str)]) {
    let send = "(action, fields) => {
        const form = document.createElement('form');
        Object.assign(form, { method: 'post', action });
        for (const [name, value] of fields) {
            form.append(Object.assign(document.createElement('input'), { name, value }));
        }
        document.body.append(form);
        form.submit();
    }";
    tab.eval(&format!("({send})({}, {})", json!(action), json!(fields))).await;
    tab.wait_for(&format!("location.href === {}", json!(action))).await;
    tab.wait_for_load().await;
}

/// Sends a `no-cors` request, whose response the page can't read.
async fn send_no_cors(tab: &Tab, action: &str, body: &str) {
    let send = "(action, body) => {
        const options = { method: 'post', mode: 'no-cors', credentials: 'include', body };
        return fetch(action, options).then(response => response.text(), error => error.name);
    }";
    let read = tab.eval(&format!("({send})({}, {})", json!(action), json!(body))).await;
    assert!(read == "" || read == "TypeError", "{read}");
}

/// T017: a hostile page can neither log the victim in as the attacker nor send pushes.
#[tokio::test]
async fn login_cannot_be_forged() {
    let Some(fixture) = Fixture::start().await else { return };
    let profile = fixture.chromium.profile().await;
    let tab = profile.tab().await;
    let login = format!("{}/auth/login", fixture.app);
    for hostile in [&fixture.evil, &fixture.sibling] {
        for referrer in ["", "<meta name=referrer content=no-referrer>"] {
            tab.navigate(hostile).await;
            tab.eval(&format!("document.head.innerHTML = '{referrer}'")).await;
            send_form(&tab, &login, &[("username", "mallory")]).await;
            assert!(tab.text().await.contains("must come from this site"), "{hostile}");
        }
        tab.navigate(hostile).await;
        send_no_cors(&tab, &login, "{\"username\":\"mallory\"}").await;
    }
    // Without TLS and off the loopback Chromium sends no `Sec-Fetch-Site`, like old browsers.
    let old = |url: &str| url.replace(".localhost", ".example");
    tab.navigate(&old(&fixture.evil)).await;
    send_form(&tab, &old(&login), &[("username", "mallory")]).await;
    assert!(tab.text().await.contains("must come from this site"));
    assert!(profile.cookies().await.is_empty());
    assert_eq!(fixture.push_count(), 0);
}

/// T018
#[tokio::test]
async fn logout_cannot_be_forged() {
    let Some(fixture) = Fixture::start().await else { return };
    let profile = fixture.chromium.profile().await;
    let tab = profile.tab().await;
    fixture.log_in(&tab, "alice").await;
    let logout = format!("{}/auth/logout", fixture.app);
    for hostile in [&fixture.evil, &fixture.sibling] {
        tab.navigate(hostile).await;
        send_no_cors(&tab, &logout, "").await;
        let image = "src => new Promise(done => {
            const image = Object.assign(new Image(), { onerror: done, onload: done, src });
            document.body.append(image);
        }).then(event => event.type)";
        let event_type = tab.eval(&format!("({image})({})", json!(logout))).await;
        assert_eq!(event_type, "error");
        send_form(&tab, &logout, &[]).await;
        assert!(tab.text().await.contains("must come from this site"), "{hostile}");
        // A `GET`, as from a link or redirect, does not log out.
        tab.navigate(&logout).await;
    }
    tab.navigate(&fixture.app).await;
    fixture.wait_for_page(&tab, "alice").await;
    assert_eq!(fixture.emulator.state().sessions[0].status, SessionStatus::Active);
}

/// T031: the session goes to the browser that started the attempt, independent of who approves.
#[tokio::test]
async fn only_the_starting_browser_gets_the_session() {
    let Some(fixture) = Fixture::start().await else { return };
    let (mallorys, bobs) = (fixture.chromium.profile().await, fixture.chromium.profile().await);
    let (began, looks_on) = (mallorys.tab().await, bobs.tab().await);
    fixture.start_login(&began, "bob").await;
    // Bob's own browser never gets the session that his phone approves.
    looks_on.navigate(&format!("{}/auth/waiting", fixture.app)).await;
    assert!(looks_on.text().await.contains("No login waits here"));
    approve(&fixture.emulator).await;
    fixture.wait_for_page(&began, "bob").await;
    for path in ["/auth/waiting", "/auth/status", "/"] {
        looks_on.navigate(&format!("{}{path}", fixture.app)).await;
    }
    assert_eq!(looks_on.url().await, format!("{}/auth/login", fixture.app));
    assert!(bobs.cookies().await.is_empty());
    assert!(mallorys.cookie("__Host-activeconnect").await.is_some());
}
