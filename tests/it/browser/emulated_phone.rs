//! The emulated phone in Chromium: its content, its buttons, its accessibility.

use activeconnect_emulator::{Action, Emulator};
use serde_json::json;
use tower_activeconnect::UserToken;
use tower_activeconnect::client::{AuthenticationRequest, Client};
use tower_activeconnect::protocol::SessionStatus;

use crate::support::axe;
use crate::support::chromium::{Chromium, Tab};
use crate::support::{credentials, poll_until};

struct Fixture {
    chromium: Chromium,
    emulator: Emulator,
    client: Client,
}

impl Fixture {
    /// Returns `None` if Chromium is not installed.
    async fn start() -> Option<Self> {
        let chromium = Chromium::start().await?;
        let emulator = Emulator::start().await.unwrap();
        let client = Client::new(credentials(&emulator)).unwrap();
        Some(Self { chromium, emulator, client })
    }

    /// A user with a registered phone.
    async fn user(&self, label: Option<&str>) -> UserToken {
        let user = UserToken::random().unwrap();
        self.client.add_users(std::slice::from_ref(&user)).await.unwrap();
        self.emulator.register_device(user.as_str()).unwrap();
        if let Some(label) = label {
            self.emulator.set_label(user.as_str(), label).unwrap();
        }
        user
    }

    /// Sends a push to the user's phone.
    async fn authenticate(&self, user: &UserToken) {
        let options = AuthenticationRequest::default();
        self.client.authenticate_user(user, &options).await.unwrap();
    }

    /// A tab with the phone's page.
    async fn open_phone_page(&self) -> Tab {
        let tab = self.chromium.profile().await.tab().await;
        self.open(&tab).await;
        tab
    }

    async fn open(&self, tab: &Tab) {
        tab.navigate(&format!("{}/emulator", self.emulator.url())).await;
    }

    fn newest_status(&self) -> SessionStatus {
        self.emulator.state().sessions.last().unwrap().status
    }

    async fn wait_for_status(&self, status: SessionStatus) {
        poll_until(status.as_str(), async || (self.newest_status() == status).then_some(())).await;
    }

    /// Creates each state that the page can show.
    async fn create_all_states(&self) {
        let (alice, bob) = (self.user(Some("Alice Doe-Smith")).await, self.user(None).await);
        let open_phone_page = "+15551234567";
        self.client
            .send_registration_sms(&alice, open_phone_page, None, Some("Welcome!"))
            .await
            .unwrap();
        for (user, actions) in [
            (&alice, &[Action::Cancel][..]),
            (&alice, &[Action::Approve]),
            (&bob, &[Action::Approve, Action::WalkAway]),
            (&bob, &[Action::Identify]),
            (&alice, &[]),
        ] {
            self.authenticate(user).await;
            for action in actions {
                self.emulator.act(user.as_str(), *action).unwrap();
            }
        }
    }
}

/// An expression: whether a part of the page contains the text.
fn contains_text(part: &str, text: &str) -> String {
    format!("document.getElementById('{part}').innerText.includes({})", json!(text))
}

/// Clicks the button with this text.
async fn click(tab: &Tab, button: &str) {
    let selector = format!(
        "[...document.querySelectorAll('button')]
            .find((button) => button.textContent === {})",
        json!(button)
    );
    tab.wait_for(&format!("!!{selector}")).await;
    tab.eval(&format!("{selector}.click()")).await;
}

#[tokio::test]
async fn new_request_changes_title_and_is_announced() {
    let Some(fixture) = Fixture::start().await else { return };
    let tab = fixture.open_phone_page().await;
    assert_eq!(tab.eval("document.title").await, "Phone");
    let alice = fixture.user(Some("Alice & Co")).await;
    fixture.authenticate(&alice).await;
    tab.wait_for("document.title === '(1) Phone'").await;
    assert_eq!(tab.eval("document.getElementById('news').role").await, "status");
    tab.wait_for(&contains_text("news", "Alice & Co: asks to log in.")).await;
    let bob = fixture.user(None).await;
    fixture.authenticate(&bob).await;
    tab.wait_for("document.title === '(2) Phone'").await;
    tab.wait_for(&contains_text("news", &format!("{}: asks to log in.", bob.as_str()))).await;
    for (user, action) in [(&alice, Action::Approve), (&bob, Action::Cancel)] {
        fixture.emulator.act(user.as_str(), action).unwrap();
    }
    tab.wait_for("document.title === 'Phone'").await;
}

