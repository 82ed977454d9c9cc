/// What the cookies are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CookieNames {
    /// The session's. The others' begin with it.
    pub(crate) session: String,
    /// They are for this host alone and for TLS (or loopback): `__Host-` and `Secure`.
    pub(crate) secure: bool,
}

/// What a browser's attempt is called after the session.
pub(crate) const ATTEMPT: &str = "-attempt";
/// What the proof that a browser is known is called after the session.
pub(crate) const KNOWN: &str = "-known";

impl CookieNames {
    pub(crate) fn secure(name: &str) -> Self {
        Self { session: format!("__Host-{name}"), secure: true }
    }

    pub(crate) fn insecure(name: String) -> Self {
        Self { session: name, secure: false }
    }

    /// Whether it is a token (RFC 6265) that claims no prefix of its own, and no name of another
    /// application's cookies on the same host.
    pub(crate) fn is_plain(&self) -> bool {
        let name = self.session.strip_prefix("__Host-").filter(|_| self.secure);
        let name = name.unwrap_or(&self.session);
        !name.is_empty()
            && !name.starts_with("__")
            && !name.ends_with(ATTEMPT)
            && !name.ends_with(KNOWN)
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    }

    pub(crate) fn attempt(&self) -> String {
        format!("{}{ATTEMPT}", self.session)
    }

    pub(crate) fn known(&self) -> String {
        format!("{}{KNOWN}", self.session)
    }
}
