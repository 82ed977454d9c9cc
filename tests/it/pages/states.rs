//! Every page in each state, with and without scripts: axe-core finds no violation, nothing
//! overflows, and every control is reachable by keyboard. `scripts/screenshot-pages` stores the
//! screenshots.

use std::path::PathBuf;
use std::time::Duration;

use activeconnect_emulator::{Action, Endpoint, Fault, FaultKind};
use http::request::Parts;
use serde_json::json;
use tower_activeconnect::pages::Theme;
use tower_activeconnect::{Activeconnect, ActiveconnectBuilder, UserId};

use super::in_chromium::Fixture;
use crate::support::approve;
use crate::support::axe;

/// Screen widths in CSS pixels.
const WIDTHS: [(&str, u32); 3] = [("small", 320), ("phone", 390), ("desktop", 1280)];
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// The controls, in page order.
const CONTROLS: &str = "[...document.querySelectorAll('a[href], button, input:not([type=hidden])')]
    .filter((element) => element.checkVisibility())";

fn theme() -> Theme {
    Theme::new()
        .app_name("Acme")
        .sign_up_url("/register")
        .support_url("mailto:help@acme.example")
        .privacy_url("/privacy")
}

/// Checks pages in a browser with or without scripts.
struct Checker {
    folder: PathBuf,
    has_scripts: bool,
}

impl Checker {
    async fn site(
        &self,
        configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
        adapt: impl FnOnce(Activeconnect) -> Activeconnect,
    ) -> Option<Fixture> {
        let themed = |builder: ActiveconnectBuilder| configure(builder.theme(theme()));
        let site = Fixture::start_with(themed, adapt, |app| app).await?;
        if !self.has_scripts {
            site.tab.disable_scripts().await;
        }
        Some(site)
    }

    /// Checks the open page, which must have this heading and stays as it is.
    async fn check_page(&self, site: &Fixture, state: &str, heading: &str) {
        let tab = &site.tab;
        tab.wait_for(&format!("document.querySelector('h1')?.innerText === '{heading}'")).await;
        tab.wait_for_load().await;
        site.hold_pages();
        // axe-core needs scripts. The page's own scripts stay disabled.
        tab.enable_scripts().await;
        // While a page loads, Chromium delays DevTools commands and navigations.
        let stays = if self.has_scripts {
            "for (let timer = setTimeout(() => {}); timer > 0; timer--) clearTimeout(timer)"
        } else {
            "stop()"
        };
        tab.eval(stays).await;
        for (screen, width) in WIDTHS {
            tab.set_width(width).await;
            tab.wait_for(&format!("innerWidth === {width}")).await;
            let overflow = "document.documentElement.scrollWidth > innerWidth";
            assert_eq!(tab.eval(overflow).await, false, "{state} {width}");
            for scheme in ["light", "dark"] {
                tab.prefer_color_scheme(scheme).await;
                let mut violations = axe::violations(tab).await;
                if !self.has_scripts {
                    // Without scripts nothing else can follow the phone. The button is there, too.
                    violations.retain(|found| !found.starts_with("meta-refresh:"));
                }
                assert_eq!(violations, [""; 0], "{state} {screen} {scheme}");
                let picture = tab.screenshot().await;
                assert!(picture.starts_with(PNG), "{state}");
                let scripts = if self.has_scripts { "" } else { "-without-scripts" };
                let name = format!("{state}-{screen}-{scheme}{scripts}.png");
                std::fs::write(self.folder.join(name), picture).unwrap();
            }
        }
        Self::press_all_controls(site, state).await;
        if !self.has_scripts {
            tab.disable_scripts().await;
        }
        site.release_pages();
    }

    /// The tab key reaches every control in order, with a visible focus.
    async fn press_all_controls(site: &Fixture, state: &str) {
        let tab = &site.tab;
        // From the start of the page, wherever its focus is.
        tab.eval(&format!(
            "window.controls = {CONTROLS}; window.focused = [];
             {{ const first = document.createElement('i'); first.tabIndex = -1;
             document.body.prepend(first); first.focus(); first.remove() }}"
        ))
        .await;
        let count = tab.eval("controls.length").await.as_u64().unwrap();
        for _ in 0..count {
            tab.press("Tab").await;
            tab.eval("focused.push(document.activeElement)").await;
            let outline = "getComputedStyle(document.activeElement).outlineStyle !== 'none'";
            assert_eq!(tab.eval(outline).await, true, "{state}: no outline");
        }
        let lost =
            "controls.filter((control, i) => control !== focused[i]).map((c) => c.outerHTML)";
        assert_eq!(tab.eval(lost).await, json!([]), "{state}: not reached in order");
        tab.eval("document.activeElement?.blur()").await;
    }

