/// The names of the cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CookieNames {
    /// The name of the session's cookie, with which the other names start.
    pub(crate) session: String,
    /// Whether the cookies have `__Host-` and `Secure`: they are bound to the host and to TLS (or
    /// the loopback).
    pub(crate) secure: bool,
}

/// The suffix of the cookie of a browser's attempt.
pub(crate) const ATTEMPT_SUFFIX: &str = "-attempt";
/// The suffix of the cookie that proves a known browser.
pub(crate) const KNOWN_BROWSER_SUFFIX: &str = "-known";
/// The suffix of the cookie of a page that waits for a phone to register.
pub(crate) const REGISTRATION_SUFFIX: &str = "-registration";

impl CookieNames {
    pub(crate) fn secure(name: &str) -> Self {
        Self { session: format!("__Host-{name}"), secure: true }
    }

    pub(crate) fn insecure(name: String) -> Self {
        Self { session: name, secure: false }
    }

    /// Whether the name is a token (RFC 6265), claims no prefix, and does not end as another
    /// engine's cookies on the same host may.
    pub(crate) fn is_valid(&self) -> bool {
        let name = self.session.strip_prefix("__Host-").filter(|_| self.secure);
        let name = name.unwrap_or(&self.session);
        !name.is_empty()
            && !name.starts_with("__")
            && ![ATTEMPT_SUFFIX, KNOWN_BROWSER_SUFFIX, REGISTRATION_SUFFIX]
                .iter()
                .any(|suffix| name.ends_with(suffix))
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    }

    pub(crate) fn attempt(&self) -> String {
        format!("{}{ATTEMPT_SUFFIX}", self.session)
    }

    pub(crate) fn known(&self) -> String {
        format!("{}{KNOWN_BROWSER_SUFFIX}", self.session)
    }

    pub(crate) fn registration(&self) -> String {
        format!("{}{REGISTRATION_SUFFIX}", self.session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_two_engines_never_meet() {
        for (name, is_plain) in [
            ("activeconnect", true),
            ("attempt", true),
            ("x-attempts", true),
            ("x-attempt-2", true),
            ("x-attempt", false),
            ("x-known", false),
            ("x-registration", false),
            ("-known", false),
            ("x-known-attempt", false),
        ] {
            assert_eq!(CookieNames::secure(name).is_valid(), is_plain, "{name}");
            assert_eq!(CookieNames::insecure(name.to_owned()).is_valid(), is_plain, "{name}");
        }
    }
}
