//! The way of a person through the pages, in the engines of all three browser makers.

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::response::Html;
use axum::routing::get;
use serde_json::Value;
use tower_activeconnect::{ActiveSession, ActiveconnectBuilder, UserId};

use crate::support::chromium::{Chromium, Tab};
use crate::support::webdriver::WebDriver;
use crate::support::{approve, builder, ringing, serve, until, with_phones};

/// A window of any of the browsers.
enum Window {
    Chromium { tab: Tab, _browser: Chromium },
    Driven(WebDriver),
}

impl Window {
    async fn chromium() -> Option<Self> {
        let browser = Chromium::start().await?;
        Some(Self::Chromium { tab: browser.profile().await.tab().await, _browser: browser })
    }

    async fn go(&self, url: &str) {
        match self {
            Self::Chromium { tab, .. } => tab.go(url).await,
            Self::Driven(driver) => driver.go(url).await,
        }
    }

    async fn eval(&self, expression: &str) -> Value {
        match self {
            Self::Chromium { tab, .. } => tab.eval(expression).await,
            Self::Driven(driver) => driver.eval(expression).await,
        }
    }

    async fn until(&self, expression: &str) {
        match self {
            Self::Chromium { tab, .. } => tab.until(expression).await,
            Self::Driven(driver) => driver.until(expression).await,
        }
    }

    /// Waits for the page with this heading.
    async fn shows(&self, heading: &str) {
        self.until(&format!("document.querySelector('h1')?.innerText === '{heading}'")).await;
    }

    /// Waits until the page says this.
    async fn says(&self, text: &str) {
        self.until(&format!("!!document.body?.innerText.includes('{text}')")).await;
    }
}

async fn home(session: ActiveSession) -> Html<String> {
    Html(format!(
        "<!doctype html><title>Home</title><h1>Hello {}</h1>\
         <form method=post action=/auth/logout><button>Leave</button></form>\
         <script src=/auth/assets/guard.js data-owner={}></script>",
        session.user(),
        session.owner_id(),
    ))
}

/// Login, waiting, the phone walks away and comes back, another session ends, logout.
async fn go_through(
    window: &Window,
    configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
) {
    let emulator = Emulator::start().await.unwrap();
    let ac = configure(builder(&emulator)).build().unwrap();
    with_phones(&emulator, &ac, &["alice"]).await;
    let app = Router::new().route("/", get(home)).layer(ac.layer()).nest("/auth", ac.routes());
    let site = serve(app).await;

    window.go(&format!("{site}/?tab=1")).await;
    window.shows("Log in").await;
    window.eval("document.querySelector('[name=username]').value = 'alice'").await;
    window.eval("document.querySelector('main form button').click()").await;
    window.shows("Look at your phone").await;
    window.says("alice").await;
    window.until("document.querySelector('[data-seconds]').innerText !== '1:00'").await;
    ringing(&emulator).await;
    let session = approve(&emulator).await;
    // The page goes on by itself, to where the way began.
    window.shows("Hello alice").await;
    assert_eq!(window.eval("location.search").await, "?tab=1");

    let act = |action| emulator.act_on_session(&session.session_token, action).unwrap();
    let is_hidden = "getComputedStyle(document.body).visibility === 'hidden'";
    window.until(&format!("!({is_hidden})")).await;
    act(Action::WalkAway);
    // The page that is open, and then the gate's.
    window.until(is_hidden).await;
    until("the page is locked", async || {
        window.go(&site).await;
        let heading = window.eval("document.querySelector('h1')?.innerText").await;
        (heading == "Locked").then_some(())
    })
    .await;
    window.says("Your phone is no longer nearby.").await;
    act(Action::Return);
    window.shows("Hello alice").await;

    let alice = UserId::from("alice");
    let (credential, _) = tokio::join!(ac.log_in(&alice), approve(&emulator));
    credential.unwrap();
    window.go(&format!("{site}/auth/sessions")).await;
    window.shows("Your sessions").await;
    // The first is this one; the times are the reader's.
    let marked = "document.querySelector('main li:first-child').getAttribute('aria-current')";
    assert_eq!(window.eval(marked).await, "true");
    window.until("!document.querySelector('time').innerText.endsWith('UTC')").await;
    window.eval("document.querySelector('form[action$=others] button').click()").await;
    window.says("All your other sessions have ended.").await;
    assert_eq!(ac.sessions(&alice).await.unwrap().len(), 1);
    window.go(&site).await;
    window.shows("Hello alice").await;

    window.eval("document.querySelector('form button').click()").await;
    window.shows("Log in").await;
    window.go(&site).await;
    window.shows("Log in").await;
    assert!(ac.sessions(&"alice".into()).await.unwrap().is_empty());
}

#[tokio::test]
async fn chromium_goes_through_all_pages() {
    let Some(window) = Window::chromium().await else { return };
    go_through(&window, |builder| builder).await;
}

#[tokio::test]
async fn firefox_goes_through_all_pages() {
    let Some(driver) = WebDriver::firefox().await else { return };
    go_through(&Window::Driven(driver), |builder| builder).await;
}

/// It takes no `Secure` cookie on plain http (T154).
#[tokio::test]
async fn webkit_goes_through_all_pages() {
    let Some(driver) = WebDriver::webkit().await else { return };
    go_through(&Window::Driven(driver), |builder| builder.insecure_cookie_name("session")).await;
}
