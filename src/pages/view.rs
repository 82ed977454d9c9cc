//! Builds the context of each page and renders it.

mod sessions;

use fluent_bundle::FluentArgs;

pub(crate) use self::sessions::{SessionFacts, SessionNotice, SessionsAddresses};
use super::assets::Asset;
use super::context::{
    ConfirmPage, ErrorPage, Follow, KnownUser, Layout, Link, LoginPage, PendingLogin,
    RegisteringPage, RegistrationPage, RegistrationWait, SuspendedPage, WaitingPage,
};
use super::texts::{Language, LanguageChoice};
use super::theme::CheckedLogo;
use super::{PageRenderer, PageResult};
use crate::Secret;
use crate::protocol::{AuthMethod, AuthMethods};
use crate::verdict::Denial;

/// The addresses of this site as browsers use them, also behind a proxy that strips a prefix.
pub(crate) trait SiteAddresses {
    /// The path of the authentication routes.
    fn auth_path(&self) -> &str;

    /// The public address of an application's path.
    fn public(&self, path: &str) -> String;
}

/// The pages for one request: in its language, with the addresses that its browser uses.
pub(crate) struct View<'a> {
    renderer: &'a PageRenderer,
    site: &'a dyn SiteAddresses,
    choice: LanguageChoice,
    language: &'a Language,
}

/// The limits on the cookies that the gate reads, for a request that exceeds them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnreadCookies {
    pub(crate) max_cookies: usize,
    pub(crate) max_bytes: usize,
}

/// A login that waits for the phone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoginFacts<'a> {
    pub(crate) name: &'a str,
    pub(crate) site: &'a str,
    pub(crate) started_unix_ms: u64,
    pub(crate) left_ms: u64,
}

/// A registration link to show.
#[derive(Debug)]
pub(crate) struct RegistrationFacts<'a> {
    /// The display name of the user, or the id.
    pub(crate) name: &'a str,
    pub(crate) link: &'a str,
    pub(crate) qr_code: Option<Secret>,
    pub(crate) next: String,
    /// `None` if the service cannot report that the phone has registered.
    pub(crate) wait: Option<PageWait>,
}

/// The end of a page's wait for a phone to register.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageWait {
    pub(crate) until_unix_ms: u64,
    pub(crate) left_ms: u64,
}

/// The reason of an error page.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PageError {
    /// No page of this browser waits for a phone to register.
    NoPendingRegistration,
    /// The waiting page has no login to wait for.
    NoPendingLogin {
        unread: Option<UnreadCookies>,
        is_loopback: bool,
    },
    InvalidBody,
    UsernameEmpty,
    UsernameTooLong {
        max_bytes: usize,
    },
    UsernameHasControls,
    NoResolvedUser,
    /// A browser requests a bearer credential.
    BearerFromBrowser,
    RateLimited {
        seconds: u64,
    },
    LoginUnavailable,
    /// The sessions cannot be listed.
    SessionsUnavailable,
    MethodsNotRequired,
    /// A layer denies the request.
    Denied {
        denial: Denial,
        unread: Option<UnreadCookies>,
    },
}

impl PageRenderer {
    pub(crate) fn view<'a>(
        &'a self,
        site: &'a dyn SiteAddresses,
        choice: LanguageChoice,
    ) -> View<'a> {
        View { renderer: self, site, choice, language: self.texts.language(choice) }
    }
}

