//! What the builder checks: ranges, paths, names and origins.

use std::time::Duration;

use crate::client::POLL_TIMEOUT;
use crate::engine::build_error::BuildError;
use crate::engine::config::Config;

/// The time that the processing of a poll's result may take.
const PROCESSING_MARGIN: Duration = Duration::from_secs(1);

impl Config {
    pub(super) fn check(&self) -> Result<(), BuildError> {
        let within = |name, value: Duration, min: Duration, max: Duration| {
            if value < min || value > max {
                return Err(BuildError::OutOfRange { name, value, min, max });
            }
            Ok(())
        };
        let count = |name, value: u64, max: u64| {
            if value < 1 || value > max {
                return Err(BuildError::CountOutOfRange { name, value, max });
            }
            Ok(())
        };
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        within("poll_interval", self.poll_interval, ms(100), s(3600))?;
        within("login_timeout", self.login_timeout, s(5), s(600))?;
        if let Some(duration) = self.session_duration {
            within("session_duration", duration, s(1), s(12 * 3600))?;
        }
        if let Some(timeout) = self.idle_timeout {
            within("idle_timeout", timeout, s(1), s(12 * 3600))?;
        }
        // A status must stay valid for longer than one poll that gets no response.
        let min = self.poll_interval + POLL_TIMEOUT + PROCESSING_MARGIN;
        within("max_staleness", self.max_staleness, min, s(24 * 3600))?;
        count("max_polls_per_second", self.max_polls_per_second.into(), 1_000_000)?;
        count("max_sessions", self.max_sessions as u64, u64::MAX)?;
        count("max_sessions_per_user", self.max_sessions_per_user as u64, u64::MAX)?;
        count("max_attempts", self.max_attempts as u64, u64::MAX)?;
        if let Some(pushes) = self.push_budget {
            count("push_budget", pushes.into(), 1_000_000_000)?;
        }
        count("per_user", self.login_limits.per_user.len() as u64, 100)?;
        for (name, rate) in self.login_limits.rates() {
            count(name, rate.count.into(), 1_000_000)?;
            within(name, rate.per, s(1), s(24 * 3600))?;
        }
        if !self.cookie_names.is_valid() {
            return Err(BuildError::InvalidCookieName { name: self.cookie_names.session.clone() });
        }
        if !self.cookie_names.secure {
            tracing::warn!(
                name = self.cookie_names.session,
                "the login's cookies are not Secure: others on the network can read them; serve \
                 over TLS and use cookie_name() instead of insecure_cookie_name()"
            );
        }
        let prefixes = [Some(&self.auth_path), self.mount_prefix.as_ref()].into_iter().flatten();
        let ends_with_slash = prefixes.clone().find(|path| path.ends_with('/'));
        let own_pages = self.own_pages.iter().map(|(_, path)| path);
        let pages = self.enrollment_path.iter().chain(own_pages);
        let not_plain = prefixes.chain(pages).find(|path| !is_plain_path(path));
        if let Some(path) = ends_with_slash.or(not_plain) {
            return Err(BuildError::InvalidPath { path: path.clone() });
        }
        if let Some(name) = self.verify_user_header.as_ref().filter(|name| !is_free_header(name)) {
            return Err(BuildError::InvalidHeaderName { name: name.clone() });
        }
        if let Some(origin) = self.origins.malformed() {
            return Err(BuildError::InvalidOrigin { origin: origin.clone() });
        }
        Ok(())
    }
}

/// Whether the path needs no encoding, names no host, and stays the same when a browser or a proxy
/// resolves dots and double slashes (RFC 3986, 5.2.4).
pub(crate) fn is_plain_path(path: &str) -> bool {
    let Some(segments) = path.strip_prefix('/') else { return false };
    let is_kept = |segment: &str| !matches!(segment, "" | "." | "..");
    let inner = segments.strip_suffix('/').unwrap_or(segments);
    (segments.is_empty() || inner.split('/').all(is_kept))
        && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~".contains(&b))
}

/// Whether the header name has no other meaning to clients, proxies or caches.
fn is_free_header(name: &str) -> bool {
    const RESERVED_HEADERS: [&str; 14] = [
        "age",
        "cache-control",
        "connection",
        "cookie",
        "date",
        "location",
        "referrer-policy",
        "retry-after",
        "set-cookie",
        "transfer-encoding",
        "upgrade",
        "vary",
        "www-authenticate",
        "x-frame-options",
    ];
    const RESERVED_HEADER_PREFIXES: [&str; 5] =
        ["access-control-", "content-", "cross-origin-", "proxy-", "x-content-"];
    let name = name.to_ascii_lowercase();
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !RESERVED_HEADERS.contains(&name.as_str())
        && !RESERVED_HEADER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(config: &Config) -> Option<String> {
        config.check().err().map(|error| error.to_string())
    }

    #[test]
    fn rejected_path_error_says_what_to_change() {
        for (prefix, advice) in [
            ("/app/", "end without /"),
            ("/", "end without /"),
            ("", "mount_prefix is not set"),
            ("app", "begin with one /"),
            ("//app", "begin with one /"),
            ("https://www.example/app", "begin with one /"),
        ] {
            let mount_prefix = Some(prefix.to_owned());
            let mounted = error(&Config { mount_prefix, ..Config::default() }).unwrap();
            let nested = error(&Config { auth_path: prefix.to_owned(), ..Config::default() });
            assert_eq!(nested.as_ref(), Some(&mounted));
            assert!(
                mounted.contains(&format!("{prefix:?}")) && mounted.contains(advice),
                "{mounted}"
            );
        }
        let mount_prefix = Some("/app/v1".to_owned());
        assert_eq!(error(&Config { mount_prefix, ..Config::default() }), None);
    }
}
