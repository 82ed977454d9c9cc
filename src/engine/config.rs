#[cfg(feature = "axum")]
use std::sync::Arc;
use std::time::Duration;

use crate::client::POLL_TIMEOUT;
use crate::clock::{Clock, Millis};
use crate::engine::cookie_names::CookieNames;
use crate::engine::site_origins::SiteOrigins;
use crate::engine::trusted_proxies::TrustedProxies;
use crate::login::initiator::Initiator;
use crate::login::login_limits::LoginLimits;
use crate::login::username::{UsernameNormalizer, UsernameResolver};
#[cfg(feature = "axum")]
use crate::pages::PageRenderer;
use crate::protocol::AuthMethods;

/// The longest life of a session, whatever the service says.
const MAX_SESSION_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// The configuration that the builder collects; the defaults are those of the design.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) poll_interval: Duration,
    pub(crate) max_staleness: Duration,
    pub(crate) login_timeout: Duration,
    pub(crate) max_polls_per_second: u32,
    pub(crate) max_sessions: usize,
    pub(crate) max_sessions_per_user: usize,
    pub(crate) max_attempts: usize,
    pub(crate) session_duration: Option<Duration>,
    /// How long a session may be unused.
    pub(crate) idle_timeout: Option<Duration>,
    /// Whether the session's cookie outlives the browser.
    pub(crate) has_persistent_cookie: bool,
    pub(crate) methods: AuthMethods,
    /// The methods of logins that an unknown browser starts, in place of `methods`.
    pub(crate) unknown_browser_methods: AuthMethods,
    /// The maximum number of pushes for unknown browsers in a month.
    pub(crate) push_budget: Option<u32>,
    pub(crate) auth_path: String,
    /// The prefix that a proxy strips from the paths that browsers request.
    pub(crate) mount_prefix: Option<String>,
    pub(crate) enrollment_path: Option<String>,
    /// The application's own pages, by the names of the routes that they replace.
    pub(crate) own_pages: Vec<(&'static str, String)>,
    pub(crate) cookie_names: CookieNames,
    pub(crate) login_limits: LoginLimits,
    pub(crate) username_normalizer: UsernameNormalizer,
    pub(crate) username_resolver: UsernameResolver,
    pub(crate) trusted_proxies: TrustedProxies,
    /// Whether sessions keep the user agent and the address of their login.
    pub(crate) records_client_details: bool,
    pub(crate) origins: SiteOrigins,
    /// The header in which `verify` names the user.
    pub(crate) verify_user_header: Option<String>,
    /// The pages.
    #[cfg(feature = "axum")]
    pub(crate) pages: Arc<PageRenderer>,
    /// A clock other than the machine's, for tests.
    pub(crate) clock: Option<Clock>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(5),
            max_staleness: Duration::from_secs(15),
            login_timeout: Duration::from_secs(60),
            max_polls_per_second: 2_000,
            max_sessions: 1_000_000,
            max_sessions_per_user: 100,
            max_attempts: 10_000,
            session_duration: None,
            idle_timeout: None,
            has_persistent_cookie: false,
            methods: AuthMethods::default(),
            unknown_browser_methods: AuthMethods::default(),
            push_budget: None,
            auth_path: "/auth".to_owned(),
            mount_prefix: None,
            enrollment_path: None,
            own_pages: Vec::new(),
            cookie_names: CookieNames::secure("activeconnect"),
            login_limits: LoginLimits::default(),
            username_normalizer: UsernameNormalizer::default(),
            username_resolver: UsernameResolver::default(),
            trusted_proxies: TrustedProxies::default(),
            records_client_details: true,
            origins: SiteOrigins::default(),
            verify_user_header: None,
            #[cfg(feature = "axum")]
            pages: PageRenderer::default_pages(),
            clock: None,
        }
    }
}

impl Config {
    pub(crate) fn session_lifetime(&self) -> Duration {
        self.session_duration.unwrap_or(MAX_SESSION_LIFETIME)
    }

    /// The methods of a login by its initiator.
    pub(crate) fn methods_for(&self, initiator: Initiator) -> AuthMethods {
        if initiator.is_anonymous() && !self.unknown_browser_methods.is_empty() {
            self.unknown_browser_methods
        } else {
            self.methods
        }
    }

    /// The number of attempts above which an anonymous browser starts none: the last places are for
    /// others.
    pub(crate) fn anonymous_attempts(&self) -> usize {
        let reserve = self.max_attempts.div_ceil(10);
        self.max_attempts.saturating_sub(reserve).max(1)
    }

    /// How many polls may be in flight if the client can carry `max_calls`: as many as may be sent
    /// while one is in flight. An eighth of the calls is left for logins and logouts.
    pub(crate) fn max_polls_in_flight(&self, max_calls: usize) -> usize {
        let by_rate = u64::from(self.max_polls_per_second) * POLL_TIMEOUT.as_secs();
        let by_calls = max_calls - max_calls / 8;
        usize::try_from(by_rate).unwrap_or(usize::MAX).min(by_calls).max(1)
    }

    /// How many sessions can be kept within `max_staleness` when each poll takes `latency` and
    /// `max_in_flight` polls may be in flight: the polls that can be sent in that time, less the
    /// duration of the last one.
    pub(crate) fn capacity(&self, max_in_flight: usize, latency: Duration) -> u64 {
        let max_rate = u64::from(self.max_polls_per_second);
        let by_latency =
            (max_in_flight as u64 * 1_000).checked_div(Millis::from(latency).as_millis());
        let rate = by_latency.map_or(max_rate, |rate| rate.min(max_rate));
        let within = self.max_staleness.saturating_sub(POLL_TIMEOUT);
        rate.saturating_mul(Millis::from(within).as_millis()) / 1_000
    }

    /// The `Retry-After` of an unknown status: one poll may resolve it. Whole seconds, as HTTP has
    /// them.
    pub(crate) fn retry_after(&self) -> Duration {
        Duration::from_secs(self.poll_interval.as_secs().max(1))
    }
}
