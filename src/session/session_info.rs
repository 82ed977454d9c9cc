use std::net::IpAddr;
use std::time::SystemTime;

use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::protocol::{AuthMethods, SessionStatus};
use crate::session::client_details::ClientDetails;
use crate::session::live::Session;
use crate::session::session_id::SessionId;

/// One of a user's sessions, as it was when [`Activeconnect::sessions`] listed it, for a page on
/// which the user or an administrator sees and ends sessions.
///
/// It opens no page and proves no login.
///
/// ```
/// use tower_activeconnect::session::{EndSessionError, SessionId};
/// use tower_activeconnect::store::StoreError;
/// use tower_activeconnect::{Activeconnect, UserId};
///
/// async fn list(ac: &Activeconnect, user: &UserId) -> Result<Vec<String>, StoreError> {
///     let sessions = ac.sessions(user).await?;
///     let line = |session: &tower_activeconnect::session::SessionInfo| {
///         let browser = session.browser().unwrap_or("an unknown browser");
///         // Safe in a form: it names the session and opens nothing.
///         format!("{}: {browser}", session.id())
///     };
///     Ok(sessions.iter().map(line).collect())
/// }
///
/// /// `id` comes from a form of that page.
/// async fn end(ac: &Activeconnect, user: &UserId, id: &str) -> Result<(), EndSessionError> {
///     let id: SessionId = id.parse().map_err(|_| EndSessionError::Unknown)?;
///     ac.end_session(user, &id).await?;
///     Ok(())
/// }
/// # _ = (list, end);
/// ```
///
/// [`Activeconnect::sessions`]: crate::Activeconnect::sessions
#[derive(Clone, Debug)]
pub struct SessionInfo {
    id: SessionId,
    user: UserId,
    status: SessionStatus,
    since: SystemTime,
    started_at: SystemTime,
    last_used_at: SystemTime,
    methods: AuthMethods,
    held_open: u64,
    client: ClientDetails,
    is_of_unknown_browser: bool,
    /// The browser and its system as one text.
    description: Option<String>,
}

impl SessionInfo {
    pub(crate) fn new(session: &Session, id: SessionId, now: Timestamp) -> Self {
        let started = session.lifecycle.claimed_at().wall;
        let client = session.record.client();
        Self {
            id,
            user: session.user().into(),
            status: session.lifecycle.status(),
            since: session.lifecycle.status_changed_at().wall.into(),
            started_at: started.into(),
            // The use may be known a little less exactly than the login.
            last_used_at: session.last_used(now).max(started).into(),
            methods: session.lifecycle.methods(),
            held_open: session.held_open(),
            description: client.description(),
            is_of_unknown_browser: session.record.is_of_unknown_browser(),
            client,
        }
    }

    /// The id that [`Activeconnect::end_session`](crate::Activeconnect::end_session) takes.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The user of the session, in the spelling of the login.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The last status that the service reported. It may be old for a session that is not in use:
    /// the engine polls it when it is used again.
    #[must_use]
    pub fn status(&self) -> SessionStatus {
        self.status
    }

    /// When the status last changed, to the accuracy of the poll interval.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// When the login was completed, to the accuracy of 16 ms.
    #[must_use]
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// When it was last used: now, if a response is [held open](SessionInfo::held_open), otherwise
    /// the time of its last request. If that request held a stream open, the time may be up to a
    /// poll interval before the end of the stream.
    #[must_use]
    pub fn last_used_at(&self) -> SystemTime {
        self.last_used_at
    }

    /// The methods that the login asked the user for; empty when the service chose.
    #[must_use]
    pub fn methods(&self) -> AuthMethods {
        self.methods
    }

    /// How many requests, streams, guards and waiters held the session open at that moment.
    #[must_use]
    pub fn held_open(&self) -> u64 {
        self.held_open
    }

    /// The browser that the login came from, as it described itself: "Firefox on Windows", or up to
    /// 160 characters of the `User-Agent` of an unknown client. Printable ASCII; any client can
    /// send any text, so escape it.
    ///
    /// `None` if the client sent no `User-Agent`, for logins by
    /// [`Activeconnect::log_in`](crate::Activeconnect::log_in), and without
    /// [`ActiveconnectBuilder::record_client_details`](crate::ActiveconnectBuilder::record_client_details).
    #[must_use]
    pub fn browser(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// The address that the login came from, through [trusted
    /// proxies](crate::ActiveconnectBuilder::trusted_proxies). `None` if it was not known, and where
    /// [`SessionInfo::browser`] is always `None`.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.client.address
    }

    /// Whether an unknown browser, in which the user had not logged in before, or a program started
    /// the login. If the user does not recognize it, the user's phone has approved the login of an
    /// anonymous client.
    #[must_use]
    pub fn is_of_unknown_browser(&self) -> bool {
        self.is_of_unknown_browser
    }

    /// The browser and its system, if both are known, so that a page can translate them.
    pub(crate) fn browser_and_system(&self) -> Option<(&str, &'static str)> {
        self.client.browser.as_deref().zip(self.client.system)
    }
}
