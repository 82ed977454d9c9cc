//! Every page in every state that it has, as a browser shows it with and without scripts: axe-core
//! finds nothing, nothing overflows, every control can be reached by keyboard, and
//! `scripts/screenshot-pages` keeps the pictures.

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

/// Screens, in CSS pixels.
const WIDTHS: [(&str, u32); 3] = [("small", 320), ("phone", 390), ("desktop", 1280)];
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// What a person can get to, in the order of the page.
const CONTROLS: &str = "[...document.querySelectorAll('a[href], button, input:not([type=hidden])')]
    .filter((element) => element.checkVisibility())";

fn theme() -> Theme {
    Theme::new()
        .app_name("Acme")
        .sign_up_url("/register")
        .support_url("mailto:help@acme.example")
        .privacy_url("/privacy")
}

/// Looks at pages, in a browser that runs scripts or does not.
struct Viewer {
    folder: PathBuf,
    has_scripts: bool,
}

impl Viewer {
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

    /// Looks at the page that is there, which must have this heading. It stays as it is meanwhile.
    async fn look(&self, site: &Fixture, state: &str, heading: &str) {
        let tab = &site.tab;
        tab.until(&format!("document.querySelector('h1')?.innerText === '{heading}'")).await;
        tab.loaded().await;
        site.hold_pages();
        // axe-core is a script. Those of the page itself do not run any more.
        tab.enable_scripts().await;
        // While a page loads, Chromium does nothing that it is told by its tools: no page begins to.
        let stays = if self.has_scripts {
            "for (let timer = setTimeout(() => {}); timer > 0; timer--) clearTimeout(timer)"
        } else {
            "stop()"
        };
        tab.eval(stays).await;
        for (screen, width) in WIDTHS {
            tab.set_width(width).await;
            tab.until(&format!("innerWidth === {width}")).await;
            let overflow = "document.documentElement.scrollWidth > innerWidth";
            assert_eq!(tab.eval(overflow).await, false, "{state} {width}");
            for scheme in ["light", "dark"] {
                tab.prefer_color_scheme(scheme).await;
                let mut violations = axe::violations(tab).await;
                if !self.has_scripts {
                    // Nothing else can follow the phone without scripts. The button is beside it.
                    violations.retain(|found| !found.starts_with("meta-refresh:"));
                }
                assert_eq!(violations, [""; 0], "{state} {screen} {scheme}");
                let picture = tab.picture().await;
                assert!(picture.starts_with(PNG), "{state}");
                let scripts = if self.has_scripts { "" } else { "-without-scripts" };
                let name = format!("{state}-{screen}-{scheme}{scripts}.png");
                std::fs::write(self.folder.join(name), picture).unwrap();
            }
        }
        Self::go_through_controls(site, state).await;
        if !self.has_scripts {
            tab.disable_scripts().await;
        }
        site.release_pages();
    }

