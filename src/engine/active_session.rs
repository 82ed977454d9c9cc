use std::fmt;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::SystemTime;

use http::Extensions;
use tokio::sync::oneshot;

use crate::engine::logouts::LogoutPriority;
use crate::engine::{Engine, LogoutOutcome};
use crate::enrollment::enrollment_error::EnrollmentError;
use crate::identity::UserId;
use crate::protocol::{AuthMethods, SessionStatus};
use crate::session::guard::StreamGuard;
use crate::session::live::Session;
use crate::session::owner_id::OwnerId;
use crate::session::policy::{Action, Policy};
use crate::session::request_number::RequestNumber;
use crate::session::upgrade_stats::Upgrade;
use crate::verdict::Denial;

/// The session that allowed a request, as a handler gets it.
///
/// With the `axum` feature it is an extractor; elsewhere it is in the request's extensions.
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
    /// Created on the first call of [`ActiveSession::user`].
    user: OnceLock<UserId>,
    /// The policy of the layer that allowed the request.
    policy: Policy,
    /// Set if the request asks for an upgrade.
    upgrade: Option<Arc<Upgrade>>,
    /// The request that the session allowed.
    request: RequestNumber,
    engine: Arc<Engine>,
}

impl ActiveSession {
    pub(crate) fn new(
        session: Arc<Session>,
        request: RequestNumber,
        policy: Policy,
        upgrade: Option<Arc<Upgrade>>,
        engine: Arc<Engine>,
    ) -> Self {
        Self { session, user: OnceLock::new(), policy, upgrade, request, engine }
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

    /// The user of the session.
    #[must_use]
    pub fn user(&self) -> &UserId {
        self.user.get_or_init(|| self.session.user().into())
    }

    /// The id by which pages tell the user from others: the `owner` of `GET status`, equal in all
    /// of the user's sessions. A page that loads `guard.js` passes it to say for which user the
    /// page was rendered, so that no other user sees the page, not even from a cache.
    ///
    /// ```
    /// use tower_activeconnect::ActiveSession;
    ///
    /// fn script(session: &ActiveSession) -> String {
    ///     let owner = session.owner_id();
    ///     format!(r#"<script src="/auth/assets/guard.js" data-owner="{owner}" defer></script>"#)
    /// }
    /// # _ = script;
    /// ```
    #[must_use]
    pub fn owner_id(&self) -> OwnerId {
        self.session.owner_id()
    }

    /// The last status that the service reported.
    #[must_use]
    pub fn status(&self) -> SessionStatus {
        self.session.lifecycle.status()
    }

    /// When the status last changed, to the accuracy of the poll interval.
    #[must_use]
    pub fn status_since(&self) -> SystemTime {
        self.session.lifecycle.status_changed_at().wall.into()
    }

    /// The methods that the login asked the user for; empty when the service chose.
    #[must_use]
    pub fn methods(&self) -> AuthMethods {
        self.session.lifecycle.methods()
    }

    /// How many requests, streams, guards and waiters hold the session open.
    #[must_use]
    pub fn open_holds(&self) -> u64 {
        self.session.held_open()
    }

    /// Keeps the session live, that is polled, for as long as the guard exists. Take one for work
    /// that outlasts its request: WebSockets, spawned tasks.
    #[must_use]
    pub fn guard(&self) -> SessionGuard {
        if let Some(upgrade) = &self.upgrade {
            upgrade.mark_guarded();
        }
        SessionGuard { guard: StreamGuard::unchecked(self.session.watch(), self.policy) }
    }

    /// Ends the session, as
    /// [`Activeconnect::log_out`](crate::engine::handle::Activeconnect::log_out) does, and lets the
    /// handler respond after that: if this call ended the session, the response of this request may
    /// leave, such as a redirect to a goodbye page. Everything else of the session is cut.
    ///
    /// The response leaves once it is complete, at most 64 KiB, within the layer's
    /// [`grace`](crate::ActiveconnectLayer::grace). A stream or an upgrade is replaced by the
    /// gate's own response that the session ended.
    ///
    /// ```
    /// # #[cfg(feature = "axum")] mod example {
    /// use axum::response::Redirect;
    /// use tower_activeconnect::ActiveSession;
    ///
    /// /// `POST /leave`, behind the gate.
    /// async fn leave(session: ActiveSession) -> Redirect {
    ///     session.log_out().await;
    ///     Redirect::to("/goodbye")
    /// }
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// The session has ended here once this is polled; the tries at the service go on if the future
    /// is dropped.
    pub async fn log_out(&self) -> LogoutOutcome {
        let first_try = self.end_by_handler();
        self.engine.first_tries(first_try.into_iter().collect()).await
    }

    /// Removes the user's phone and token, as
    /// [`Activeconnect::unenroll`](crate::engine::handle::Activeconnect::unenroll) does, and lets
    /// the handler respond after that, as [`ActiveSession::log_out`] does.
    ///
    /// # Errors
    ///
    /// As [`Activeconnect::unenroll`](crate::engine::handle::Activeconnect::unenroll). This session
    /// has ended even then.
    pub async fn unenroll(&self) -> Result<(), EnrollmentError> {
        self.end_by_handler();
        self.engine.unenroll(self.user()).await
    }

    /// Ends this session for the handler of its request; returns the first try of the logout at the
    /// service, unless the session had ended.
    pub(super) fn end_by_handler(&self) -> Option<oneshot::Receiver<bool>> {
        let ended = self.session.end_by(self.request);
        ended.then(|| self.engine.spawn_remote_logout(&self.session, LogoutPriority::Prompt))
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Waits until the session no longer allows; returns why: it ended, the phone walked away
    /// (unless the layer allows that), or its status has been unknown for longer than
    /// `max_staleness`.
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
#[derive(Clone, Debug)]
pub struct SessionGuard {
    guard: StreamGuard,
}

/// The state of a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuardState {
    /// The work may go on.
    Forward,
    /// The work has to wait; the polling task is woken at a change.
    Hold,
    /// The work has to end.
    Cut(Denial),
}

impl SessionGuard {
    /// As [`ActiveSession::revoked`].
    pub async fn revoked(&mut self) -> Denial {
        self.guard.revoked().await
    }

    /// The state under the policy of the layer that allowed the request. Registers the task for the
    /// next change.
    pub(crate) fn poll_guard(&mut self, cx: &mut Context<'_>) -> GuardState {
        match self.guard.register_and_check(cx) {
            Action::Forward => GuardState::Forward,
            Action::Cut(denial) => GuardState::Cut(denial),
            Action::Hold(limit, denial) => match self.guard.hold(limit, denial, cx) {
                Poll::Ready(()) => GuardState::Cut(denial),
                Poll::Pending => GuardState::Hold,
            },
        }
    }
}
