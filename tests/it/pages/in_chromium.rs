//! The pages in a browser: nothing overflows, nothing is blocked, and a page goes on by its script,
//! or without one.

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
use crate::support::{approve, builder, ringing, serve, until, with_phones};

/// Records what the content security policy blocks, and the text with which a page is done.
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

/// 1 × 1 pixel.
const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

pub(super) struct Fixture {
    pub(super) emulator: Emulator,
    pub(super) ac: Activeconnect,
    url: String,
    pub(super) tab: Tab,
    /// Pages are not answered: the one that is there stays, even if it loads anew.
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
        with_phones(&emulator, &ac, &["alice"]).await;
        let link = {
            let ac = ac.clone();
            async move |session: ActiveSession| {
                ac.registration_link(&session).await.map_err(|_| StatusCode::BAD_GATEWAY)
            }
        };
        // The help desk vouches for her.
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
        let (is_held, held) = watch::channel(false);
        let hold = from_fn(move |request: Request, next: Next| {
            let mut held = held.clone();
            async move {
                if request.headers().get("sec-fetch-dest").is_some_and(|to| to == "document") {
                    held.wait_for(|is_held| !is_held).await.ok();
                }
                next.run(request).await
            }
        });
        let url = serve(wrap(app).layer(hold)).await;
        let tab = chromium.profile().await.tab().await;
        tab.run_first(RECORD).await;
        Some(Self { emulator, ac, url, tab, is_held, _chromium: chromium })
    }

    /// No page is answered until [`release_pages`](Self::release_pages).
    pub(super) fn hold_pages(&self) {
        self.is_held.send_replace(true);
    }

    pub(super) fn release_pages(&self) {
        self.is_held.send_replace(false);
    }

    /// Posts an empty form.
    pub(super) async fn post(&self, path: &str) {
        let post = "const form = document.createElement('form'); form.method = 'post';
            document.body.append(form)";
        self.tab.eval(&format!("{post}; form.action = '{path}'; form.submit()")).await;
    }

    pub(super) async fn go(&self, path: &str) {
        self.tab.go(&format!("{}{path}", self.url)).await;
    }

    pub(super) async fn begin_login(&self, user: &str) {
        self.go("/auth/login").await;
        self.tab.eval(&format!("document.querySelector('[name=username]').value = '{user}'")).await;
        self.tab.eval("document.forms[0].submit()").await;
        self.tab.until("location.pathname === '/auth/waiting'").await;
        self.tab.loaded().await;
    }

    pub(super) async fn shows_home(&self) {
        self.tab.until("location.pathname === '/' && document.body?.innerText === 'alice'").await;
    }

    /// The phone walks away, and the page is locked.
    pub(super) async fn walk_away(&self, session: &SessionReport) {
        self.emulator.act_on_session(&session.session_token, Action::WalkAway).unwrap();
        until("away", async || {
            self.go("/").await;
            self.tab.place().await.contains("/auth/locked").then_some(())
        })
        .await;
    }

    async fn assert_nothing_is_blocked(&self) {
        assert_eq!(self.tab.eval("sessionStorage.getItem('blocked')").await, json!(null));
    }

    /// Looks at the page on screens of three widths, light and dark.
    async fn fits(&self, heading: &str) {
        self.tab.loaded().await;
        assert_eq!(self.tab.eval("document.querySelector('h1').innerText").await, heading);
        for width in [320, 390, 1280] {
            self.tab.set_width(width).await;
            self.tab.until(&format!("innerWidth === {width}")).await;
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
    site.go("/auth/login").await;
    site.fits("Log in").await;
    site.go("/auth/waiting").await;
    site.fits("No login waits here").await;
    site.begin_login(&"W".repeat(200)).await;
    site.fits("Look at your phone").await;
    site.begin_login("alice").await;
    let session = approve(&site.emulator).await;
    site.shows_home().await;
    site.go("/auth/confirm").await;
    site.fits("Confirm that it is you").await;
    site.go("/phone").await;
    site.fits("Register your phone").await;
    site.walk_away(&session).await;
    site.fits("Locked").await;
}

/// It follows the login, says so, and leads to the page that was wanted.
#[tokio::test]
async fn waiting_page_goes_on_by_script() {
    let Some(site) = Fixture::start(|builder| builder).await else { return };
    site.begin_login("alice").await;
    let tab = &site.tab;
    assert_eq!(tab.eval("document.querySelectorAll('meta[http-equiv]').length").await, 0);
    let local = "new Intl.DateTimeFormat('en', { timeStyle: 'medium' })
        .format(new Date(Number(document.querySelector('[data-started]').dataset.started)))
        === document.querySelector('[data-started]').textContent";
    assert_eq!(tab.eval(local).await, true);
    let left = "document.querySelector('[data-seconds]').textContent";
    let first = tab.eval(left).await;
    tab.until(&format!("{left} !== {first}")).await;
    // The page stays as it is: nothing that has the focus loses it.
    assert_eq!(tab.eval("document.querySelector('[data-without-script]').hidden").await, true);
    tab.eval("document.querySelector('main p:not([hidden]) a').focus(); window.isSame = true")
        .await;
    ringing(&site.emulator).await;
    tab.until("window.isSame && document.activeElement.matches('main a')").await;
    approve(&site.emulator).await;
    site.shows_home().await;
    let done = tab.eval("sessionStorage.getItem('done')").await;
    assert_eq!(done, "Approved. Going on …\n");
    site.assert_nothing_is_blocked().await;
}

/// Event streams do not reach every browser.
#[tokio::test]
async fn waiting_page_falls_back_to_status() {
    let refuse_events = from_fn(async |request: Request, next: Next| {
        if request.uri().path() == "/auth/events" {
            return Err(StatusCode::BAD_GATEWAY);
        }
        Ok(next.run(request).await)
    });
    let wrap = |app: Router| app.layer(refuse_events);
    let Some(site) = Fixture::start_with(|builder| builder, |ac| ac, wrap).await else { return };
    site.begin_login("alice").await;
    approve(&site.emulator).await;
    site.shows_home().await;
    let done = site.tab.eval("sessionStorage.getItem('done')").await;
    assert_eq!(done, "Approved. Going on …\n");
}

#[tokio::test]
async fn waiting_page_goes_on_without_scripts() {
    let Some(site) = Fixture::start(|builder| builder).await else { return };
    site.tab.disable_scripts().await;
    site.begin_login("alice").await;
    let text = site.tab.text().await;
    assert!(text.contains("Confirm there that you want to log in, then go on."), "{text}");
    assert!(text.contains("Go on") && text.contains("UTC"), "{text}");
    approve(&site.emulator).await;
    site.shows_home().await;
}

#[tokio::test]
async fn waiting_page_tells_that_it_is_over() {
    let deadline = Duration::from_secs(5);
    let Some(site) = Fixture::start(|builder| builder.login_timeout(deadline)).await else {
        return;
    };
    site.begin_login("nobody").await;
    site.tab.until("document.querySelector('h1').innerText === 'No answer came'").await;
    let again = "document.querySelector('main .button').getAttribute('href')";
    assert_eq!(site.tab.eval(again).await, "/auth/login");
    site.assert_nothing_is_blocked().await;
}

/// The text follows the phone, and the page leads back to where it came from.
#[tokio::test]
async fn locked_page_goes_on_when_the_phone_is_back() {
    let Some(site) = Fixture::start(|builder| builder).await else { return };
    site.begin_login("alice").await;
    let session = approve(&site.emulator).await;
    site.shows_home().await;
    let act = |action| site.emulator.act_on_session(&session.session_token, action).unwrap();
    act(Action::WalkAway);
    until("away", async || {
        site.go("/").await;
        site.tab.place().await.contains("/auth/locked").then_some(())
    })
    .await;
    assert!(site.tab.text().await.contains("Your phone is no longer nearby."));
    act(Action::Return);
    site.shows_home().await;
    let done = site.tab.eval("sessionStorage.getItem('done')").await;
    assert_eq!(done, "Approved. Going on …\nYour phone is back. Going on …\n");
    act(Action::WalkAway);
    until("away again", async || {
        site.go("/").await;
        site.tab.place().await.contains("/auth/locked").then_some(())
    })
    .await;
    act(Action::Close);
    site.tab.until("location.pathname === '/auth/login'").await;
    assert!(site.ac.sessions(&"alice".into()).await.unwrap().is_empty());
}
