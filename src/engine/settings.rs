use std::time::Duration;

use super::cookie_names::CookieNames;
use super::login_limits::LoginLimits;
use super::site_origins::SiteOrigins;
use super::trusted_proxies::TrustedProxies;
use super::username::{UsernameNormalizer, UsernameResolver};
use crate::clock::Clock;
use crate::protocol::Methods;

/// The longest a session may live here, whatever the service says.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// What the builder was told, or the defaults of the design.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) poll_interval: Duration,
    pub(crate) max_staleness: Duration,
    pub(crate) attempt_deadline: Duration,
    pub(crate) max_polls_per_second: u32,
    pub(crate) max_sessions: usize,
    pub(crate) max_sessions_per_user: usize,
    pub(crate) max_attempts: usize,
    pub(crate) session_duration: Option<Duration>,
    pub(crate) methods: Methods,
    pub(crate) auth_path: String,
    pub(crate) enrolment_page: Option<String>,
    pub(crate) cookie_names: CookieNames,
    pub(crate) login_limits: LoginLimits,
    pub(crate) username_normalizer: UsernameNormalizer,
    pub(crate) username_resolver: UsernameResolver,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) origins: SiteOrigins,
    /// Another clock than the machine's.
    pub(crate) clock: Option<Clock>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(5),
            max_staleness: Duration::from_secs(15),
            attempt_deadline: Duration::from_secs(60),
            max_polls_per_second: 2_000,
            max_sessions: 1_000_000,
            max_sessions_per_user: 100,
            max_attempts: 10_000,
            session_duration: None,
            methods: Methods::default(),
            auth_path: "/auth".to_owned(),
            enrolment_page: None,
            cookie_names: CookieNames::secure("activeconnect"),
            login_limits: LoginLimits::default(),
            username_normalizer: UsernameNormalizer::default(),
            username_resolver: UsernameResolver::default(),
            trusted_proxies: TrustedProxies::default(),
            origins: SiteOrigins::default(),
            clock: None,
        }
    }
}

impl Settings {
    pub(crate) fn session_lifetime(&self) -> Duration {
        self.session_duration.unwrap_or(LONGEST)
    }

    /// When it is worth trying again: what is not known now may be after one poll. Whole seconds,
    /// as HTTP tells them.
    pub(crate) fn retry_after(&self) -> Duration {
        Duration::from_secs(self.poll_interval.as_secs().max(1))
    }
}
