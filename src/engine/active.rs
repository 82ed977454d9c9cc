use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Extensions;

use super::policy::Policy;
use super::session::{Session, SessionWatch};
use crate::identity::UserId;
use crate::protocol::{Methods, SessionStatus};
use crate::verdict::Denial;

/// What a handler gets: the session that let its request in.
///
/// With the `axum` feature it is an extractor; anywhere else it is in the request's extensions.
///
/// ```
/// use tower_activeconnect::ActiveSession;
///
/// fn greet(request: &http::Request<()>) -> Option<String> {
///     let session = ActiveSession::from_extensions(request.extensions())?;
///     Some(format!("Hello {}", session.user()))
/// }
/// # assert_eq!(greet(&http::Request::new(())), None);
/// ```
#[derive(Clone)]
pub struct ActiveSession {
    session: Arc<Session>,
    /// Made when somebody asks.
    user: OnceLock<UserId>,
    /// Of the layer that let the request in.
    policy: Policy,
}

impl ActiveSession {
    pub(crate) fn new(session: Arc<Session>, policy: Policy) -> Self {
        Self { session, user: OnceLock::new(), policy }
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The session that the layer put into a request's extensions; `None` without a layer, or
    /// under an optional one that did not allow.
    #[must_use]
    pub fn from_extensions(extensions: &Extensions) -> Option<Self> {
        extensions.get::<Self>().cloned()
    }

    /// Who is logged in.
    #[must_use]
    pub fn user(&self) -> &UserId {
        self.user.get_or_init(|| self.session.user().into())
    }

    /// The last status that the service stated.
    #[must_use]
    pub fn status(&self) -> SessionStatus {
        self.session.status()
    }

    /// When the status last changed, to the accuracy of the poll interval.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.session.changed().wall)
    }

    /// The methods that the user was asked to use; empty when the service chose.
    #[must_use]
    pub fn methods(&self) -> Methods {
        self.session.methods
    }

    /// Keeps the session live, that is polled, for as long as the guard exists. For work that
    /// outlasts its request: WebSockets, spawned tasks.
    #[must_use]
    pub fn guard(&self) -> SessionGuard {
        SessionGuard { watch: self.session.watch(), policy: self.policy }
    }

    /// Waits until the session no longer allows, and says why: it ended, the phone walked away
    /// (unless the layer allows that), or what is known of it has grown too old.
    ///
    /// Cancel safe; any number of tasks may wait.
    pub async fn revoked(&self) -> Denial {
        self.guard().revoked().await
    }
}

impl fmt::Debug for ActiveSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveSession").field("user", self.user()).finish_non_exhaustive()
    }
}

/// Keeps a session live; made by [`ActiveSession::guard`].
#[derive(Debug)]
pub struct SessionGuard {
    watch: SessionWatch,
    policy: Policy,
}

impl SessionGuard {
    /// As [`ActiveSession::revoked`].
    pub async fn revoked(&mut self) -> Denial {
        let policy = self.policy;
        self.watch.until(|session| policy.denial(session.met(&policy))).await
    }
}

impl Clone for SessionGuard {
    fn clone(&self) -> Self {
        Self { watch: self.watch.get().watch(), policy: self.policy }
    }
}
