//! What goes on behind an attempt: which user it is for, when the phone may ring, what it says, and
//! whether a browser claims the result and gets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::device::DeviceLock;
use super::{Attempt, AttemptUser, LogInError, Who};
use crate::client::{Authentication, ClientErrorKind};
use crate::engine::Engine;
use crate::engine::events::{EndReason, EventKind};
use crate::engine::logouts::LogoutPriority;
use crate::engine::outcome::Stage;
use crate::engine::record::Record;
use crate::engine::session::Session;
use crate::engine::watchers::Watch;
use crate::protocol::SessionStatus;
use crate::store::StoreError;
use crate::verdict::Verdict;

/// How long an approved result waits to be claimed before it is logged out at the service, and how
/// long the claimed one waits for a request that carries its credential.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the browser is told how its attempt ended.
const REMEMBER: Duration = Duration::from_secs(60);
/// How long the token store may take.
const STORE: Duration = Duration::from_secs(5);

/// Frees the name at the deadline, tells those who watch, and forgets the attempt when it is no
/// longer asked for.
pub(super) async fn forget(engine: Arc<Engine>, attempt: Arc<Attempt>) {
    let mut forgotten = Watch::new(attempt.clone());
    let is_forgotten =
        forgotten.until(|attempt| attempt.forgotten.load(Ordering::Acquire).then_some(()));
    let clock = &engine.upkeep.clock;
    let times_out = async {
        tokio::time::sleep_until(clock.instant(attempt.deadline.mono)).await;
        engine.attempts.release_name(&attempt);
        attempt.watchers.wake();
        // What is approved late is over late.
        let is_settled = |attempt: &Arc<Attempt>| attempt.settled.load(Ordering::Acquire);
        let mut task = Watch::new(attempt.clone());
        task.until(|attempt| is_settled(attempt).then_some(())).await;
        tokio::time::sleep(REMEMBER).await;
        engine.attempts.by_key.remove(&attempt.key);
    };
    tokio::select! {
        () = is_forgotten => {}
        () = times_out => {}
    }
}

/// The attempt's own task. However it ends, the attempt is settled then.
pub(super) struct Ringing {
    pub(super) engine: Arc<Engine>,
    pub(super) attempt: Arc<Attempt>,
}

impl Ringing {
    pub(super) async fn run(self, who: Who) {
        let (engine, attempt) = (&self.engine, &self.attempt);
        match ring(engine, attempt, who).await {
            Ok((session, phone)) => wait(engine, attempt, &session, phone).await,
            Err(error) => {
                tracing::debug!(%error, "a login did not start");
                engine.report_failed_login(&error);
                // Its name stays taken until the deadline, as that of a phone that rings.
                attempt.end(error);
            }
        }
    }
}

impl Drop for Ringing {
    fn drop(&mut self) {
        self.attempt.end(LogInError::Interrupted);
        self.attempt.settled.store(true, Ordering::Release);
        self.attempt.watchers.wake();
    }
}

/// Has the service ring the phone. The outcome of a failed call is unknown, so it is not repeated,
/// except after a 404, which says that nothing rang.
async fn ring(
    engine: &Arc<Engine>,
    attempt: &Arc<Attempt>,
    who: Who,
) -> Result<(Arc<Session>, DeviceLock), LogInError> {
    // Before anything is looked up: a name that does not exist costs the same.
    if attempt.began_as.is_anonymous() && !engine.spend_push() {
        return Err(LogInError::PushBudgetSpent);
    }
    let (instead, methods) =
        attempt.confirms.as_ref().map(|(old, methods)| (old, *methods)).unzip();
    let find = async {
        let user = match who {
            Who::Known(user) => Some(user),
            Who::Typed(name) => engine.settings.username_resolver.user(name.text).await?,
            Who::Confirms(session, ..) => Some(session.user().into()),
        };
        let Some(id) = user else { return Ok(None) };
        let Some(token) = engine.store.token(&id).await? else { return Ok(None) };
        let browser_epoch = AtomicU64::new(engine.browser_epoch(&id, &token).await?);
        let mark = engine.known_browsers.user_mark(&token);
        Ok(Some(AttemptUser { id, token, mark, browser_epoch }))
    };
    let found = answered(find).await?.ok_or(LogInError::NotEnrolled)?;
    let AttemptUser { id: user, token, browser_epoch, .. } = attempt.rings.get_or_init(|| found);
    if attempt.initiator().is_anonymous() && !engine.attempts.reserves_name(attempt) {
        // Its proof is revoked, and another attempt has the name.
        return Err(LogInError::Busy);
    }
    let is_revoked = attempt.began_as.is_known_browser() && attempt.initiator().is_anonymous();
    if is_revoked && !engine.spend_push() {
        return Err(LogInError::PushBudgetSpent);
    }
    let phone = DeviceLock::acquire(engine, attempt, token).await?;
    let quiet_until = engine.logins().push_blocked_until(token, attempt.initiator());
    let quiet = tokio::time::sleep_until(engine.upkeep.clock.instant(quiet_until));
    attempt.while_wanted(engine, quiet).await?;
    if let Some(limit) = engine.full_for(user, token, instead) {
        engine.limit_hit(limit);
        return Err(LogInError::Full(limit));
    }
    let spent = engine.logins().check_push(token, attempt.initiator(), attempt.begun.mono);
    spent.map_err(LogInError::TooMany)?;
    let asked = Authentication {
        methods: methods.unwrap_or_else(|| engine.settings.methods_for(attempt.initiator())),
        duration: engine.settings.session_duration,
    };
    let start = async || {
        if attempt.initiator().is_known_browser() {
            // It may have waited, and been forgotten meanwhile.
            let epoch = answered(engine.browser_epoch(user, token)).await?;
            browser_epoch.fetch_max(epoch, Ordering::AcqRel);
            if attempt.initiator().is_anonymous() {
                return Err(LogInError::Busy);
            }
        }
        let sent = engine.now();
        match attempt.given_up(sent) {
            Some(why) => Err(why),
            None => Ok((sent, engine.client.authenticate_user(token, &asked).await)),
        }
    };
    let (mut sent, mut answer) = start().await?;
    if answer.as_ref().is_err_and(|error| error.kind() == ClientErrorKind::UnknownUser) {
        // The service lost the user, or never had them. The lookup table is right, unless they left
        // meanwhile.
        let still = tokio::time::timeout(STORE, engine.store.token(user)).await;
        if !still.is_ok_and(|still| still.is_ok_and(|still| still.as_ref() == Some(token))) {
            return Err(LogInError::NotEnrolled);
        }
        engine.client.add_users(std::slice::from_ref(token)).await.map_err(LogInError::Service)?;
        (sent, answer) = start().await?;
    }
    let remote = answer.map_err(LogInError::Service)?;
    let is_unknown = attempt.is_of_unknown_browser();
    let record = Record::new(user, token, &remote, &attempt.client, is_unknown);
    let session = Session::new(engine.upkeep.clone(), record, asked.methods, sent);
    engine.upkeep.schedule.reset(&session, engine.now());
    Ok((session, phone))
}

