//! What goes on behind an attempt: which user it is for, when the phone may ring, what it says, and
//! whether a browser claims the result and gets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::client::{AuthenticationRequest, ClientError, ClientErrorKind};
use crate::engine::device_lock::DeviceLock;
use crate::engine::logouts::LogoutPriority;
use crate::engine::state::Engine;
use crate::events::event::{EndReason, EventKind};
use crate::login::attempt_state::State;
use crate::login::attempts::{Attempt, AttemptTarget, AttemptUser, LoginError};
use crate::protocol::SessionStatus;
use crate::session::live::Session;
use crate::session::notify::Watcher;
use crate::session::record::PackedRecord;
use crate::store::StoreError;
use crate::verdict::Verdict;

/// How long an approved result waits to be claimed before it is logged out at the service, and how
/// long the claimed one waits for a request that carries its credential.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the browser is told how its attempt ended.
const OUTCOME_RETENTION: Duration = Duration::from_secs(60);
/// How long the token store may take.
const TOKEN_LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Frees the name at the deadline, tells those who watch, and forgets the attempt when it is no
/// longer asked for.
pub(super) async fn evict_after_deadline(engine: Arc<Engine>, attempt: Arc<Attempt>) {
    let mut forgotten = Watcher::new(attempt.clone());
    let is_forgotten =
        forgotten.wait_for(|attempt| attempt.evicted.load(Ordering::Acquire).then_some(()));
    let clock = &engine.shared.clock;
    let times_out = async {
        tokio::time::sleep_until(clock.instant(attempt.deadline.mono)).await;
        engine.attempts.release_username(&attempt);
        attempt.watchers.wake();
        // What is approved late is over late.
        let is_settled = |attempt: &Arc<Attempt>| attempt.finished.load(Ordering::Acquire);
        let mut task = Watcher::new(attempt.clone());
        task.wait_for(|attempt| is_settled(attempt).then_some(())).await;
        tokio::time::sleep(OUTCOME_RETENTION).await;
        engine.attempts.by_key.remove(&attempt.key);
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
    pub(super) async fn run(self, who: AttemptTarget) {
        let (engine, attempt) = (&self.engine, &self.attempt);
        match start_authentication(engine, attempt, who).await {
            Ok((session, phone)) => await_result(engine, attempt, &session, phone).await,
            Err(error) => {
                tracing::debug!(?error, "a login did not start");
                engine.report_failed_login(&error);
                // Its name stays taken until the deadline, as that of a phone that rings.
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

/// Has the service ring the phone. The outcome of a failed call is unknown, so it is not repeated,
/// except after a 404, which says that nothing rang.
async fn start_authentication(
    engine: &Arc<Engine>,
    attempt: &Arc<Attempt>,
    who: AttemptTarget,
) -> Result<(Arc<Session>, DeviceLock), LoginError> {
    // Before anything is looked up: a name that does not exist costs the same.
    if attempt.began_as.is_anonymous() && !engine.spend_push() {
        return Err(LoginError::PushBudgetSpent);
    }
    let (instead, methods) =
        attempt.step_up_of.as_ref().map(|(old, methods)| (old, *methods)).unzip();
    let find = async {
        let user = match who {
            AttemptTarget::User(user) => Some(user),
            AttemptTarget::Username(name) => {
                engine.config.username_resolver.user(name.text).await?
            }
            AttemptTarget::StepUp(session, ..) => Some(session.user().into()),
        };
        let Some(id) = user else { return Ok(None) };
        let Some(token) = engine.store.token(&id).await? else { return Ok(None) };
        let browser_epoch = AtomicU64::new(engine.browser_epoch(&id, &token).await?);
        let mark = engine.browser_proofs.user_mark(&token);
        Ok(Some(AttemptUser { id, token, mark, browser_epoch }))
    };
    let found = record_answer(find).await?.ok_or(LoginError::NotEnrolled)?;
    let AttemptUser { id: user, token, browser_epoch, .. } = attempt.target.get_or_init(|| found);
    if attempt.initiator().is_anonymous() && !engine.attempts.reserves_username(attempt) {
        // Its proof is revoked, and another attempt has the name.
        return Err(LoginError::AlreadyPending);
    }
    let is_revoked = attempt.began_as.is_known_browser() && attempt.initiator().is_anonymous();
    if is_revoked && !engine.spend_push() {
        return Err(LoginError::PushBudgetSpent);
    }
    let phone = DeviceLock::acquire(engine, attempt, token).await?;
    let quiet_until = engine.logins().push_blocked_until(token, attempt.initiator());
    let quiet = tokio::time::sleep_until(engine.shared.clock.instant(quiet_until));
    attempt.run_unless_aborted(&engine.shared.clock, quiet).await?;
    if let Some(limit) = engine.session_limit_for(user, token, instead) {
        engine.report_limit(limit);
        return Err(LoginError::LimitReached(limit));
    }
    let spent = engine.logins().check_push(token, attempt.initiator(), attempt.started_at.mono);
    spent.map_err(LoginError::RateLimited)?;
    let asked = AuthenticationRequest {
        methods: methods.unwrap_or_else(|| engine.config.methods_for(attempt.initiator())),
        duration: engine.config.session_duration,
    };
    let start = async || {
        if attempt.initiator().is_known_browser() {
            // It may have waited, and been forgotten meanwhile.
            let epoch = record_answer(engine.browser_epoch(user, token)).await?;
            browser_epoch.fetch_max(epoch, Ordering::AcqRel);
            if attempt.initiator().is_anonymous() {
                return Err(LoginError::AlreadyPending);
            }
        }
        let sent = engine.now();
        match attempt.abort_reason(sent) {
            Some(why) => Err(why),
            None => Ok((sent, engine.client.authenticate_user(token, &asked).await)),
        }
    };
    let (mut sent, mut answer) = start().await?;
    if answer.as_ref().is_err_and(|error| error.kind() == ClientErrorKind::UnknownUser) {
        // The service lost the user, or never had them. The lookup table is right, unless they left
        // meanwhile.
        let still = tokio::time::timeout(TOKEN_LOOKUP_TIMEOUT, engine.store.token(user)).await;
        if !still.is_ok_and(|still| still.is_ok_and(|still| still.as_ref() == Some(token))) {
            return Err(LoginError::NotEnrolled);
        }
        engine.client.add_users(std::slice::from_ref(token)).await.map_err(service_error)?;
        (sent, answer) = start().await?;
    }
    let remote = answer.map_err(service_error)?;
    let is_unknown = attempt.is_of_unknown_browser();
    let record = PackedRecord::new(user, token, &remote, &attempt.client, is_unknown);
    let session = Session::new(engine.shared.clone(), record, asked.methods, sent);
    engine.shared.schedule.reschedule(&session, engine.now());
    Ok((session, phone))
}

/// What the token store answers, if it does in time.
async fn record_answer<T>(
    asking: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, LoginError> {
    tokio::time::timeout(TOKEN_LOOKUP_TIMEOUT, asking)
        .await
        .unwrap_or_else(|_| Err(StoreError::timed_out()))
        .map_err(|error| LoginError::Store(Arc::new(error)))
}

fn service_error(error: ClientError) -> LoginError {
    LoginError::Service(Arc::new(error))
}

/// Waits for the phone, then for the browser to claim the result, then for a request that carries
/// the credential. Ends what does not get so far, here and at the service.
async fn await_result(
    engine: &Arc<Engine>,
    attempt: &Arc<Attempt>,
    session: &Arc<Session>,
    phone: DeviceLock,
) {
    let token = phone.token();
    let mut news = session.watch();
    let mut browser = Watcher::new(attempt.clone());
    let answered = news.wait_for(|session| match session.verdict() {
        Verdict::Allow => Some(true),
        Verdict::Ended => Some(false),
        Verdict::Pending | Verdict::Suspended | Verdict::Unavailable => None,
    });
    let approved = tokio::select! {
        biased;
        // At the deadline it is too late for an approval.
        why = browser.wait_for(|attempt| attempt.abort_reason(engine.now())) => Err(why),
        () = attempt.wait_obsolete() => Err(LoginError::AlreadyPending),
        answered = answered => Ok(answered),
    };
    match approved {
        Ok(true) => {}
        Ok(false) => {
            let status = session.status();
            if status == SessionStatus::Cancelled {
                engine.logins().record_decline(token, attempt.initiator(), engine.now().mono);
            }
            session.send_event(EventKind::LoginRefused { status });
            // The name stays taken until the deadline: others than this browser do not learn that
            // the user has said no.
            attempt.end(LoginError::Rejected(status));
            return;
        }
        Err(why) => {
            attempt.end(why);
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
    let over = news.wait_for(|session| (session.verdict() == Verdict::Ended).then_some(()));
    let claimed = tokio::select! {
        claimed = settled => claimed,
        () = over => false,
        () = attempt.wait_obsolete() => false,
        () = tokio::time::sleep(CLAIM_TIMEOUT) => false,
    };
    // A browser that claims it at this very moment wins.
    if !claimed && attempt.end(LoginError::TimedOut) {
        cancel_remote(engine, session).await;
        return;
    }
    let presented = news.wait_for(|session| (!session.is_claimable_again()).then_some(()));
    if tokio::time::timeout(CLAIM_TIMEOUT, presented).await.is_err() {
        end_unpresented(engine, attempt, session).await;
    }
}

/// Ends a session that was claimed, and whose credential no request has carried in time.
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
