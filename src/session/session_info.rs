use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::protocol::{AuthMethods, SessionStatus};
use crate::session::client_details::ClientDetails;
use crate::session::live::Session;
use crate::session::session_id::SessionId;

/// What is known of one of a user's sessions at the moment it was asked about, for a page on which
/// the user, or an administrator, sees and ends them; made by [`Activeconnect::sessions`].
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
        let started = session.claimed_at().wall;
        let client = session.record.client();
        Self {
            id,
            user: session.user().into(),
            status: session.status(),
            since: time(session.status_changed_at().wall),
            started_at: time(started),
            // The use may be known a little less exactly than the login.
            last_used_at: time(session.last_used(now).max(started)),
            methods: session.methods,
            held_open: session.held_open(),
            description: client.description(),
            is_of_unknown_browser: session.record.is_of_unknown_browser(),
            client,
        }
    }

    /// What [`Activeconnect::end_session`](crate::Activeconnect::end_session) is told.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Whose session it is, in the spelling that the login had.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The last status that the service stated. For a session that is not in use it may be old: the
    /// engine asks about it again when it is used.
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

    /// When it was last used: now, if something is [held open](SessionInfo::held_open). Otherwise the
    /// moment at which its last request came. If that held something open for longer, a stream for
    /// example, the time may be up to a poll interval before the end of that.
    #[must_use]
    pub fn last_used_at(&self) -> SystemTime {
        self.last_used_at
    }

    /// The methods that the user was asked to use; empty when the service chose.
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
    /// 160 characters of the `User-Agent` of a client that is not known. Printable ASCII; any client
    /// can say anything, so escape it.
    ///
    /// `None` if the client said nothing, for logins by
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

    /// Whether the login was begun by a browser in which the user had not logged in before, or by a
    /// program. If its user does not know of it, their phone has approved a stranger's login.
    #[must_use]
    pub fn is_of_unknown_browser(&self) -> bool {
        self.is_of_unknown_browser
    }

    /// The browser and its system, if both are known: a page says it in its language.
    pub(crate) fn browser_and_system(&self) -> Option<(&str, &'static str)> {
        self.client.browser.as_deref().zip(self.client.system)
    }
}

/// A moment in Unix milliseconds.
fn time(unix_ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_ms)
}
