//! Cookies that an attacker sets in the victim's browser.

use serde_json::json;
use tower_activeconnect::UserId;
use tower_activeconnect::protocol::SessionStatus;

use super::fixture::Fixture;
use crate::support::approve;

const SESSION: &str = "__Host-activeconnect";

/// T007: a login replaces a session that an attacker planted, and ends it.
#[tokio::test]
async fn planted_session_is_replaced_and_ended() {
    let Some(fixture) = Fixture::start().await else { return };
    let mallory = UserId::from("mallory");
    let (planted, mallorys) = tokio::join!(fixture.ac.log_in(&mallory), approve(&fixture.emulator));
    let planted = planted.unwrap().expose();
    // An attacker with access to the device can set this cookie; a page cannot.
    let profile = fixture.chromium.profile().await;
    profile.set_host_cookie(&fixture.app, SESSION, &planted).await;
    let tab = profile.tab().await;
    tab.navigate(&fixture.app).await;
    fixture.wait_for_page(&tab, "mallory").await;
    fixture.log_in(&tab, "alice").await;
    let own = profile.cookie(SESSION).await.unwrap();
    assert_ne!(own, planted);
    let sessions = fixture.emulator.state().sessions;
    let before = sessions.iter().find(|one| one.session_token == mallorys.session_token).unwrap();
    assert_eq!(before.status, SessionStatus::Closed);
    let other = fixture.chromium.profile().await;
    other.set_host_cookie(&fixture.app, SESSION, &planted).await;
    let tab = other.tab().await;
    tab.navigate(&fixture.app).await;
    assert_eq!(tab.url().await, format!("{}/auth/login", fixture.app));
}

/// T007: a made-up value does not become a session.
#[tokio::test]
async fn made_up_credential_is_no_session() {
    let Some(fixture) = Fixture::start().await else { return };
    let profile = fixture.chromium.profile().await;
    let made_up = "A".repeat(43);
    for name in [SESSION, "__Host-activeconnect-attempt"] {
        profile.set_host_cookie(&fixture.app, name, &made_up).await;
    }
    let tab = profile.tab().await;
    fixture.log_in(&tab, "alice").await;
    assert_ne!(profile.cookie(SESSION).await.unwrap(), made_up);
    let other = fixture.chromium.profile().await;
    other.set_host_cookie(&fixture.app, SESSION, &made_up).await;
    let tab = other.tab().await;
    tab.navigate(&fixture.app).await;
    assert_eq!(tab.url().await, format!("{}/auth/login", fixture.app));
}

/// T008: pages of a sibling origin cannot set a cookie that the application accepts.
#[tokio::test]
async fn sibling_origin_cannot_set_cookies() {
    let Some(fixture) = Fixture::start().await else { return };
    let mallory = UserId::from("mallory");
    let (planted, _) = tokio::join!(fixture.ac.log_in(&mallory), approve(&fixture.emulator));
    let planted = planted.unwrap().expose();
    let profile = fixture.chromium.profile().await;
    let tab = profile.tab().await;
    let toss = async |logged_in: bool| {
        tab.navigate(&fixture.sibling).await;
        for name in
            [SESSION, "__host-activeconnect", "__HOST-ACTIVECONNECT", " __Host-activeconnect"]
        {
            for attributes in [
                "Domain=app.localhost; Path=/; Secure",
                "Domain=app.localhost; Path=/",
                "Domain=.app.localhost; Path=/; Secure; SameSite=None",
                "Domain=www.app.localhost; Path=/; Secure",
                "Path=/; Secure",
            ] {
                let cookie = json!(format!("{name}={planted}; {attributes}"));
                tab.eval(&format!("document.cookie = {cookie}")).await;
                let nameless = json!(format!("={name}={planted}; {attributes}"));
                tab.eval(&format!("document.cookie = {nameless}")).await;
            }
        }
        // The sibling can set cookies for the whole domain, but not `__Host-` cookies.
        tab.eval("document.cookie = 'tossed=in; Domain=app.localhost; Path=/'").await;
        tab.navigate(&fixture.app).await;
        if logged_in {
            fixture.wait_for_page(&tab, "alice").await;
        } else {
            assert_eq!(tab.url().await, format!("{}/auth/login", fixture.app));
        }
    };
    toss(false).await;
    assert_eq!(profile.cookie("tossed").await.as_deref(), Some("in"));
    fixture.log_in(&tab, "alice").await;
    toss(true).await;
}
