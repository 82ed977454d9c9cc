//! The pages in Chromium: no overflow, no blocked resource, and each page continues with and
//! without scripts.

use std::time::Duration;

use activeconnect_emulator::{Action, Emulator, SessionReport};
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use serde_json::json;
use tokio::sync::watch;
use tower_activeconnect::pages::{Logo, Theme};
use tower_activeconnect::protocol::AuthMethod;
use tower_activeconnect::{ActiveSession, Activeconnect, ActiveconnectBuilder};

use crate::support::axe;
use crate::support::chromium::{Chromium, Tab};
use crate::support::{approve, builder, enroll_users, pending_session, poll_until, serve};

/// Records resources that the content security policy blocks, and the final text of a page.
const RECORD: &str = r#"
const record = (name, value) =>
  sessionStorage.setItem(name, (sessionStorage.getItem(name) ?? '') + value + '\n');
addEventListener('securitypolicyviolation', event =>
  record('blocked', `${event.violatedDirective} ${event.blockedURI}`));
addEventListener('error', event => record('blocked', event.message ?? 'a file'), true);
addEventListener('pagehide', () => {
  const root = document.querySelector('[data-done]');
  if (root) record('done', root.querySelector('[data-state]').textContent);
});"#;

/// A GIF of one pixel.
const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

pub(super) struct Fixture {
    pub(super) emulator: Emulator,
    pub(super) ac: Activeconnect,
    url: String,
    pub(super) tab: Tab,
    /// Whether page requests wait: the open page stays, even if it reloads.
    is_held: watch::Sender<bool>,
    _chromium: Chromium,
}

impl Fixture {
    pub(super) async fn start(
        configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
    ) -> Option<Self> {
        Self::start_with(configure, |ac| ac, |app| app).await
    }

    pub(super) async fn start_with(
        configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
        adapt: impl FnOnce(Activeconnect) -> Activeconnect,
        wrap: impl FnOnce(Router) -> Router,
    ) -> Option<Self> {
        let chromium = Chromium::start().await?;
        let emulator = Emulator::start().await.unwrap();
        let ac = adapt(configure(builder(&emulator)).build().unwrap());
        enroll_users(&emulator, &ac, &["alice"]).await;
        let link = {
            let ac = ac.clone();
            async move |session: ActiveSession| {
                ac.registration_link(&session).await.map_err(|_| StatusCode::BAD_GATEWAY)
            }
        };
        // The help desk enrolls her.
        let lost = {
            let ac = ac.clone();
            async move || {
                let grant = ac.enrollment_grant(&"alice".into()).unwrap();
                ac.lost_device(&grant).await.map_err(|_| StatusCode::BAD_GATEWAY)
            }
        };
        let careful = Router::new()
            .route("/careful", get(async || "careful"))
            .layer(ac.layer().require_methods([AuthMethod::Facial]));
        let app = Router::new()
            .route("/", get(async |session: ActiveSession| session.user().to_string()))
            .route("/phone", get(link))
            .layer(ac.layer())
            .route("/lost-phone", get(lost))
            .merge(careful)
            .nest("/auth", ac.routes());
        let (is_held, held_receiver) = watch::channel(false);
        let hold = from_fn(move |request: Request, next: Next| {
            let mut held_receiver = held_receiver.clone();
            async move {
                if request.headers().get("sec-fetch-dest").is_some_and(|to| to == "document") {
                    held_receiver.wait_for(|is_held| !is_held).await.ok();
                }
                next.run(request).await
            }
        });
        let url = serve(wrap(app).layer(hold)).await;
        let tab = chromium.profile().await.tab().await;
        tab.add_init_script(RECORD).await;
        Some(Self { emulator, ac, url, tab, is_held, _chromium: chromium })
    }

    /// Holds page requests until [`release_pages`](Self::release_pages).
    pub(super) fn hold_pages(&self) {
        self.is_held.send_replace(true);
    }

    pub(super) fn release_pages(&self) {
        self.is_held.send_replace(false);
    }

