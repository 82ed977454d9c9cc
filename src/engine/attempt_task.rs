//! The task of one attempt: it finds the user, waits for the phone, sends the push, waits for the
//! result, and sees that a browser claims it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::client::{AuthenticationRequest, ClientError, ClientErrorKind};
use crate::engine::device_lock::DeviceLock;
use crate::engine::logouts::LogoutPriority;
use crate::engine::state::Engine;
use crate::events::event::{EndReason, EventKind};
use crate::login::attempt::{Attempt, AttemptUser};
use crate::login::attempt_state::State;
use crate::login::login_error::LoginError;
use crate::login::start_attempt::AttemptTarget;
use crate::protocol::SessionStatus;
use crate::session::live::Session;
use crate::session::notify::Watcher;
use crate::session::record::PackedRecord;
use crate::store::StoreError;
use crate::verdict::Verdict;

/// The longest that an approved result waits for its claim before the engine logs it out at the
/// service; also the longest that a claimed one waits for a request with its credential.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the outcome of an attempt can be read by its browser.
const OUTCOME_RETENTION: Duration = Duration::from_secs(60);
/// The longest that the token store may take.
const TOKEN_LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Frees the name at the deadline, wakes the watchers, and evicts the attempt when no browser asks
/// for it any more.
pub(super) async fn evict_after_deadline(engine: Arc<Engine>, attempt: Arc<Attempt>) {
    let mut forgotten = Watcher::new(attempt.clone());
    let is_forgotten =
        forgotten.wait_for(|attempt| attempt.evicted.load(Ordering::Acquire).then_some(()));
    let clock = &engine.shared.clock;
    let times_out = async {
        tokio::time::sleep_until(clock.instant(attempt.deadline.mono)).await;
        engine.login.attempts.release_username(&attempt);
        attempt.watchers.wake();
        // A late approval also ends late.
        let is_settled = |attempt: &Arc<Attempt>| attempt.finished.load(Ordering::Acquire);
        let mut task = Watcher::new(attempt.clone());
        task.wait_for(|attempt| is_settled(attempt).then_some(())).await;
        tokio::time::sleep(OUTCOME_RETENTION).await;
        engine.login.attempts.by_key.remove(&attempt.key);
    };
    tokio::select! {
        () = is_forgotten => {}
        () = times_out => {}
    }
}

/// The attempt's own task. However it ends, the attempt is settled then.
pub(super) struct AttemptTask {
    pub(super) engine: Arc<Engine>,
    pub(super) attempt: Arc<Attempt>,
}

impl AttemptTask {
    pub(super) async fn run(self, target: AttemptTarget) {
        let (engine, attempt) = (&self.engine, &self.attempt);
        match start_authentication(engine, attempt, target).await {
            Ok((session, phone)) => await_result(engine, attempt, &session, phone).await,
            Err(error) => {
                tracing::debug!(?error, "a login did not start");
                engine.report_failed_login(&error);
                // The name stays reserved until the deadline, as that of a phone that rings.
                attempt.end(error);
            }
        }
    }
}

impl Drop for AttemptTask {
    fn drop(&mut self) {
        self.attempt.end(LoginError::Aborted);
        self.attempt.finished.store(true, Ordering::Release);
        self.attempt.watchers.wake();
    }
}

/// Has the service send the push. The outcome of a failed call is unknown, so the call is not
/// repeated, except after a 404, which means that no push was sent.
async fn start_authentication(
    engine: &Arc<Engine>,
    attempt: &Arc<Attempt>,
    target: AttemptTarget,
) -> Result<(Arc<Session>, DeviceLock), LoginError> {
    // Before anything is looked up: a name that does not exist costs the same.
    if attempt.initiator_at_start.is_anonymous() && !engine.spend_push() {
        return Err(LoginError::PushBudgetSpent);
    }
    let (instead, methods) =
        attempt.step_up_of.as_ref().map(|(old, methods)| (old, *methods)).unzip();
    let find = async {
        let user = match target {
            AttemptTarget::User(user) => Some(user),
            AttemptTarget::Username(name) => {
                engine.config.username_resolver.user(name.text).await?
            }
            AttemptTarget::StepUp(session, ..) => Some(session.user().into()),
        };
        let Some(id) = user else { return Ok(None) };
        let Some(token) = engine.store.token(&id).await? else { return Ok(None) };
        let browser_epoch = AtomicU64::new(engine.browser_epoch(&id, &token).await?);
        let mark = engine.login.browser_proofs.user_mark(&token);
        Ok(Some(AttemptUser { id, token, mark, browser_epoch }))
    };
    let found = record_answer(find).await?.ok_or(LoginError::NotEnrolled)?;
    let AttemptUser { id: user, token, browser_epoch, .. } = attempt.target.get_or_init(|| found);
    if attempt.initiator().is_anonymous() && !engine.login.attempts.reserves_username(attempt) {
        // Its proof is revoked, and another attempt has the name.
        return Err(LoginError::AlreadyPending);
    }
    let is_revoked =
        attempt.initiator_at_start.is_known_browser() && attempt.initiator().is_anonymous();
    if is_revoked && !engine.spend_push() {
        return Err(LoginError::PushBudgetSpent);
    }
    let phone = DeviceLock::acquire(engine, attempt, token).await?;
    let blocked_until = engine.login.lock_limiter().push_blocked_until(token, attempt.initiator());
    let backoff = tokio::time::sleep_until(engine.shared.clock.instant(blocked_until));
    attempt.run_unless_aborted(&engine.shared.clock, backoff).await?;
    if let Some(limit) = engine.session_limit_for(user, token, instead) {
        engine.report_limit(limit);
        return Err(LoginError::LimitReached(limit));
    }
    let push_check =
        engine.login.lock_limiter().check_push(token, attempt.initiator(), attempt.started_at.mono);
    push_check.map_err(LoginError::RateLimited)?;
    let request = AuthenticationRequest {
        methods: methods.unwrap_or_else(|| engine.config.methods_for(attempt.initiator())),
        duration: engine.config.session_duration,
    };
    let start = async || {
        if attempt.initiator().is_known_browser() {
            // The attempt may have waited, and been evicted in the meantime.
            let epoch = record_answer(engine.browser_epoch(user, token)).await?;
            browser_epoch.fetch_max(epoch, Ordering::AcqRel);
            if attempt.initiator().is_anonymous() {
                return Err(LoginError::AlreadyPending);
            }
        }
        let sent = engine.now();
        match attempt.abort_reason(sent) {
            Some(error) => Err(error),
            None => Ok((sent, engine.client.authenticate_user(token, &request).await)),
        }
    };
    let (mut sent, mut response) = start().await?;
    if response.as_ref().is_err_and(|error| error.kind() == ClientErrorKind::UnknownUser) {
        // The service does not know the user. The lookup table is right, unless the user was
        // removed from it in the meantime.
        let still = tokio::time::timeout(TOKEN_LOOKUP_TIMEOUT, engine.store.token(user)).await;
        if !still.is_ok_and(|still| still.is_ok_and(|still| still.as_ref() == Some(token))) {
            return Err(LoginError::NotEnrolled);
        }
        engine.client.add_users(std::slice::from_ref(token)).await.map_err(service_error)?;
        (sent, response) = start().await?;
    }
    let remote = response.map_err(service_error)?;
    let is_unknown = attempt.is_of_unknown_browser();
    let record = PackedRecord::new(user, token, &remote, &attempt.client, is_unknown);
    let session = Session::new(engine.shared.clone(), record, request.methods, sent);
    engine.shared.schedule.reschedule(&session, engine.now());
    Ok((session, phone))
}