impl View<'_> {
    pub(crate) fn login(
        &self,
        user: Option<&str>,
        next: &str,
        unread: Option<UnreadCookies>,
    ) -> PageResult {
        let heading = self.text("login-heading");
        let action = format!("{}/login", self.site.auth_path());
        let sign_up = self.renderer.theme.sign_up_url.as_deref();
        self.renderer.pages.login(&LoginPage {
            layout: self.layout(&heading),
            heading,
            warning: unread.map(|unread| self.unread_cookies(unread)),
            known_user: user.map(|user| self.known_user("login-known-user", user)),
            username_label: self.text("login-username"),
            action: self.with_language(action),
            next: next.to_owned(),
            submit: self.text("login-submit"),
            sign_up: sign_up.map(|url| self.theme_link(url, "link-sign-up")),
        })
    }

    /// `here` is the page's own address, `restart` starts a new login. Without `login`, the page shows
    /// that the login has ended.
    pub(crate) fn waiting(
        &self,
        here: String,
        restart: String,
        login: Option<LoginFacts<'_>>,
    ) -> PageResult {
        let [heading, lead] = match login {
            Some(_) => ["waiting-heading", "waiting-lead"],
            None => ["waiting-over-heading", "waiting-over-lead"],
        };
        let heading = self.text(heading);
        self.renderer.pages.waiting(&WaitingPage {
            layout: self.layout(&heading),
            heading,
            lead: self.text(lead),
            login: login.map(|login| self.pending_login(login, here)),
            help_heading: self.text("waiting-help-heading"),
            help: ["waiting-help-online", "waiting-help-declined", "waiting-help-register"]
                .map(|key| self.text(key))
                .into(),
            start_again: self.link(restart, "waiting-start-again"),
        })
    }

    fn pending_login(&self, login: LoginFacts<'_>, here: String) -> PendingLogin {
        let seconds_left = login.left_ms.div_ceil(1_000);
        PendingLogin {
            name_label: self.text("waiting-name"),
            name: login.name.to_owned(),
            site_label: self.text("waiting-site"),
            site: login.site.to_owned(),
            started_label: self.text("waiting-started"),
            started_unix_ms: login.started_unix_ms,
            started: time_of_day(login.started_unix_ms),
            time_left_label: self.text("waiting-time-left"),
            seconds_left,
            time_left: minutes(seconds_left),
            decline: self.text("waiting-decline"),
            approved: self.text("waiting-approved"),
            lead_without_script: self.text("waiting-lead-without-script"),
            go_on: self.link(here, "waiting-go-on"),
            follow: self.follow(),
        }
    }

    /// `here` is the page's own address.
    pub(crate) fn locked(&self, is_suspended: bool, here: String) -> PageResult {
        let heading = self.text("locked-heading");
        let log_out = format!("{}/logout", self.site.auth_path());
        self.renderer.pages.locked(&SuspendedPage {
            layout: self.layout(&heading),
            heading,
            is_suspended,
            away: self.text("locked-away"),
            unknown: self.text("locked-unknown"),
            back: self.text("locked-back"),
            go_on: self.link(here, "locked-go-on"),
            log_out: self.link(log_out, "locked-log-out"),
            follow: self.follow(),
        })
    }

    pub(crate) fn confirm(&self, user: &str, methods: AuthMethods) -> PageResult {
        let heading = self.text("confirm-heading");
        let method = |method| match method {
            AuthMethod::Acceptance => self.text("confirm-acceptance"),
            AuthMethod::Device => self.text("confirm-device"),
            AuthMethod::Facial => self.text("confirm-facial"),
        };
        self.renderer.pages.confirm(&ConfirmPage {
            layout: self.layout(&heading),
            heading,
            user: self.known_user("confirm-lead", user),
            methods_lead: self.text("confirm-methods"),
            methods: methods.iter().map(method).collect(),
            submit: self.text("confirm-submit"),
        })
    }

    pub(crate) fn registration(&self, facts: RegistrationFacts<'_>) -> PageResult {
        let RegistrationFacts { name, link, qr_code, next, wait } = facts;
        let heading = self.text("registration-heading");
        self.renderer.pages.registration(&RegistrationPage {
            layout: self.layout(&heading),
            heading,
            user: self.known_user("registration-lead", name),
            link: Secret::new(link),
            // A link of the service must not run a script.
            is_web_link: ["https://", "http://"].iter().any(|scheme| link.starts_with(scheme)),
            qr_code,
            qr_code_label: self.text("registration-qr-code"),
            copy: self.text("registration-copy"),
            copied: self.text("registration-copied"),
            advice: self.text("registration-secret"),
            wait: wait.map(|wait| self.registration_wait(wait, "registration-without-script")),
            done_lead: self.text("registration-done-lead"),
            done: Link { url: next, text: self.text("registration-done") },
            script: self.asset(&self.renderer.assets.follow),
        })
    }

    pub(crate) fn registering(&self, wait: PageWait) -> PageResult {
        let heading = self.text("registering-heading");
        self.renderer.pages.registering(&RegisteringPage {
            layout: self.layout(&heading),
            heading,
            lead: self.text("registering-lead"),
            wait: self.registration_wait(wait, "registering-without-script"),
            script: self.asset(&self.renderer.assets.follow),
        })
    }

    fn registration_wait(&self, wait: PageWait, without_script: &str) -> RegistrationWait {
        let seconds_left = wait.left_ms.div_ceil(1_000);
        let route = format!("{}/registration", self.site.auth_path());
        RegistrationWait {
            pending: self.text("registration-pending"),
            registered: self.text("registration-registered"),
            over: self.text("registration-over"),
            until_label: self.text("registration-until"),
            until_unix_ms: wait.until_unix_ms,
            until: time_of_day(wait.until_unix_ms),
            time_left_label: self.text("waiting-time-left"),
            seconds_left,
            time_left: minutes(seconds_left),
            lead_without_script: self.text(without_script),
            go_on: self.link(route.clone(), "registration-go-on"),
            status: route,
        }
    }

    /// `remedy` is the address that helps the user.
    pub(crate) fn error(
        &self,
        status: u16,
        error: PageError,
        remedy: Option<String>,
    ) -> PageResult {
        let not_started = "refused-start-heading";
        let text_with = |key, name: &'static str, number: usize| {
            self.language.text_with(key, &FluentArgs::from_iter([(name, number)]))
        };
        let (heading, details) = match error {
            PageError::NoPendingLogin { unread, is_loopback } => {
                let unread = unread.map(|unread| self.unread_cookies(unread));
                let detail = unread.unwrap_or_else(|| self.text("refused-no-login"));
                let webkit = is_loopback.then(|| self.text("refused-webkit-cookie"));
                ("refused-no-login-heading", [detail].into_iter().chain(webkit).collect())
            }
            PageError::NoPendingRegistration => {
                ("refused-no-registration-heading", vec![self.text("refused-no-registration")])
            }
            PageError::InvalidBody => (not_started, vec![self.text("refused-unreadable")]),
            PageError::UsernameEmpty => (not_started, vec![self.text("refused-name-empty")]),
            PageError::UsernameTooLong { max_bytes } => {
                (not_started, vec![text_with("refused-name-too-long", "bytes", max_bytes)])
            }
            PageError::UsernameHasControls => {
                (not_started, vec![self.text("refused-name-controls")])
            }
            PageError::NoResolvedUser => (not_started, vec![self.text("refused-no-user")]),
            PageError::BearerFromBrowser => (not_started, vec![self.text("refused-bearer")]),
            PageError::RateLimited { seconds } => {
                let seconds = usize::try_from(seconds).unwrap_or(usize::MAX);
                (not_started, vec![text_with("refused-too-many", "seconds", seconds)])
            }
            PageError::LoginUnavailable => (not_started, vec![self.text("refused-not-now")]),
            PageError::SessionsUnavailable => {
                ("denied-unavailable-heading", vec![self.text("refused-sessions")])
            }
            PageError::MethodsNotRequired => {
                ("refused-methods-heading", vec![self.text("refused-methods")])
            }
            PageError::Denied { denial, unread } => {
                let (heading, detail) = denied(denial);
                let unread = unread.map(|unread| self.unread_cookies(unread));
                (heading, [self.text(detail)].into_iter().chain(unread).collect())
            }
        };
        let remedy_text = match error {
            PageError::Denied { denial: Denial::StepUp, .. } => "refused-confirm",
            _ => "refused-log-in",
        };
        let heading = self.text(heading);
        self.renderer.pages.error(&ErrorPage {
            layout: self.layout(&heading),
            status,
            heading,
            details,
            remedy: remedy.map(|address| self.link(address, remedy_text)),
        })
    }

    /// The page of a configuration mistake that makes the login unreachable; `mistake` is in English,
    /// for the developer.
    pub(crate) fn misconfigured(&self, status: u16, mistake: &str) -> PageResult {
        let heading = self.text("refused-setup-heading");
        self.renderer.pages.error(&ErrorPage {
            layout: self.layout(&heading),
            status,
            heading,
            details: vec![self.text("refused-setup"), mistake.to_owned()],
            remedy: None,
        })
    }

    fn layout(&self, heading: &str) -> Layout {
        let PageRenderer { theme, assets, .. } = self.renderer;
        let title = match &theme.app_name {
            None => heading.to_owned(),
            Some(app) => {
                let arguments = [("page", heading), ("app", app.as_str())];
                self.language.text_with("document-title", &FluentArgs::from_iter(arguments))
            }
        };
        let logo = match &theme.logo {
            Some(CheckedLogo::Path(path)) => Some(self.site.public(path)),
            Some(CheckedLogo::Bytes { .. }) | None => {
                assets.logo.as_ref().map(|logo| self.asset(logo))
            }
        };
        let sheets = [&assets.style].into_iter().chain(&assets.custom_style);
        let link = |url: &Option<String>, text| url.as_ref().map(|url| self.theme_link(url, text));
        Layout {
            title,
            lang: self.language.tag(),
            dir: self.language.direction(),
            app_name: theme.app_name.clone(),
            icon: logo.clone().unwrap_or_else(|| self.asset(&assets.icon)),
            logo,
            style_sheets: sheets.map(|sheet| self.asset(sheet)).collect(),
            script: self.asset(&assets.restored),
            support: link(&theme.support_url, "link-support"),
            privacy: link(&theme.privacy_url, "link-privacy"),
        }
    }

    fn follow(&self) -> Follow {
        let auth_path = self.site.auth_path();
        Follow {
            script: self.asset(&self.renderer.assets.follow),
            events: format!("{auth_path}/events"),
            status: format!("{auth_path}/status"),
        }
    }

    fn asset(&self, asset: &Asset) -> String {
        format!("{}/assets/{}", self.site.auth_path(), asset.file_name())
    }

    fn text(&self, key: &str) -> String {
        self.language.text(key)
    }

    fn with_language(&self, address: String) -> String {
        self.renderer.with_language(address, self.choice)
    }

    /// A link to one of the crate's pages.
    fn link(&self, address: String, text: &str) -> Link {
        Link { url: self.with_language(address), text: self.text(text) }
    }

    /// A link of the theme. A path gets the prefix that a proxy strips.
    fn theme_link(&self, url: &str, text: &str) -> Link {
        let url = if url.starts_with('/') { self.site.public(url) } else { url.to_owned() };
        Link { url, text: self.text(text) }
    }

    fn known_user(&self, lead: &str, user: &str) -> KnownUser {
        KnownUser { lead: self.text(lead), name: user.to_owned() }
    }

    fn unread_cookies(&self, unread: UnreadCookies) -> String {
        let UnreadCookies { max_cookies, max_bytes } = unread;
        let arguments = [("cookies", max_cookies), ("bytes", max_bytes)];
        self.language.text_with("login-unread-cookies", &FluentArgs::from_iter(arguments))
    }
}

