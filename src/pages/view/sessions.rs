//! The page that lists a user's sessions.

use std::net::IpAddr;

use fluent_bundle::FluentArgs;

use super::View;
use crate::pages::timestamps::{rfc3339, utc_minute};
use crate::pages::{ListedSession, Moment, PageResult, SessionsPage};
use crate::protocol::{AuthMethod, AuthMethods};

/// The result of the form that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionNotice {
    Ended,
    OthersEnded,
    /// The user has no such session.
    AlreadyEnded,
}

/// A session in the list.
#[derive(Clone, Debug)]
pub(crate) struct SessionFacts<'a> {
    pub(crate) id: String,
    /// The request belongs to this session.
    pub(crate) is_current: bool,
    /// The name that the client sends.
    pub(crate) browser: Option<&'a str>,
    /// The family of the browser and its system, if both are known.
    pub(crate) browser_and_system: Option<(&'a str, &'a str)>,
    pub(crate) started_unix_ms: u64,
    pub(crate) last_used_unix_ms: u64,
    pub(crate) address: Option<IpAddr>,
    pub(crate) methods: AuthMethods,
    pub(crate) is_held_open: bool,
    pub(crate) is_of_unknown_browser: bool,
}

/// The targets of the page's forms and links.
#[derive(Clone, Debug)]
pub(crate) struct SessionsAddresses {
    pub(crate) end: String,
    pub(crate) end_others: String,
    /// The application's page that linked here.
    pub(crate) back: String,
}

impl View<'_> {
    /// `sessions` must be in the order to show.
    pub(crate) fn sessions(
        &self,
        user: &str,
        sessions: Vec<SessionFacts<'_>>,
        addresses: SessionsAddresses,
        notice: Option<SessionNotice>,
    ) -> PageResult {
        let heading = self.text("sessions-heading");
        let SessionsAddresses { end, end_others, back } = addresses;
        let notice = notice.map(|notice| match notice {
            SessionNotice::Ended => "sessions-ended",
            SessionNotice::OthersEnded => "sessions-others-ended",
            SessionNotice::AlreadyEnded => "sessions-over",
        });
        let log_out = format!("{}/logout", self.site.auth_path());
        let has_others = sessions.iter().any(|session| !session.is_current);
        self.renderer.pages.sessions(&SessionsPage {
            layout: self.layout(&heading),
            heading,
            notice: notice.map(|notice| self.text(notice)),
            user: self.known_user("sessions-lead", user),
            current_label: self.text("sessions-current"),
            started_label: self.text("sessions-started"),
            last_used_label: self.text("sessions-last-used"),
            address_label: self.text("sessions-address"),
            methods_label: self.text("sessions-methods"),
            sessions: sessions.into_iter().map(|session| self.listed(session)).collect(),
            end: self.link(end, "sessions-end"),
            end_others: has_others.then(|| self.link(end_others, "sessions-end-others")),
            log_out: self.link(log_out, "sessions-log-out"),
            // The application's page chooses its own language.
            back: super::Link { url: back, text: self.text("sessions-back") },
            script: self.asset(&self.renderer.assets.times),
        })
    }

    fn listed(&self, session: SessionFacts<'_>) -> ListedSession {
        let moment = |unix_ms| Moment { datetime: rfc3339(unix_ms), text: utc_minute(unix_ms) };
        let method = |method| match method {
            AuthMethod::Acceptance => self.text("sessions-acceptance"),
            AuthMethod::Device => self.text("sessions-device"),
            AuthMethod::Facial => self.text("sessions-facial"),
        };
        let browser = match (session.browser_and_system, session.browser) {
            (Some((browser, system)), _) => {
                let arguments = FluentArgs::from_iter([("browser", browser), ("system", system)]);
                self.language.text_with("sessions-browser", &arguments)
            }
            (None, Some(browser)) => browser.to_owned(),
            (None, None) => self.text("sessions-unknown-browser"),
        };
        let is_warned_of = session.is_of_unknown_browser && !session.is_current;
        ListedSession {
            warning: is_warned_of.then(|| self.text("sessions-new-browser")),
            id: session.id,
            is_current: session.is_current,
            browser,
            started: moment(session.started_unix_ms),
            last_used: moment(session.last_used_unix_ms),
            held_open: session.is_held_open.then(|| self.text("sessions-held-open")),
            address: session.address.map(|address| address.to_string()),
            methods: session.methods.iter().map(method).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::render;
    use super::*;
    use crate::pages::PageSetup;

    fn facts(id: &str, browser: Option<&'static str>) -> SessionFacts<'static> {
        SessionFacts {
            id: id.to_owned(),
            is_current: id == "current",
            browser,
            browser_and_system: None,
            started_unix_ms: 1_795_701_909_999,
            last_used_unix_ms: 1_795_788_309_000,
            address: Some("2001:db8::1".parse().unwrap()),
            methods: [AuthMethod::Device, AuthMethod::Facial].into_iter().collect(),
            is_held_open: id != "current",
            is_of_unknown_browser: true,
        }
    }

    fn page(query: &str, sessions: Vec<SessionFacts<'_>>, notice: Option<SessionNotice>) -> String {
        render(PageSetup::default(), query, |view| {
            let [end, end_others, back] = ["/end", "/end-others", "/app/"].map(str::to_owned);
            view.sessions("alice", sessions, SessionsAddresses { end, end_others, back }, notice)
        })
    }

    /// T014: the name that a client sends is escaped.
    #[test]
    fn browser_is_escaped() {
        let evil = "\"><script>alert(1)</script><img src=x onerror='alert(1)'>";
        let page = page("", vec![facts("current", Some(evil)), facts("other", Some(evil))], None);
        assert!(!page.contains("<script>") && !page.contains("<img"), "{page}");
        assert_eq!(page.matches("&#60;script&#62;alert(1)").count(), 2, "{page}");
    }

    #[test]
    fn session_is_described() {
        let mut other = facts("other", Some("Firefox on Windows"));
        other.browser_and_system = Some(("Firefox", "Windows"));
        let page = page("lang=de", vec![facts("current", None), other], None);
        for part in [
            "<bdi>Unbekannter Browser</bdi>",
            "<bdi>Firefox unter Windows</bdi>",
            "<time datetime=\"2026-11-26T14:05:09Z\">2026-11-26 14:05 UTC</time>",
            "<time datetime=\"2026-11-27T14:05:09Z\">2026-11-27 14:05 UTC</time>",
            "<bdi>2001:db8::1</bdi>",
            "name=\"id\" value=\"other\"",
            "action=\"/end?lang=de\"",
            "action=\"/end-others?lang=de\"",
            "href=\"/app/\"",
            "action=\"/app/auth/logout?lang=de\"",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(
            !page.contains("value=\"current\""),
            "the current session has a form to end it: {page}"
        );
        assert_eq!(page.matches("aria-current").count(), 1, "{page}");
    }

    #[test]
    fn notice_is_shown() {
        for (notice, text) in [
            (SessionNotice::Ended, "The session has ended."),
            (SessionNotice::OthersEnded, "All your other sessions have ended."),
            (SessionNotice::AlreadyEnded, "That session has already ended."),
        ] {
            let page = page("", vec![facts("current", None)], Some(notice));
            assert!(page.contains(&format!("<p role=\"status\" class=\"notice\">{text}</p>")));
            assert!(!page.contains("/end-others"), "the page offers to end other sessions: {page}");
        }
        assert!(!page("", vec![facts("current", None)], None).contains("role=\"status\""));
    }
}