    /// Sends an empty form.
    pub(super) async fn post(&self, path: &str) {
        let post = "const form = document.createElement('form'); form.method = 'post';
            document.body.append(form)";
        self.tab.eval(&format!("{post}; form.action = '{path}'; form.submit()")).await;
    }

    pub(super) async fn navigate(&self, path: &str) {
        self.tab.navigate(&format!("{}{path}", self.url)).await;
    }

    pub(super) async fn start_login(&self, user: &str) {
        self.navigate("/auth/login").await;
        self.tab.eval(&format!("document.querySelector('[name=username]').value = '{user}'")).await;
        self.tab.eval("document.forms[0].submit()").await;
        self.tab.wait_for("location.pathname === '/auth/waiting'").await;
        self.tab.wait_for_load().await;
    }

    pub(super) async fn wait_for_home(&self) {
        self.tab
            .wait_for("location.pathname === '/' && document.body?.innerText === 'alice'")
            .await;
    }

    /// The phone walks away, and the page locks.
    pub(super) async fn walk_away(&self, session: &SessionReport) {
        self.emulator.act_on_session(&session.session_token, Action::WalkAway).unwrap();
        poll_until("away", async || {
            self.navigate("/").await;
            self.tab.url().await.contains("/auth/locked").then_some(())
        })
        .await;
    }

    async fn assert_nothing_is_blocked(&self) {
        assert_eq!(self.tab.eval("sessionStorage.getItem('blocked')").await, json!(null));
    }

    /// Checks the page on three screen widths, light and dark.
    async fn fits(&self, heading: &str) {
        self.tab.wait_for_load().await;
        assert_eq!(self.tab.eval("document.querySelector('h1').innerText").await, heading);
        for width in [320, 390, 1280] {
            self.tab.set_width(width).await;
            self.tab.wait_for(&format!("innerWidth === {width}")).await;
            let overflow = "[...document.querySelectorAll('*')].filter(element =>
                element.getBoundingClientRect().right > innerWidth).map(element => element.outerHTML)";
            assert_eq!(self.tab.eval(overflow).await, json!([]), "{heading} {width}");
            let is_wider = "document.documentElement.scrollWidth > innerWidth";
            assert_eq!(self.tab.eval(is_wider).await, false, "{heading} {width}");
            for scheme in ["light", "dark"] {
                self.tab.prefer_color_scheme(scheme).await;
                let violations = axe::violations(&self.tab).await;
                assert_eq!(violations, [""; 0], "{heading} {width} {scheme}");
            }
        }
        self.assert_nothing_is_blocked().await;
    }
}

#[tokio::test]
async fn pages_fit_and_are_accessible() {
    let theme = Theme::new()
        .app_name("W".repeat(60))
        .logo(Logo::bytes("image/gif", GIF))
        .custom_css("h1 { letter-spacing: 0 }")
        .sign_up_url("/register")
        .support_url("mailto:help@acme.example")
        .privacy_url("/privacy");
    let long_text = format!("link-support = {}", "w".repeat(80));
    let Some(site) = Fixture::start(|builder| builder.theme(theme).texts("en", long_text)).await
    else {
        return;
    };
    site.navigate("/auth/login").await;
    site.fits("Log in").await;
    site.navigate("/auth/waiting").await;
    site.fits("No login waits here").await;
    site.start_login(&"W".repeat(200)).await;
    site.fits("Look at your phone").await;
    site.start_login("alice").await;
    let session = approve(&site.emulator).await;
    site.wait_for_home().await;
    site.navigate("/auth/confirm").await;
    site.fits("Confirm that it is you").await;
    site.navigate("/phone").await;
    site.fits("Register your phone").await;
    site.walk_away(&session).await;
    site.fits("Locked").await;
}