#[tokio::test]
async fn label_is_shown_and_the_token_is_small() {
    let Some(fixture) = Fixture::start().await else { return };
    let alice = fixture.user(Some("<b>Alice</b>")).await;
    fixture.authenticate(&alice).await;
    let tab = fixture.open_phone_page().await;
    for part in ["requests", "users"] {
        let heading = format!("document.querySelector('#{part} h3').innerText");
        assert_eq!(tab.eval(&heading).await, "<b>Alice</b>");
        assert_eq!(tab.eval(&contains_text(part, alice.as_str())).await, true);
    }
    let in_small_print = "[...document.querySelectorAll('code')]
        .every((token) => parseFloat(getComputedStyle(token).fontSize) < 13)";
    assert_eq!(tab.eval(in_small_print).await, true);
    fixture.emulator.set_label(alice.as_str(), "Alicia").unwrap();
    tab.wait_for("document.querySelector('#requests h3').innerText === 'Alicia'").await;
    let link = fixture.client.device_registration_link(&alice, None).await.unwrap();
    tab.navigate(link.expose()).await;
    assert!(tab.text().await.contains("the logins of Alicia."));
}

#[tokio::test]
async fn buttons_change_the_status() {
    let Some(fixture) = Fixture::start().await else { return };
    let alice = fixture.user(Some("Alice")).await;
    let tab = fixture.open_phone_page().await;
    fixture.authenticate(&alice).await;
    for (button, status) in [
        ("Approve Alice", SessionStatus::Active),
        ("Walk away Alice", SessionStatus::Walkaway),
        ("Return Alice", SessionStatus::Active),
        ("Close Alice", SessionStatus::Closed),
    ] {
        click(&tab, button).await;
        fixture.wait_for_status(status).await;
        tab.wait_for(&contains_text("news", &format!("{button}: done."))).await;
        let part = if status.is_terminal() { "history" } else { "sessions" };
        tab.wait_for(&contains_text(part, status.as_str())).await;
    }
    fixture.authenticate(&alice).await;
    click(&tab, "Decline Alice").await;
    fixture.wait_for_status(SessionStatus::Cancelled).await;
    tab.wait_for(&contains_text("history", "cancelled")).await;
    click(&tab, "Register device of Alice").await;
    tab.wait_for(&contains_text("users", "2 devices")).await;
    assert_eq!(tab.url().await, format!("{}/emulator", fixture.emulator.url()));
}

#[tokio::test]
async fn page_reports_stopped_emulator() {
    let Some(fixture) = Fixture::start().await else { return };
    let tab = fixture.open_phone_page().await;
    assert_eq!(tab.eval("document.getElementById('trouble').hidden").await, true);
    drop(fixture.emulator);
    tab.wait_for(&contains_text("trouble", "The emulator does not respond.")).await;
    assert_eq!(tab.eval("document.getElementById('trouble').hidden").await, false);
}

#[tokio::test]
async fn page_shows_times_of_requests_and_ends() {
    let Some(fixture) = Fixture::start().await else { return };
    let alice = fixture.user(Some("Alice")).await;
    fixture.authenticate(&alice).await;
    let tab = fixture.open_phone_page().await;
    let began = fixture.emulator.state().sessions[0].created_at;
    assert_eq!(
        tab.eval("document.querySelector('#requests [data-ago]').dataset.ago").await,
        began.to_string()
    );
    let clock = format!("new Date({began} * 1000).toLocaleTimeString()");
    let clock_text = "document.querySelector('#requests [data-clock]').innerText";
    assert_eq!(tab.eval(clock_text).await, tab.eval(&clock).await);
    // The page updates by itself.
    let ago = "parseInt(document.querySelector('#requests [data-ago]').innerText)";
    let first = tab.eval(ago).await;
    tab.wait_for(&format!("{ago} > {first}")).await;

    // The latest twenty, newest first.
    fixture.emulator.act(alice.as_str(), Action::Cancel).unwrap();
    for _ in 0..20 {
        fixture.authenticate(&alice).await;
        fixture.emulator.act(alice.as_str(), Action::Fail).unwrap();
    }
    let newest = fixture.emulator.state().sessions.last().unwrap().session_token.clone();
    tab.wait_for(&format!("document.querySelector('#history code').innerText === '{newest}'"))
        .await;
    assert_eq!(tab.eval("document.querySelectorAll('#history article').length").await, 20);
    assert_eq!(tab.eval(&contains_text("history", "cancelled")).await, false);
    let ended = "document.querySelectorAll('#history article:first-of-type [data-ago]').length";
    assert_eq!(tab.eval(ended).await, 2);
}

