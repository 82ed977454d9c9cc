//! Cookies that others put into the victim's browser.

use serde_json::json;
use tower_activeconnect::UserId;
use tower_activeconnect::protocol::SessionStatus;

use super::stage::Stage;
use crate::support::approve;

const SESSION: &str = "__Host-activeconnect";

/// T007: a session that was planted before the login is not the user's after it, and is dead.
#[tokio::test]
async fn planted_session_is_replaced_and_dead() {
    let Some(stage) = Stage::start().await else { return };
    let mallory = UserId::from("mallory");
    let (planted, mallorys) = tokio::join!(stage.ac.log_in(&mallory), approve(&stage.emulator));
    let planted = planted.unwrap().expose();
    // Somebody with the browser in their hands can plant it; no page can.
    let profile = stage.chromium.profile().await;
    profile.plant(&stage.app, SESSION, &planted).await;
    let tab = profile.tab().await;
    tab.go(&stage.app).await;
    stage.is_in(&tab, "mallory").await;
    stage.log_in(&tab, "alice").await;
    let own = profile.cookie(SESSION).await.unwrap();
    assert_ne!(own, planted);
    let sessions = stage.emulator.state().sessions;
    let before = sessions.iter().find(|one| one.session_token == mallorys.session_token).unwrap();
    assert_eq!(before.status, SessionStatus::Closed);
    let other = stage.chromium.profile().await;
    other.plant(&stage.app, SESSION, &planted).await;
    let tab = other.tab().await;
    tab.go(&stage.app).await;
    assert_eq!(tab.place().await, format!("{}/auth/login", stage.app));
}

/// T007: nor does a value that was never given out become a session.
#[tokio::test]
async fn made_up_session_never_comes_to_life() {
    let Some(stage) = Stage::start().await else { return };
    let profile = stage.chromium.profile().await;
    let made_up = "A".repeat(43);
    for name in [SESSION, "__Host-activeconnect-attempt"] {
        profile.plant(&stage.app, name, &made_up).await;
    }
    let tab = profile.tab().await;
    stage.log_in(&tab, "alice").await;
    assert_ne!(profile.cookie(SESSION).await.unwrap(), made_up);
    let other = stage.chromium.profile().await;
    other.plant(&stage.app, SESSION, &made_up).await;
    let tab = other.tab().await;
    tab.go(&stage.app).await;
    assert_eq!(tab.place().await, format!("{}/auth/login", stage.app));
}

/// T008: a sibling's pages set no cookie that the application takes for its own.
#[tokio::test]
async fn sibling_cannot_toss_a_cookie_in() {
    let Some(stage) = Stage::start().await else { return };
    let mallory = UserId::from("mallory");
    let (planted, _) = tokio::join!(stage.ac.log_in(&mallory), approve(&stage.emulator));
    let planted = planted.unwrap().expose();
    let profile = stage.chromium.profile().await;
    let tab = profile.tab().await;
    let toss = async |logged_in: bool| {
        tab.go(&stage.sibling).await;
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
        // The sibling can have cookies of the whole domain; these are just not among them.
        tab.eval("document.cookie = 'tossed=in; Domain=app.localhost; Path=/'").await;
        tab.go(&stage.app).await;
        if logged_in {
            stage.is_in(&tab, "alice").await;
        } else {
            assert_eq!(tab.place().await, format!("{}/auth/login", stage.app));
        }
    };
    toss(false).await;
    assert_eq!(profile.cookie("tossed").await.as_deref(), Some("in"));
    stage.log_in(&tab, "alice").await;
    toss(true).await;
}
