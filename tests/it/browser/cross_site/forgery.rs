//! What others send in the victim's name.

use serde_json::json;
use tower_activeconnect::protocol::SessionStatus;

use super::stage::Stage;
use crate::support::approve;
use crate::support::chromium::Tab;

/// A form of this page's own making, sent as a navigation.
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
    tab.until(&format!("location.href === {}", json!(action))).await;
    tab.loaded().await;
}

/// A request without a form, which needs nobody's leave. Its answer can't be read.
async fn send_quietly(tab: &Tab, action: &str, body: &str) {
    let send = "(action, body) => {
        const options = { method: 'post', mode: 'no-cors', credentials: 'include', body };
        return fetch(action, options).then(answer => answer.text(), error => error.name);
    }";
    let read = tab.eval(&format!("({send})({}, {})", json!(action), json!(body))).await;
    assert!(read == "" || read == "TypeError", "{read}");
}

/// T017: the victim is not logged in as the attacker, nor are phones rung in their name.
#[tokio::test]
async fn login_cannot_be_forged() {
    let Some(stage) = Stage::start().await else { return };
    let profile = stage.chromium.profile().await;
    let tab = profile.tab().await;
    let login = format!("{}/auth/login", stage.app);
    for hostile in [&stage.evil, &stage.sibling] {
        for referrer in ["", "<meta name=referrer content=no-referrer>"] {
            tab.go(hostile).await;
            tab.eval(&format!("document.head.innerHTML = '{referrer}'")).await;
            send_form(&tab, &login, &[("username", "mallory")]).await;
            assert!(tab.text().await.contains("must come from this site"), "{hostile}");
        }
        tab.go(hostile).await;
        send_quietly(&tab, &login, "{\"username\":\"mallory\"}").await;
    }
    // Without TLS and off the loopback Chromium sends no `Sec-Fetch-Site`, as old browsers.
    let old = |url: &str| url.replace(".localhost", ".example");
    tab.go(&old(&stage.evil)).await;
    send_form(&tab, &old(&login), &[("username", "mallory")]).await;
    assert!(tab.text().await.contains("must come from this site"));
    assert!(profile.cookies().await.is_empty());
    assert_eq!(stage.rang(), 0);
}

/// T018.
#[tokio::test]
async fn logout_cannot_be_forged() {
    let Some(stage) = Stage::start().await else { return };
    let profile = stage.chromium.profile().await;
    let tab = profile.tab().await;
    stage.log_in(&tab, "alice").await;
    let logout = format!("{}/auth/logout", stage.app);
    for hostile in [&stage.evil, &stage.sibling] {
        tab.go(hostile).await;
        send_quietly(&tab, &logout, "").await;
        let image = "src => new Promise(done => {
            const image = Object.assign(new Image(), { onerror: done, onload: done, src });
            document.body.append(image);
        }).then(event => event.type)";
        let shown = tab.eval(&format!("({image})({})", json!(logout))).await;
        assert_eq!(shown, "error");
        send_form(&tab, &logout, &[]).await;
        assert!(tab.text().await.contains("must come from this site"), "{hostile}");
        // By a link or a redirect it is no request that changes anything.
        tab.go(&logout).await;
    }
    tab.go(&stage.app).await;
    stage.is_in(&tab, "alice").await;
    assert_eq!(stage.emulator.state().sessions[0].status, SessionStatus::Active);
}

/// T031: whoever approves, the session is the browser's that began; theirs gets nothing.
#[tokio::test]
async fn only_the_browser_that_began_gets_the_session() {
    let Some(stage) = Stage::start().await else { return };
    let (mallorys, bobs) = (stage.chromium.profile().await, stage.chromium.profile().await);
    let (began, looks_on) = (mallorys.tab().await, bobs.tab().await);
    stage.begin(&began, "bob").await;
    // Bob's own browser looks on, and is never handed what his phone approves.
    looks_on.go(&format!("{}/auth/waiting", stage.app)).await;
    assert!(looks_on.text().await.contains("No login waits here"));
    approve(&stage.emulator).await;
    stage.is_in(&began, "bob").await;
    for path in ["/auth/waiting", "/auth/status", "/"] {
        looks_on.go(&format!("{}{path}", stage.app)).await;
    }
    assert_eq!(looks_on.place().await, format!("{}/auth/login", stage.app));
    assert!(bobs.cookies().await.is_empty());
    assert!(mallorys.cookie("__Host-activeconnect").await.is_some());
}
