//! A user's journey through all pages in Chromium, Firefox and WebKit.

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::response::Html;
use axum::routing::get;
use serde_json::Value;
use tower_activeconnect::{ActiveSession, ActiveconnectBuilder, UserId};

use crate::support::chromium::{Chromium, Tab};
use crate::support::webdriver::WebDriver;
use crate::support::{approve, builder, enroll_users, pending_session, poll_until, serve};

/// A window of any browser.
enum Window {
    Chromium { tab: Tab, _browser: Chromium },
    Driven(WebDriver),
}

impl Window {
    async fn chromium() -> Option<Self> {
        let browser = Chromium::start().await?;
        Some(Self::Chromium { tab: browser.profile().await.tab().await, _browser: browser })
    }

    async fn navigate(&self, url: &str) {
        match self {
            Self::Chromium { tab, .. } => tab.navigate(url).await,
            Self::Driven(driver) => driver.navigate(url).await,
        }
    }

    async fn eval(&self, expression: &str) -> Value {
        match self {
            Self::Chromium { tab, .. } => tab.eval(expression).await,
            Self::Driven(driver) => driver.eval(expression).await,
        }
    }

    async fn wait_for(&self, expression: &str) {
        match self {
            Self::Chromium { tab, .. } => tab.wait_for(expression).await,
            Self::Driven(driver) => driver.wait_for(expression).await,
        }
    }

    /// Waits for the page with this heading.
    async fn wait_for_heading(&self, heading: &str) {
        self.wait_for(&format!("document.querySelector('h1')?.innerText === '{heading}'")).await;
    }

    /// Waits until the page contains the text.
    async fn wait_for_text(&self, text: &str) {
        self.wait_for(&format!("!!document.body?.innerText.includes('{text}')")).await;
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

/// Login, waiting page, walkaway and return, end of another session, logout.
async fn run_journey(
    window: &Window,
    configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
) {
    let emulator = Emulator::start().await.unwrap();
    let ac = configure(builder(&emulator)).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let app = Router::new().route("/", get(home)).layer(ac.layer()).nest("/auth", ac.routes());
    let site = serve(app).await;

    window.navigate(&format!("{site}/?tab=1")).await;
    window.wait_for_heading("Log in").await;
    window.eval("document.querySelector('[name=username]').value = 'alice'").await;
    window.eval("document.querySelector('main form button').click()").await;
    window.wait_for_heading("Look at your phone").await;
    window.wait_for_text("alice").await;
    window.wait_for("document.querySelector('[data-seconds]').innerText !== '1:00'").await;
    pending_session(&emulator).await;
    let session = approve(&emulator).await;
    // The page continues by itself to the page of the start.
    window.wait_for_heading("Hello alice").await;
    assert_eq!(window.eval("location.search").await, "?tab=1");

    let act = |action| emulator.act_on_session(&session.session_token, action).unwrap();
    let is_hidden = "getComputedStyle(document.body).visibility === 'hidden'";
    window.wait_for(&format!("!({is_hidden})")).await;
    act(Action::WalkAway);
    // First the open page, then the gate's page.
    window.wait_for(is_hidden).await;
    poll_until("the page is locked", async || {
        window.navigate(&site).await;
        let heading = window.eval("document.querySelector('h1')?.innerText").await;
        (heading == "Locked").then_some(())
    })
    .await;
    window.wait_for_text("Your phone is no longer nearby.").await;
    act(Action::Return);
    window.wait_for_heading("Hello alice").await;

    let alice = UserId::from("alice");
    let (credential, _) = tokio::join!(ac.log_in(&alice), approve(&emulator));
    credential.unwrap();
    window.navigate(&format!("{site}/auth/sessions")).await;
    window.wait_for_heading("Your sessions").await;
    // The first entry is this session; times are in the user's time zone.
    let marked = "document.querySelector('main li:first-child').getAttribute('aria-current')";
    assert_eq!(window.eval(marked).await, "true");
    window.wait_for("!document.querySelector('time').innerText.endsWith('UTC')").await;
    window.eval("document.querySelector('form[action$=others] button').click()").await;
    window.wait_for_text("All your other sessions have ended.").await;
    assert_eq!(ac.sessions(&alice).await.unwrap().len(), 1);
    window.navigate(&site).await;
    window.wait_for_heading("Hello alice").await;

    window.eval("document.querySelector('form button').click()").await;
    window.wait_for_heading("Log in").await;
    window.navigate(&site).await;
    window.wait_for_heading("Log in").await;
    assert!(ac.sessions(&"alice".into()).await.unwrap().is_empty());
}

#[tokio::test]
async fn chromium_goes_through_all_pages() {
    let Some(window) = Window::chromium().await else { return };
    run_journey(&window, |builder| builder).await;
}

#[tokio::test]
async fn firefox_goes_through_all_pages() {
    let Some(driver) = WebDriver::firefox().await else { return };
    run_journey(&Window::Driven(driver), |builder| builder).await;
}

/// WebKit rejects `Secure` cookies on plain HTTP (T154).
#[tokio::test]
async fn webkit_goes_through_all_pages() {
    let Some(driver) = WebDriver::webkit().await else { return };
    run_journey(&Window::Driven(driver), |builder| builder.insecure_cookie_name("session")).await;
}