/// The heading and the reason of a layer's denial.
fn denied(denial: Denial) -> (&'static str, &'static str) {
    match denial {
        Denial::NoIdentity => ("denied-no-session-heading", "refused-no-user"),
        Denial::NoSession => ("denied-no-session-heading", "denied-no-session"),
        Denial::NoToken => ("denied-no-token-heading", "denied-no-token"),
        Denial::Pending => ("denied-pending-heading", "denied-pending"),
        Denial::Suspended => ("locked-heading", "denied-suspended"),
        Denial::Ended => ("denied-ended-heading", "denied-ended"),
        Denial::StepUp => ("confirm-heading", "denied-step-up"),
        Denial::Unavailable => ("denied-unavailable-heading", "denied-unavailable"),
    }
}

/// The time of day in UTC, of a time in Unix milliseconds: `14:05:09 UTC`.
fn time_of_day(unix_ms: u64) -> String {
    let second = unix_ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02} UTC", second / 3_600, second / 60 % 60, second % 60)
}

/// Minutes and seconds: `9:05`.
fn minutes(seconds: u64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::super::{PageSetup, Theme};
    use super::*;

    struct Site;

    impl SiteAddresses for Site {
        fn auth_path(&self) -> &str {
            "/app/auth"
        }

        fn public(&self, path: &str) -> String {
            format!("/app{path}")
        }
    }

    pub(super) fn render(
        setup: PageSetup,
        query: &str,
        page: impl FnOnce(&View<'_>) -> PageResult,
    ) -> String {
        let renderer = setup.renderer().unwrap();
        let choice = renderer.choose_language(Some(query), None);
        page(&renderer.view(&Site, choice)).unwrap()
    }

    #[test]
    fn time_of_day_is_in_utc() {
        for (unix_ms, time) in
            [(0, "00:00:00 UTC"), (1_795_701_909_999, "14:05:09 UTC"), (86_399_999, "23:59:59 UTC")]
        {
            assert_eq!(time_of_day(unix_ms), time);
        }
    }

    #[test]
    fn names_are_escaped() {
        let html = "<b>\"&'";
        let facts = LoginFacts { name: html, site: html, started_unix_ms: 0, left_ms: 59_001 };
        let theme = Some(Theme::new().app_name(html));
        let setup = PageSetup { theme, ..PageSetup::default() };
        let page = render(setup, "", |view| {
            view.waiting("/here".to_owned(), "/again".to_owned(), Some(facts))
        });
        assert!(!page.contains("<b>"), "{page}");
        assert_eq!(page.matches("&#60;b&#62;").count(), 4, "{page}");
        assert!(page.contains("data-seconds=\"60\">1:00<"), "{page}");
    }

    #[test]
    fn theme_names_addresses_under_the_prefix() {
        let theme = Theme::new()
            .app_name("Acme")
            .logo(super::super::Logo::path("/logo.svg"))
            .sign_up_url("/register")
            .support_url("mailto:help@acme.example")
            .privacy_url("https://acme.example/privacy");
        let setup = PageSetup { theme: Some(theme), ..PageSetup::default() };
        let page = render(setup, "lang=de", |view| view.login(None, "/app/", None));
        for part in [
            "<html lang=\"de\" dir=\"ltr\">",
            "<title>Anmelden · Acme</title>",
            "src=\"/app/logo.svg\"",
            "href=\"/app/register\">Konto anlegen<",
            "href=\"mailto:help@acme.example\">Hilfe<",
            "href=\"https://acme.example/privacy\">Datenschutz<",
            "action=\"/app/auth/login?lang=de\"",
            "href=\"/app/auth/assets/style.",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn only_links_of_the_web_can_be_clicked() {
        for (link, is_link) in
            [("https://a.example/x", true), ("javascript:alert(1)", false), ("iampass://x", false)]
        {
            let next = "/".to_owned();
            let page = render(PageSetup::default(), "", |view| {
                let (name, qr_code, wait) = ("alice", None, None);
                view.registration(RegistrationFacts { name, link, qr_code, next, wait })
            });
            assert!(page.contains(link), "{page}");
            assert_eq!(page.contains(&format!("href=\"{link}\"")), is_link, "{page}");
        }
    }
}