/// The focus stays while other parts of the page change, and moves nearby when its button
/// disappears.
#[tokio::test]
async fn focus_stays_while_requests_arrive() {
    let Some(fixture) = Fixture::start().await else { return };
    let (alice, bob) = (fixture.user(Some("Alice")).await, fixture.user(Some("Bob")).await);
    fixture.authenticate(&alice).await;
    let tab = fixture.open_phone_page().await;
    tab.press("Tab").await;
    let focused = "document.activeElement.textContent";
    tab.wait_for(&format!("{focused} === 'Approve Alice'")).await;
    fixture.authenticate(&bob).await;
    tab.wait_for("document.title === '(2) Phone'").await;
    assert_eq!(tab.eval(focused).await, "Approve Alice");
    tab.press("Enter").await;
    poll_until("approved", async || {
        (fixture.emulator.state().sessions[0].status == SessionStatus::Active).then_some(())
    })
    .await;
    tab.wait_for(&format!("{focused} === 'Requests'")).await;
}

#[tokio::test]
async fn page_is_accessible_in_light_and_dark() {
    let Some(fixture) = Fixture::start().await else { return };
    let tab = fixture.open_phone_page().await;
    for scheme in ["light", "dark"] {
        tab.prefer_color_scheme(scheme).await;
        fixture.open(&tab).await;
        assert_eq!(axe::violations(&tab).await, [""; 0], "{scheme}");
    }
    fixture.create_all_states().await;
    let user = fixture.user(None).await;
    let link = fixture.client.device_registration_link(&user, Some("Al")).await.unwrap();
    for scheme in ["light", "dark"] {
        tab.prefer_color_scheme(scheme).await;
        fixture.open(&tab).await;
        tab.wait_for(&contains_text("requests", "Alice")).await;
        assert_eq!(axe::violations(&tab).await, [""; 0], "{scheme}");
        tab.navigate(link.expose()).await;
        assert_eq!(axe::violations(&tab).await, [""; 0], "{scheme} link");
    }
}

#[tokio::test]
async fn page_fits_a_width_of_320_pixels() {
    let Some(fixture) = Fixture::start().await else { return };
    fixture.create_all_states().await;
    let alice = fixture.user(Some(&"W".repeat(64))).await;
    fixture.authenticate(&alice).await;
    let tab = fixture.open_phone_page().await;
    tab.set_width(320).await;
    fixture.open(&tab).await;
    assert_eq!(tab.eval("document.documentElement.clientWidth").await, 320);
    let outside = "[...document.body.querySelectorAll('*')]
        .filter((element) => element.getBoundingClientRect().right > 320)
        .map((element) => element.outerHTML)";
    assert_eq!(tab.eval(outside).await, json!([]));
    assert_eq!(tab.eval("document.documentElement.scrollWidth").await, 320);
}

#[tokio::test]
async fn page_works_without_scripts() {
    let Some(fixture) = Fixture::start().await else { return };
    let tab = fixture.chromium.profile().await.tab().await;
    tab.disable_scripts().await;
    fixture.open(&tab).await;
    let alice = fixture.user(Some("Alice")).await;
    fixture.authenticate(&alice).await;
    click(&tab, "Reload").await;
    tab.wait_for("document.title === '(1) Phone'").await;
    let clock = "document.querySelector('#requests [data-clock]').innerText.endsWith(' UTC')";
    assert_eq!(tab.eval(clock).await, true);
    tab.enable_scripts().await;
    assert_eq!(axe::violations(&tab).await, [""; 0]);
    tab.disable_scripts().await;
    for (button, status) in
        [("Approve Alice", SessionStatus::Active), ("Close Alice", SessionStatus::Closed)]
    {
        click(&tab, button).await;
        fixture.wait_for_status(status).await;
        tab.wait_for("document.title === 'Phone'").await;
    }
    tab.wait_for(&contains_text("history", "closed")).await;
}

#[tokio::test]
async fn csp_allows_nothing_inline() {
    let Some(fixture) = Fixture::start().await else { return };
    fixture.create_all_states().await;
    let url = format!("{}/emulator", fixture.emulator.url());
    let response = reqwest::Client::builder().no_proxy().build().unwrap().get(&url).send().await;
    let response = response.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    let html = response.text().await.unwrap();
    assert!(!html.contains("<style") && !html.contains("style=") && !html.contains("http-equiv"));
    let tab = fixture.open_phone_page().await;
    // If the policy blocked the style, the browser's default would apply.
    assert_eq!(tab.eval("getComputedStyle(document.body).marginTop").await, "0px");
    tab.wait_for(&contains_text("requests", "s ago")).await;
}
