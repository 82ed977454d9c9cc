//! How a page waits for the registration of a phone.

use std::sync::Arc;
use std::time::Duration;

use crate::client::{ClientError, ClientErrorKind};
use crate::clock::Timestamp;
use crate::engine::state::Engine;
use crate::enrollment::pending_registrations::{
    PendingRegistration, REGISTRATION_PAGE_TTL, RegistrationProgress,
};
use crate::identity::{SessionCredential, UserToken};
use crate::rng_error::RngError;
use crate::session::notify::Watcher;

/// The longest that a request waits for the service's response; the page's next request gets it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

impl Engine {
    /// Starts to wait for a phone of the user with this token. Returns the credential of the page
    /// for its browser, and when the page expires.
    ///
    /// # Errors
    ///
    /// When the operating system has no randomness to give.
    pub(crate) fn await_registration(
        &self,
        token: UserToken,
        next: Option<String>,
    ) -> Result<(SessionCredential, Timestamp), RngError> {
        let now = self.now();
        let credential = self.key_ring.issue_registration(now.wall)?;
        let expires = now.after(REGISTRATION_PAGE_TTL);
        let (state, watchers) = Default::default();
        let page = PendingRegistration { token, next, expires, state, watchers };
        self.enrollment.registrations.insert(credential.key(), page, now);
        Ok((credential, expires))
    }

    /// Whether the phone of this page has registered, as far as is known within two seconds. All
    /// requests of a page that wait at one time share one call.
    ///
    /// Cancel safe: the call goes on.
    pub(crate) async fn registration_progress(
        self: &Arc<Self>,
        page: &Arc<PendingRegistration>,
    ) -> RegistrationProgress {
        self.ask_for_registration(page);
        let mut watch = Watcher::new(page.clone());
        let response = watch.wait_for(|page| {
            let state = page.state();
            (!state.is_asking).then_some(state.outcome)
        });
        let progress = tokio::time::timeout(ANSWER_TIMEOUT, response).await.ok().flatten();
        progress.unwrap_or(RegistrationProgress::Pending)
    }

    /// Asks the service in a task of the engine, if a call is due and the rate allows one.
    fn ask_for_registration(self: &Arc<Self>, page: &Arc<PendingRegistration>) {
        let now = self.now().mono;
        if self.shutdown.is_started()
            || self.polling.breaker.is_failing(now)
            || !page.begin_call(now)
        {
            return;
        }
        if !self.enrollment.registrations.pace().begin(now) {
            page.end_call(None);
            return;
        }
        let call = RegistrationCall { engine: self.clone(), page: page.clone(), result: None };
        self.tasks.spawn(call.run());
    }
}

/// One call for one page. Its end is recorded even if the task panics or is dropped.
struct RegistrationCall {
    engine: Arc<Engine>,
    page: Arc<PendingRegistration>,
    result: Option<Result<bool, ClientError>>,
}

impl RegistrationCall {
    async fn run(mut self) {
        let client = &self.engine.client;
        self.result = Some(client.has_registered_mobile_device(&self.page.token).await);
    }
}

impl Drop for RegistrationCall {
    fn drop(&mut self) {
        let outcome = match &self.result {
            Some(Ok(true)) => Some(RegistrationProgress::Registered),
            // The user was deleted in the meantime.
            Some(Err(error)) if error.kind() == ClientErrorKind::UnknownUser => {
                Some(RegistrationProgress::NoneWaits)
            }
            Some(Ok(false) | Err(_)) | None => None,
        };
        let is_failed = outcome.is_none() && !matches!(self.result, Some(Ok(false)));
        let requested_pause = self.result.as_ref().and_then(|result| result.as_ref().err());
        let requested_pause = requested_pause.and_then(ClientError::retry_after);
        let now = self.engine.now().mono;
        self.engine.enrollment.registrations.pace().end(is_failed, requested_pause, now);
        self.page.end_call(outcome);
    }
}