    /// The tabulator leads to every control, in their order, and shows where it is.
    async fn go_through_controls(site: &Fixture, state: &str) {
        let tab = &site.tab;
        // From the beginning of the page, wherever its focus is.
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

    /// The page of a link whose user has no phone, in all its states.
    async fn look_at_registration(&self, site: &Fixture) {
        let tab = &site.tab;
        site.go("/auth/registration").await;
        self.look(site, "registration-refused", "No registration waits here").await;
        site.go("/lost-phone").await;
        self.look(site, "registration", "Register your phone").await;
        if !self.has_scripts {
            site.go("/auth/registration").await;
            self.look(site, "registration-waiting", "Waiting for your phone").await;
            return;
        }
        // A link that is too long for a code.
        tab.eval("document.querySelector('.code').remove()").await;
        self.look(site, "registration-without-code", "Register your phone").await;
        tab.eval("window.fetch = async () => new Response('{\"status\":\"none\"}')").await;
        tab.eval("document.dispatchEvent(new Event('visibilitychange'))").await;
        tab.until("'over' in document.querySelector('[data-follow]').dataset").await;
        self.look(site, "registration-over", "Register your phone").await;
        site.go("/lost-phone").await;
        tab.until("document.querySelector('[data-without-script]').hidden").await;
        site.hold_pages();
        let user = site.emulator.state().users.remove(0).user_id;
        site.emulator.register_device(&user).unwrap();
        tab.until("'done' in document.querySelector('[data-follow]').dataset").await;
        self.look(site, "registration-registered", "Register your phone").await;
    }

    async fn look_at_all(&self) -> Option<()> {
        let site = self.site(|builder| builder, |ac| ac).await?;
        let tab = &site.tab;

        site.go("/auth/waiting").await;
        self.look(&site, "refused", "No login waits here").await;
        site.post("/").await;
        self.look(&site, "denied", "You are not logged in").await;
        site.go("/auth/login").await;
        self.look(&site, "login", "Log in").await;

        site.begin_login("alice").await;
        self.look(&site, "waiting", "Look at your phone").await;
        if self.has_scripts {
            site.hold_pages();
            approve(&site.emulator).await;
            tab.until("'done' in document.querySelector('[data-follow]').dataset").await;
            self.look(&site, "waiting-approved", "Look at your phone").await;
        } else {
            approve(&site.emulator).await;
        }
        // It no longer goes on by itself.
        tab.eval("location.reload()").await;
        site.shows_home().await;

        site.go("/careful").await;
        self.look(&site, "confirm", "Confirm that it is you").await;
        site.go("/phone").await;
        self.look(&site, "registration-another-phone", "Register your phone").await;

        let session = site.emulator.state().sessions.pop().unwrap();
        let alice = UserId::from("alice");
        for number in 0..2 {
            let (credential, _) = tokio::join!(site.ac.log_in(&alice), approve(&site.emulator));
            credential.unwrap();
            site.go("/auth/sessions").await;
            if number == 0 {
                self.look(&site, "sessions", "Your sessions").await;
            }
        }
        site.tab
            .eval("document.querySelector('form[action$=\"sessions/end\"] button').click()")
            .await;
        tab.until("document.querySelector('[role=status]') !== null").await;
        self.look(&site, "sessions-ended", "Your sessions").await;
        let ended = site.ac.sessions(&alice).await.unwrap().len();
        assert_eq!(ended, 2);
        site.walk_away(&session).await;
        self.look(&site, "locked", "Locked").await;
        let odd = Fault::new(Endpoint::Status, FaultKind::UnknownStatus);
        site.emulator.inject_fault(odd);
        if !self.has_scripts {
            tab.eval("location.reload()").await;
        }
        let unknown = "document.querySelector('[data-state]')?.innerText.includes('not known')";
        tab.until(unknown).await;
        self.look(&site, "locked-unknown", "Locked").await;
        site.emulator.clear_faults();
        if self.has_scripts {
            site.hold_pages();
            site.emulator.act_on_session(&session.session_token, Action::Return).unwrap();
            tab.until("'done' in document.querySelector('[data-follow]').dataset").await;
            self.look(&site, "locked-back", "Locked").await;
        }
        self.look_at_registration(&site).await;
        drop(site);

        let deadline = Duration::from_secs(5);
        let alice = |_: &Parts| Some(UserId::from("alice"));
        let beside = |ac: Activeconnect| ac.with_user_resolver(alice);
        let site = self.site(|builder| builder.login_timeout(deadline), beside).await?;
        // So long a cookie may be the one that hides the login's.
        site.go("/auth/login").await;
        site.tab.eval("document.cookie = `long=${'x'.repeat(3900)}`").await;
        site.tab.eval("document.cookie = `longer=${'x'.repeat(3900)}`").await;
        site.tab.eval("document.cookie = `another=${'x'.repeat(900)}`").await;
        site.go("/auth/login").await;
        self.look(&site, "login-known-user", "Log in").await;
        for name in ["long", "longer", "another"] {
            site.tab.eval(&format!("document.cookie = '{name}=; max-age=0'")).await;
        }
        site.go("/auth/login").await;
        site.tab.eval("document.forms[0].submit()").await;
        self.look(&site, "waiting-over", "No answer came").await;
        Some(())
    }
}

#[tokio::test]
async fn every_state_is_accessible_and_pictured() {
    let kept = std::env::var_os("PICTURES").map(PathBuf::from);
    let scratch = tempfile::tempdir().unwrap();
    let folder = kept.unwrap_or_else(|| scratch.path().to_owned());
    for has_scripts in [true, false] {
        if (Viewer { folder: folder.clone(), has_scripts }).look_at_all().await.is_none() {
            return;
        }
    }
}