    /// The page of a link for a user without a phone, in all its states.
    async fn check_registration_pages(&self, site: &Fixture) {
        let tab = &site.tab;
        site.navigate("/auth/registration").await;
        self.check_page(site, "registration-rejected", "No registration waits here").await;
        site.navigate("/lost-phone").await;
        self.check_page(site, "registration", "Register your phone").await;
        if !self.has_scripts {
            site.navigate("/auth/registration").await;
            self.check_page(site, "registration-waiting", "Waiting for your phone").await;
            return;
        }
        // A link that is too long for a QR code.
        tab.eval("document.querySelector('.code').remove()").await;
        self.check_page(site, "registration-without-code", "Register your phone").await;
        tab.eval("window.fetch = async () => new Response('{\"status\":\"none\"}')").await;
        tab.eval("document.dispatchEvent(new Event('visibilitychange'))").await;
        tab.wait_for("'over' in document.querySelector('[data-follow]').dataset").await;
        self.check_page(site, "registration-over", "Register your phone").await;
        site.navigate("/lost-phone").await;
        tab.wait_for("document.querySelector('[data-without-script]').hidden").await;
        site.hold_pages();
        let user = site.emulator.state().users.remove(0).user_id;
        site.emulator.register_device(&user).unwrap();
        tab.wait_for("'done' in document.querySelector('[data-follow]').dataset").await;
        self.check_page(site, "registration-registered", "Register your phone").await;
    }

    async fn check_all_pages(&self) -> Option<()> {
        let site = self.site(|builder| builder, |ac| ac).await?;
        let tab = &site.tab;

        site.navigate("/auth/waiting").await;
        self.check_page(&site, "rejected", "No login waits here").await;
        site.post("/").await;
        self.check_page(&site, "denied", "You are not logged in").await;
        site.navigate("/auth/login").await;
        self.check_page(&site, "login", "Log in").await;

        site.start_login("alice").await;
        self.check_page(&site, "waiting", "Look at your phone").await;
        if self.has_scripts {
            site.hold_pages();
            approve(&site.emulator).await;
            tab.wait_for("'done' in document.querySelector('[data-follow]').dataset").await;
            self.check_page(&site, "waiting-approved", "Look at your phone").await;
        } else {
            approve(&site.emulator).await;
        }
        // The page no longer continues by itself.
        tab.eval("location.reload()").await;
        site.wait_for_home().await;

        site.navigate("/careful").await;
        self.check_page(&site, "confirm", "Confirm that it is you").await;
        site.navigate("/phone").await;
        self.check_page(&site, "registration-another-phone", "Register your phone").await;

        let session = site.emulator.state().sessions.pop().unwrap();
        let alice = UserId::from("alice");
        for number in 0..2 {
            let (credential, _) = tokio::join!(site.ac.log_in(&alice), approve(&site.emulator));
            credential.unwrap();
            site.navigate("/auth/sessions").await;
            if number == 0 {
                self.check_page(&site, "sessions", "Your sessions").await;
            }
        }
        site.tab
            .eval("document.querySelector('form[action$=\"sessions/end\"] button').click()")
            .await;
        tab.wait_for("document.querySelector('[role=status]') !== null").await;
        self.check_page(&site, "sessions-ended", "Your sessions").await;
        let ended = site.ac.sessions(&alice).await.unwrap().len();
        assert_eq!(ended, 2);
        site.walk_away(&session).await;
        self.check_page(&site, "locked", "Locked").await;
        let odd = Fault::new(Endpoint::Status, FaultKind::UnknownStatus);
        site.emulator.inject_fault(odd);
        if !self.has_scripts {
            tab.eval("location.reload()").await;
        }
        let unknown = "document.querySelector('[data-state]')?.innerText.includes('not known')";
        tab.wait_for(unknown).await;
        self.check_page(&site, "locked-unknown", "Locked").await;
        site.emulator.clear_faults();
        if self.has_scripts {
            site.hold_pages();
            site.emulator.act_on_session(&session.session_token, Action::Return).unwrap();
            tab.wait_for("'done' in document.querySelector('[data-follow]').dataset").await;
            self.check_page(&site, "locked-back", "Locked").await;
        }
        self.check_registration_pages(&site).await;
        drop(site);

        let deadline = Duration::from_secs(5);
        let alice = |_: &Parts| Some(UserId::from("alice"));
        let beside = |ac: Activeconnect| ac.with_user_resolver(alice);
        let site = self.site(|builder| builder.login_timeout(deadline), beside).await?;
        // A cookie this long can push the login's cookie past the limits.
        site.navigate("/auth/login").await;
        site.tab.eval("document.cookie = `long=${'x'.repeat(3900)}`").await;
        site.tab.eval("document.cookie = `longer=${'x'.repeat(3900)}`").await;
        site.tab.eval("document.cookie = `another=${'x'.repeat(900)}`").await;
        site.navigate("/auth/login").await;
        self.check_page(&site, "login-known-user", "Log in").await;
        for name in ["long", "longer", "another"] {
            site.tab.eval(&format!("document.cookie = '{name}=; max-age=0'")).await;
        }
        site.navigate("/auth/login").await;
        site.tab.eval("document.forms[0].submit()").await;
        self.check_page(&site, "waiting-over", "No answer came").await;
        Some(())
    }
}

#[tokio::test]
async fn every_state_is_accessible() {
    let folder = std::env::var_os("PICTURES").map(PathBuf::from);
    let scratch = tempfile::tempdir().unwrap();
    let folder = folder.unwrap_or_else(|| scratch.path().to_owned());
    for has_scripts in [true, false] {
        if (Checker { folder: folder.clone(), has_scripts }).check_all_pages().await.is_none() {
            return;
        }
    }
}
