use std::time::Duration;

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
    /// Other origins whose pages may open sockets with a browser's cookies.
    pub(crate) allowed_origins: Vec<String>,
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
            allowed_origins: Vec::new(),
            clock: None,
        }
    }
}

impl Settings {
    pub(crate) fn session_lifetime(&self) -> Duration {
        self.session_duration.unwrap_or(LONGEST)
    }
}