/// The page follows the login, reports the result, and leads to the requested page.
#[tokio::test]
async fn waiting_page_continues_by_script() {
    let Some(site) = Fixture::start(|builder| builder).await else { return };
    site.start_login("alice").await;
    let tab = &site.tab;
    assert_eq!(tab.eval("document.querySelectorAll('meta[http-equiv]').length").await, 0);
    let local = "new Intl.DateTimeFormat('en', { timeStyle: 'medium' })
        .format(new Date(Number(document.querySelector('[data-started]').dataset.started)))
        === document.querySelector('[data-started]').textContent";
    assert_eq!(tab.eval(local).await, true);
    let left = "document.querySelector('[data-seconds]').textContent";
    let first = tab.eval(left).await;
    tab.wait_for(&format!("{left} !== {first}")).await;
    // The page does not reload, so the focus stays.
    assert_eq!(tab.eval("document.querySelector('[data-without-script]').hidden").await, true);
    tab.eval("document.querySelector('main p:not([hidden]) a').focus(); window.isSame = true")
        .await;
    pending_session(&site.emulator).await;
    tab.wait_for("window.isSame && document.activeElement.matches('main a')").await;
    approve(&site.emulator).await;
    site.wait_for_home().await;
    let done = tab.eval("sessionStorage.getItem('done')").await;
    assert_eq!(done, "Approved. Going on …\n");
    site.assert_nothing_is_blocked().await;
}

/// Event streams are not available in every browser.
#[tokio::test]
async fn waiting_page_falls_back_to_status() {
    let reject_events = from_fn(async |request: Request, next: Next| {
        if request.uri().path() == "/auth/events" {
            return Err(StatusCode::BAD_GATEWAY);
        }
        Ok(next.run(request).await)
    });
    let wrap = |app: Router| app.layer(reject_events);
    let Some(site) = Fixture::start_with(|builder| builder, |ac| ac, wrap).await else { return };
    site.start_login("alice").await;
    approve(&site.emulator).await;
    site.wait_for_home().await;
    let done = site.tab.eval("sessionStorage.getItem('done')").await;
    assert_eq!(done, "Approved. Going on …\n");
}

#[tokio::test]
async fn waiting_page_continues_without_scripts() {
    let Some(site) = Fixture::start(|builder| builder).await else { return };
    site.tab.disable_scripts().await;
    site.start_login("alice").await;
    let text = site.tab.text().await;
    assert!(text.contains("Confirm there that you want to log in, then go on."), "{text}");
    assert!(text.contains("Go on") && text.contains("UTC"), "{text}");
    approve(&site.emulator).await;
    site.wait_for_home().await;
}

#[tokio::test]
async fn waiting_page_reports_the_end() {
    let deadline = Duration::from_secs(5);
    let Some(site) = Fixture::start(|builder| builder.login_timeout(deadline)).await else {
        return;
    };
    site.start_login("nobody").await;
    site.tab.wait_for("document.querySelector('h1').innerText === 'No answer came'").await;
    let again = "document.querySelector('main .button').getAttribute('href')";
    assert_eq!(site.tab.eval(again).await, "/auth/login");
    site.assert_nothing_is_blocked().await;
}

/// The text follows the phone, and the page leads back.
#[tokio::test]
async fn locked_page_continues_when_phone_returns() {
    let Some(site) = Fixture::start(|builder| builder).await else { return };
    site.start_login("alice").await;
    let session = approve(&site.emulator).await;
    site.wait_for_home().await;
    let act = |action| site.emulator.act_on_session(&session.session_token, action).unwrap();
    act(Action::WalkAway);
    poll_until("away", async || {
        site.navigate("/").await;
        site.tab.url().await.contains("/auth/locked").then_some(())
    })
    .await;
    assert!(site.tab.text().await.contains("Your phone is no longer nearby."));
    act(Action::Return);
    site.wait_for_home().await;
    let done = site.tab.eval("sessionStorage.getItem('done')").await;
    assert_eq!(done, "Approved. Going on …\nYour phone is back. Going on …\n");
    act(Action::WalkAway);
    poll_until("away again", async || {
        site.navigate("/").await;
        site.tab.url().await.contains("/auth/locked").then_some(())
    })
    .await;
    act(Action::Close);
    site.tab.wait_for("location.pathname === '/auth/login'").await;
    assert!(site.ac.sessions(&"alice".into()).await.unwrap().is_empty());
}
