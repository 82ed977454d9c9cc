/// What the cookies are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CookieNames {
    /// The session's. The others' begin with it.
    pub(crate) session: String,
    /// They are for this host alone and for TLS (or loopback): `__Host-` and `Secure`.
    pub(crate) secure: bool,
}

/// What a browser's attempt is called after the session.
pub(crate) const ATTEMPT_SUFFIX: &str = "-attempt";
/// What the proof that a browser is known is called after the session.
pub(crate) const KNOWN_BROWSER_SUFFIX: &str = "-known";
/// What names a page that waits for a phone to register is called after the session.
pub(crate) const REGISTRATION_SUFFIX: &str = "-registration";

impl CookieNames {
    pub(crate) fn secure(name: &str) -> Self {
        Self { session: format!("__Host-{name}"), secure: true }
    }

    pub(crate) fn insecure(name: String) -> Self {
        Self { session: name, secure: false }
    }

    /// Whether it is a token (RFC 6265) that claims no prefix of its own, and is not what another engine
    /// of the same host may call one of its other cookies.
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
