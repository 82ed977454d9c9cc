//! The browser and the address that a login came from, by which a user recognizes the session.

use std::net::IpAddr;

/// The longest text that is kept of a `User-Agent`, in bytes.
const MAX_USER_AGENT_LEN: usize = 160;

/// Browsers by their token in a `User-Agent`. The order counts: Edge and Opera also name Chrome, and
/// all but Firefox also name Safari.
const BROWSERS: [(&str, &[&str]); 5] = [
    ("Edge", &["Edg/", "EdgA/", "EdgiOS/"]),
    ("Opera", &["OPR/"]),
    ("Firefox", &["Firefox/", "FxiOS/"]),
    ("Chrome", &["Chrome/", "CriOS/"]),
    ("Safari", &["Safari/"]),
];

/// Operating systems by their token in a `User-Agent`. Phones come first: they also name the system
/// that theirs is derived from.
const SYSTEMS: [(&str, &[&str]); 7] = [
    ("Windows", &["Windows"]),
    ("iOS", &["iPhone", "iPod"]),
    ("iPadOS", &["iPad"]),
    ("Android", &["Android"]),
    ("ChromeOS", &["CrOS"]),
    ("macOS", &["Macintosh"]),
    ("Linux", &["Linux", "X11"]),
];

/// The client that started a login, as it describes itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientDetails {
    /// The family of the browser, or the shortened `User-Agent` of a client that is not known.
    pub(crate) browser: Option<Box<str>>,
    /// The operating system, if the browser is known.
    pub(crate) system: Option<&'static str>,
    pub(crate) address: Option<IpAddr>,
}

impl ClientDetails {
    pub(crate) fn new(user_agent: Option<&[u8]>, address: Option<IpAddr>) -> Self {
        let user_agent = user_agent.map(shorten).filter(|text| !text.is_empty());
        let known = user_agent.as_deref().and_then(recognize);
        let (browser, system) = known.unzip();
        Self { browser: browser.map(Into::into).or(user_agent), system, address }
    }

    /// The browser and its system as one text.
    pub(crate) fn description(&self) -> Option<String> {
        let browser = self.browser.as_deref()?;
        Some(match self.system {
            Some(system) => format!("{browser} on {system}"),
            None => browser.to_owned(),
        })
    }

    /// Browser, system and address as the texts of a session's record; `None` if nothing is known.
    pub(crate) fn to_texts(&self) -> Option<[String; 3]> {
        let Self { browser, system, address } = self;
        let is_known = browser.is_some() || address.is_some();
        is_known.then(|| {
            [
                browser.as_deref().unwrap_or_default().to_owned(),
                system.unwrap_or_default().to_owned(),
                address.map(|address| address.to_string()).unwrap_or_default(),
            ]
        })
    }

    /// Reads the texts of a session's record. An empty text stands for an unknown value.
    pub(crate) fn from_texts([browser, system, address]: [&str; 3]) -> Self {
        let systems = SYSTEMS.iter().map(|(known, _)| *known);
        Self {
            browser: (!browser.is_empty()).then(|| browser.into()),
            system: systems.into_iter().find(|known| *known == system),
            address: address.parse().ok(),
        }
    }
}

/// The beginning of a `User-Agent`, reduced to printable ASCII, which is all that browsers send.
/// The result cannot move a cursor, break a line or reverse the direction of writing.
fn shorten(user_agent: &[u8]) -> Box<str> {
    let printable = user_agent.iter().copied().filter(|byte| matches!(byte, b' '..=b'~'));
    let text: String = printable.take(MAX_USER_AGENT_LEN).map(char::from).collect();
    text.trim().into()
}

/// The browser and the operating system, if both are known.
fn recognize(user_agent: &str) -> Option<(&'static str, &'static str)> {
    Some((find(&BROWSERS, user_agent)?, find(&SYSTEMS, user_agent)?))
}

fn find(names: &[(&'static str, &[&str])], user_agent: &str) -> Option<&'static str> {
    let names_it = |tokens: &[&str]| tokens.iter().any(|token| user_agent.contains(token));
    names.iter().find(|(_, tokens)| names_it(tokens)).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(user_agent: &[u8]) -> (Option<String>, Option<&'static str>) {
        let ClientDetails { browser, system, .. } = ClientDetails::new(Some(user_agent), None);
        (browser.map(String::from), system)
    }

    #[test]
    fn browser_and_system_are_recognized() {
        for (user_agent, browser, system) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0",
                "Firefox",
                "Windows",
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/142.0.0.0 Safari/537.36",
                "Chrome",
                "Linux",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
                "Edge",
                "Windows",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like \
                 Gecko) Chrome/141.0.0.0 Safari/537.36 OPR/125.0.0.0",
                "Opera",
                "macOS",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like \
                 Gecko) Version/26.0 Safari/605.1.15",
                "Safari",
                "macOS",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 \
                 (KHTML, like Gecko) CriOS/142.0.0.0 Mobile/15E148 Safari/604.1",
                "Chrome",
                "iOS",
            ),
            (
                "Mozilla/5.0 (iPad; CPU OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like \
                 Gecko) FxiOS/145.0 Mobile/15E148 Safari/605.1.15",
                "Firefox",
                "iPadOS",
            ),
            ("Mozilla/5.0 (Android 15; Mobile; rv:145.0) Firefox/145.0", "Firefox", "Android"),
            (
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/142.0.0.0 Mobile Safari/537.36",
                "Chrome",
                "Android",
            ),
            (
                "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/142.0.0.0 Safari/537.36",
                "Chrome",
                "ChromeOS",
            ),
        ] {
            let found = details(user_agent.as_bytes());
            assert_eq!(found, (Some(browser.to_owned()), Some(system)), "{user_agent}");
        }
    }

    #[test]
    fn client_details_round_trip() {
        let address = Some("2001:db8::1".parse().unwrap());
        let [chrome, curl] = [&b"Chrome/1 (X11)"[..], b"curl/8"];
        for details in [
            ClientDetails::new(Some(chrome), address),
            ClientDetails::new(Some(chrome), None),
            ClientDetails::new(Some(curl), address),
            ClientDetails::new(None, address),
        ] {
            let texts = details.to_texts().unwrap();
            assert_eq!(ClientDetails::from_texts(texts.each_ref().map(String::as_str)), details);
        }
        assert_eq!(ClientDetails::default().to_texts(), None);
        assert_eq!(ClientDetails::from_texts([""; 3]), ClientDetails::default());
    }

    #[test]
    fn unknown_client_is_kept_as_short_text() {
        assert_eq!(details(b"curl/8.5.0"), (Some("curl/8.5.0".to_owned()), None));
        // No system is known.
        assert_eq!(details(b"Firefox/1"), (Some("Firefox/1".to_owned()), None));
        assert_eq!(details(b"a\r\nb\t\x1b[2J\xe2\x80\xae\x7fc").0.unwrap(), "ab[2Jc");
        assert_eq!(details(&[b'x'; 4_000]).0.unwrap().len(), MAX_USER_AGENT_LEN);
        assert_eq!(details(b" \xff\xfe "), (None, None));
        assert_eq!(ClientDetails::new(None, None), ClientDetails::default());
    }
}