/// What the token store answers, if it does in time.
async fn answered<T>(asking: impl Future<Output = Result<T, StoreError>>) -> Result<T, LogInError> {
    tokio::time::timeout(STORE, asking)
        .await
        .map_err(|_| LogInError::Store(None))?
        .map_err(|error| LogInError::Store(Some(error)))
}

/// Waits for the phone, then for the browser to claim the result, then for a request that carries
/// the credential. Ends what does not get so far, here and at the service.
async fn wait(
    engine: &Arc<Engine>,
    attempt: &Arc<Attempt>,
    session: &Arc<Session>,
    phone: DeviceLock,
) {
    let token = phone.token();
    let mut news = session.watch();
    let mut browser = Watch::new(attempt.clone());
    let answered = news.until(|session| match session.verdict() {
        Verdict::Allow => Some(true),
        Verdict::Ended => Some(false),
        Verdict::Pending | Verdict::Suspended | Verdict::Unavailable => None,
    });
    let approved = tokio::select! {
        biased;
        // At the deadline it is too late for an approval.
        why = browser.until(|attempt| attempt.given_up(engine.now())) => Err(why),
        () = attempt.becomes_pointless() => Err(LogInError::Busy),
        answered = answered => Ok(answered),
    };
    match approved {
        Ok(true) => {}
        Ok(false) => {
            let status = session.status();
            if status == SessionStatus::Cancelled {
                engine.logins().record_decline(token, attempt.initiator(), engine.now().mono);
            }
            session.tell(EventKind::LoginRefused { status });
            // The name stays taken until the deadline: others than this browser do not learn that
            // the user has said no.
            attempt.end(LogInError::Refused(status));
            return;
        }
        Err(why) => {
            attempt.end(why);
            withdraw(engine, session).await;
            return;
        }
    }
    phone.approve(session);
    let settled = browser.until(|attempt| match attempt.outcome.stage() {
        Stage::Claimed(_) => Some(true),
        Stage::Cancelled => Some(false),
        _ => None,
    });
    let over = news.until(|session| (session.verdict() == Verdict::Ended).then_some(()));
    let claimed = tokio::select! {
        claimed = settled => claimed,
        () = over => false,
        () = attempt.becomes_pointless() => false,
        () = tokio::time::sleep(CLAIM_TIMEOUT) => false,
    };
    // A browser that claims it at this very moment wins.
    if !claimed && attempt.end(LogInError::TimedOut) {
        withdraw(engine, session).await;
        return;
    }
    let presented = news.until(|session| (!session.is_claimable_again()).then_some(()));
    if tokio::time::timeout(CLAIM_TIMEOUT, presented).await.is_err() {
        end_unpresented(engine, attempt, session).await;
    }
}

/// Ends a session that was claimed, and whose credential no request has carried in time.
async fn end_unpresented(engine: &Arc<Engine>, attempt: &Arc<Attempt>, session: &Arc<Session>) {
    if session.end_unpresented() {
        attempt.watchers.wake();
        engine.end_remotely(session, LogoutPriority::Background).await.ok();
    }
}

/// Ends a session that no browser will claim, here at once. Waits for the first try at the service; the
/// others go on behind it.
async fn withdraw(engine: &Arc<Engine>, session: &Arc<Session>) {
    if session.end(EndReason::Unclaimed) {
        engine.end_remotely(session, LogoutPriority::Prompt).await.ok();
    }
}