/// The token store's result; an error if it takes too long.
async fn record_answer<T>(
    lookup: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, LoginError> {
    tokio::time::timeout(TOKEN_LOOKUP_TIMEOUT, lookup)
        .await
        .unwrap_or_else(|_| Err(StoreError::timed_out()))
        .map_err(|error| LoginError::Store(Arc::new(error)))
}

fn service_error(error: ClientError) -> LoginError {
    LoginError::Service(Arc::new(error))
}

/// Waits for the phone, then for the claim, then for a request that carries the credential. Ends
/// the session, here and at the service, if one of them does not come.
async fn await_result(
    engine: &Arc<Engine>,
    attempt: &Arc<Attempt>,
    session: &Arc<Session>,
    phone: DeviceLock,
) {
    let token = phone.token();
    let mut watch = session.watch();
    let mut browser = Watcher::new(attempt.clone());
    let decision = watch.wait_for(|session| match session.verdict() {
        Verdict::Allow => Some(true),
        Verdict::Ended => Some(false),
        Verdict::Pending | Verdict::Suspended | Verdict::Unavailable => None,
    });
    let approved = tokio::select! {
        biased;
        // After the deadline an approval is too late.
        error = browser.wait_for(|attempt| attempt.abort_reason(engine.now())) => Err(error),
        () = attempt.wait_obsolete() => Err(LoginError::AlreadyPending),
        decision = decision => Ok(decision),
    };
    match approved {
        Ok(true) => {}
        Ok(false) => {
            let status = session.lifecycle.status();
            if status == SessionStatus::Cancelled {
                engine.login.lock_limiter().record_decline(
                    token,
                    attempt.initiator(),
                    engine.now().mono,
                );
            }
            session.send_event(EventKind::LoginRejected { status });
            // The name stays taken until the deadline: others than this browser do not learn that
            // the user has said no.
            attempt.end(LoginError::Rejected(status));
            return;
        }
        Err(error) => {
            attempt.end(error);
            cancel_remote(engine, session).await;
            return;
        }
    }
    phone.approve(session);
    let settled = browser.wait_for(|attempt| match attempt.state.stage() {
        State::Claimed(_) => Some(true),
        State::Cancelled => Some(false),
        _ => None,
    });
    let ended = watch.wait_for(|session| (session.verdict() == Verdict::Ended).then_some(()));
    let claimed = tokio::select! {
        claimed = settled => claimed,
        () = ended => false,
        () = attempt.wait_obsolete() => false,
        () = tokio::time::sleep(CLAIM_TIMEOUT) => false,
    };
    // A browser that claims it at this very moment wins.
    if !claimed && attempt.end(LoginError::TimedOut) {
        cancel_remote(engine, session).await;
        return;
    }
    let presented = watch.wait_for(|session| (!session.is_claimable_again()).then_some(()));
    if tokio::time::timeout(CLAIM_TIMEOUT, presented).await.is_err() {
        end_unpresented(engine, attempt, session).await;
    }
}

/// Ends a claimed session if no request has carried its credential in time.
async fn end_unpresented(engine: &Arc<Engine>, attempt: &Arc<Attempt>, session: &Arc<Session>) {
    if session.end_unpresented() {
        attempt.watchers.wake();
        engine.spawn_remote_logout(session, LogoutPriority::Background).await.ok();
    }
}

/// Ends a session that no browser will claim, here at once. Waits for the first try at the service; the
/// others go on behind it.
async fn cancel_remote(engine: &Arc<Engine>, session: &Arc<Session>) {
    if session.end(EndReason::Unclaimed) {
        engine.spawn_remote_logout(session, LogoutPriority::Prompt).await.ok();
    }
}
