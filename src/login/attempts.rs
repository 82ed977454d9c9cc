//! One try to log in: it belongs to the browser that started it, and makes one session at most.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dashmap::DashMap;

use crate::client::ClientError;
use crate::clock::{Clock, Timestamp};
use crate::events::event::Limit;
use crate::identity::{AttemptCredential, AttemptKey, SessionCredential, UserId, UserToken};
use crate::login::attempt_state::{AttemptState, State};
use crate::login::browser_proofs::{BrowserId, BrowserProof, UserMark};
use crate::login::login_limits::Initiator;
use crate::login::username::{LoginKey, Username};
use crate::protocol::{AuthMethods, SessionStatus};
use crate::session::client_details::ClientDetails;
use crate::session::live::Session;
use crate::session::notify::{Notifies, WakerList, Watcher};
use crate::session::record::PackedRecord;
use crate::store::StoreError;
use crate::verdict::Verdict;

/// All attempts, by the key of their credential and by the name that they reserve.
#[derive(Debug)]
pub(crate) struct Attempts {
    pub(crate) by_key: DashMap<AttemptKey, Arc<Attempt>>,
    /// The attempt that reserves a name until its deadline, whatever its result: other anonymous
    /// browsers are rejected until then. An attempt that supersedes it leaves the reservation, so
    /// that its browser and others see the same as for a name that does not exist.
    pub(crate) reservations: DashMap<LoginKey, Arc<Attempt>>,
}

pub(crate) struct Attempt {
    pub(crate) key: AttemptKey,
    /// The first of the attempts that one browser started, each with the credential of the previous
    /// one: the same value in all of them.
    pub(crate) browser: AttemptKey,
    pub(crate) name: LoginKey,
    /// The name as it was typed, or the user's id: the waiting page shows it.
    pub(crate) shown_name: Box<str>,
    /// Beside another login: the user that it named.
    pub(crate) user: Option<UserId>,
    /// The initiator at the start, when it is not known yet whether a known browser's proof is
    /// revoked.
    pub(crate) began_as: Initiator,
    /// The result is delivered in the body of a response, never in a cookie.
    pub(crate) deliver_in_body: bool,
    /// The session to confirm, and the methods; the result replaces that session.
    pub(crate) step_up_of: Option<(Arc<Session>, AuthMethods)>,
    /// The client that started the attempt, for the session's record.
    pub(crate) client: ClientDetails,
    pub(crate) started_at: Timestamp,
    pub(crate) deadline: Timestamp,
    /// The user of the phone, once that is known.
    pub(crate) target: OnceLock<AttemptUser>,
    pub(crate) state: AttemptState<Arc<Session>, LoginError>,
    /// The task has ended: the start has its response, unclaimed sessions were logged out at the
    /// service, and a claimed credential was presented.
    pub(crate) finished: AtomicBool,
    pub(crate) evicted: AtomicBool,
    pub(crate) watchers: WakerList,
}

/// The user of an attempt, as the token store knows them.
pub(crate) struct AttemptUser {
    pub(crate) id: UserId,
    pub(crate) token: UserToken,
    /// Proofs of another mark are revoked.
    pub(crate) mark: UserMark,
    /// Proofs of an earlier epoch are revoked. The epoch rises if browsers are forgotten before the
    /// push.
    pub(crate) browser_epoch: AtomicU64,
}

/// The proof that makes the browser a known one.
#[derive(Debug)]
pub(crate) struct BrowserToRemember {
    pub(crate) name: LoginKey,
    pub(crate) proof: BrowserProof,
}

/// The result of an attempt, for the browser that started it.
#[derive(Debug)]
pub(crate) struct ClaimedSession {
    pub(crate) credential: SessionCredential,
    pub(crate) session: Arc<Session>,
    /// None if the login had no name, as one that confirms.
    pub(crate) remember_as: Option<BrowserToRemember>,
    /// Whether the credential is delivered in a body.
    pub(crate) deliver_in_body: bool,
}

/// An attempt, and the secret that names it, from which its session's credential is derived.
#[derive(Clone, Debug)]
pub(crate) struct NamedAttempt {
    pub(crate) credential: AttemptCredential,
    pub(crate) attempt: Arc<Attempt>,
}

/// The request that starts an attempt.
#[derive(Debug)]
pub(crate) struct StartAttempt<'a> {
    pub(crate) target: AttemptTarget,
    pub(crate) initiator: Initiator,
    /// The previous attempt of the same browser.
    pub(crate) previous_attempt: Option<&'a AttemptCredential>,
    /// Whether the result is delivered in the body of a response instead of a cookie.
    pub(crate) deliver_in_body: bool,
    pub(crate) client: ClientDetails,
}

/// The target of an attempt.
#[derive(Debug)]
pub(crate) enum AttemptTarget {
    /// A typed name.
    Username(Username),
    /// A user that another login, or the application itself, vouches for.
    User(UserId),
    /// The user of a session, who has to confirm with these methods; and the user that another
    /// login names.
    StepUp(Arc<Session>, AuthMethods, Option<UserId>),
}

/// Why a login failed. The browser does not learn it; [`Activeconnect::log_in`] returns it to its
/// caller.
///
/// [`Activeconnect::log_in`]: crate::Activeconnect::log_in
#[derive(Clone)]
#[non_exhaustive]
pub enum LoginError {
    /// The token store has no token for this user.
    NotEnrolled,
    /// The token store failed, or did not respond in time.
    Store(Arc<StoreError>),
    /// The service did not start the login.
    Service(Arc<ClientError>),
    /// The user declined, or the phone could not authenticate the user; the status says which.
    Rejected(SessionStatus),
    /// The phone did not respond in time.
    TimedOut,
    /// Another attempt for the same user waits, or took this one's place.
    AlreadyPending,
    /// Too many logins of this user since the last that succeeded; try again after this time.
    RateLimited(Duration),
    /// The builder's maximum of sessions or logins is reached.
    LimitReached(Limit),
    /// The engine was dropped or shut down, or the runtime that it was built on was.
    Aborted,
    /// An anonymous client started it, and this month's
    /// [`ActiveconnectBuilder::push_budget`](crate::ActiveconnectBuilder::push_budget) is spent.
    /// Never from [`Activeconnect::log_in`](crate::Activeconnect::log_in).
    PushBudgetSpent,
    /// The operating system has no randomness to give.
    Rng,
}

crate::error_debug::debug_as_message!(LoginError);

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEnrolled => f.write_str("the user is not enrolled; call enroll first"),
            Self::Store(error) => error.fmt(f),
            Self::Service(error) => error.fmt(f),
            Self::Rejected(status) => write!(f, "the phone did not let the user in: {status}"),
            Self::TimedOut => f.write_str("the phone did not answer in time"),
            Self::AlreadyPending => {
                f.write_str("another login of the same user is waiting for the phone")
            }
            Self::RateLimited(after) => {
                write!(f, "too many logins; try again in {} s", after.as_secs().max(1))
            }
            Self::LimitReached(limit) => write!(f, "as many as {limit} allows; wait, or raise it"),
            Self::Aborted => f.write_str("the login was interrupted; try again"),
            Self::PushBudgetSpent => f.write_str("this month's push budget is spent; reset it"),
            Self::Rng => f.write_str("the operating system has no randomness to give"),
        }
    }
}

impl std::error::Error for LoginError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // The message is the inner error's own, and so is the source.
            Self::Store(error) => error.source(),
            Self::Service(error) => error.source(),
            _ => None,
        }
    }
}

impl AttemptTarget {
    /// The key under which the attempt is reserved, counted and proven.
    pub(crate) fn key(&self) -> LoginKey {
        match self {
            Self::Username(name) => LoginKey::Username(name.normalized.clone()),
            Self::User(user) => LoginKey::User(user.clone()),
            Self::StepUp(session, ..) => LoginKey::User(session.user().into()),
        }
    }

    pub(crate) fn shown_name(&self) -> &str {
        match self {
            Self::Username(name) => &name.text,
            Self::User(user) => user.as_str(),
            Self::StepUp(session, ..) => session.user(),
        }
    }
}

impl LoginError {
    /// Whether an anonymous browser sees the end: the deadline, or the time for the claim of an
    /// approved result, is over. Any other failure looks as if the phone did not respond.
    fn is_reported(&self) -> bool {
        matches!(self, Self::TimedOut)
    }
}

impl AttemptUser {
    fn has_revoked(&self, proof: &BrowserProof) -> bool {
        proof.is_revoked(self.mark, self.browser_epoch.load(Ordering::Acquire))
    }
}

impl Attempts {
    pub(crate) fn new() -> Self {
        Self { by_key: DashMap::new(), reservations: DashMap::new() }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Attempt>> {
        self.by_key.iter().map(|attempt| attempt.clone()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn find(&self, credential: &AttemptCredential) -> Option<Arc<Attempt>> {
        self.by_key.get(&credential.key()).map(|attempt| attempt.clone())
    }

    /// The attempt whose credential a request carries, with that credential.
    pub(crate) fn find_named(&self, credential: AttemptCredential) -> Option<NamedAttempt> {
        let attempt = self.find(&credential)?;
        Some(NamedAttempt { credential, attempt })
    }

    /// Removes an attempt for which no browser asks any more.
    pub(crate) fn evict(&self, attempt: &Arc<Attempt>) {
        self.by_key.remove(&attempt.key);
        attempt.evicted.store(true, Ordering::Release);
        attempt.watchers.wake();
    }

    /// Whether the attempt is the one that reserves its name.
    pub(crate) fn reserves_username(&self, attempt: &Arc<Attempt>) -> bool {
        let holder = self.reservations.get(&attempt.name);
        holder.is_some_and(|holder| Arc::ptr_eq(&holder, attempt))
    }

    /// Releases the name for the next attempt.
    pub(crate) fn release_username(&self, attempt: &Arc<Attempt>) {
        self.reservations.remove_if(&attempt.name, |_, holder| Arc::ptr_eq(holder, attempt));
    }
}

impl Attempt {
    /// Whether its browser sees the end: the attempt failed, as far as that browser may know, or
    /// its result was claimed and cannot be claimed again.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        match self.state.stage() {
            State::Approved(_) => false,
            State::Claimed(session) => !session.is_claimable_again(),
            // A known initiator may learn it at once.
            State::Failed(_) if self.initiator().is_known() => true,
            State::Failed(why) if why.is_reported() => true,
            _ => self.deadline.is_elapsed(now),
        }
    }

    /// Whether it runs, or its result waits to be claimed.
    pub(crate) fn is_pending(&self, now: Timestamp) -> bool {
        match self.state.stage() {
            State::Approved(_) => true,
            State::Claimed(session) => session.is_claimable_again(),
            // The initiator is known and may learn of a failure at once.
            State::Failed(_) if self.step_up_of.is_some() => false,
            State::Failed(why) if why.is_reported() => false,
            _ => !self.deadline.is_elapsed(now),
        }
    }

    /// The session that an approval made.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        match self.state.stage() {
            State::Approved(session) | State::Claimed(session) => Some(session),
            _ => None,
        }
    }

    /// The session to confirm and the methods, if it is a step-up.
    pub(crate) fn step_up_of(&self) -> Option<AuthMethods> {
        self.step_up_of.as_ref().map(|(_, methods)| *methods)
    }

    /// Why it came to nothing, once it did.
    pub(crate) fn failure(&self) -> Option<LoginError> {
        match self.state.stage() {
            State::Failed(why) => Some(why),
            _ => None,
        }
    }

    /// The name as it was typed, or the user's id.
    pub(crate) fn shown_name(&self) -> &str {
        &self.shown_name
    }

    /// Whether its result is delivered in the body of a response.
    pub(crate) fn is_bearer(&self) -> bool {
        self.deliver_in_body
    }

    /// Whether the user that another login names may claim it.
    pub(crate) fn is_allowed_for(&self, user: Option<&UserId>) -> bool {
        self.user.is_none() || self.user.as_ref() == user
    }

    /// The proven initiator: a browser counts as anonymous until its proof is found valid, and for
    /// good if the proof is revoked.
    pub(crate) fn initiator(&self) -> Initiator {
        let user = self.target.get();
        match self.began_as {
            Initiator::KnownBrowser(proof) if user.is_none_or(|user| user.has_revoked(&proof)) => {
                Initiator::Anonymous(None)
            }
            initiator => initiator,
        }
    }

    /// Whether its session is of an unknown browser or a program. A step-up keeps the value of its
    /// session.
    pub(crate) fn is_of_unknown_browser(&self) -> bool {
        let before = self.step_up_of.as_ref().map(|(session, _)| &session.record);
        self.initiator().is_anonymous() || before.is_some_and(PackedRecord::is_of_unknown_browser)
    }

    /// The proof for the browser that claims the result. It has the epoch that was read before the
    /// push, so that browsers forgotten since then include this one.
    pub(crate) fn known_as(&self) -> Option<BrowserToRemember> {
        let user = self.target.get()?;
        let epoch = user.browser_epoch.load(Ordering::Acquire);
        let browser = match self.initiator() {
            Initiator::KnownBrowser(proof) => proof.browser,
            _ => BrowserId::of_attempt(self.browser),
        };
        let proof = BrowserProof { browser, user: user.mark, epoch };
        self.step_up_of.is_none().then(|| BrowserToRemember { name: self.name.clone(), proof })
    }

    pub(crate) fn cancel(&self) -> Option<Arc<Session>> {
        let claimed = self.state.cancel();
        self.watchers.wake();
        claimed
    }

    /// It confirms a session that has ended.
    pub(crate) fn is_obsolete(&self) -> bool {
        let confirms = self.step_up_of.as_ref();
        confirms.is_some_and(|(session, _)| session.verdict() == Verdict::Ended)
    }

    /// Waits until it is obsolete.
    pub(crate) async fn wait_obsolete(&self) {
        let Some((session, _)) = &self.step_up_of else { return std::future::pending().await };
        let mut session = session.watch();
        session.wait_for(|session| (session.verdict() == Verdict::Ended).then_some(())).await;
    }

    /// Whether it is of this user or of the user's token, as far as that is known yet.
    pub(crate) fn belongs_to(&self, user: &UserId, token: Option<&UserToken>) -> bool {
        let confirms = self.step_up_of.as_ref().map(|(session, _)| session.user());
        let rings = self.target.get().map(|user| user.id.as_str());
        self.user.as_ref() == Some(user)
            || [confirms, rings].contains(&Some(user.as_str()))
            || self.target.get().is_some_and(|user| Some(&user.token) == token)
    }

    /// Why its push is not needed any more, if so.
    pub(crate) fn abort_reason(&self, now: Timestamp) -> Option<LoginError> {
        if matches!(self.state.stage(), State::Cancelled) || self.is_obsolete() {
            return Some(LoginError::AlreadyPending);
        }
        self.deadline.is_elapsed(now).then_some(LoginError::TimedOut)
    }

    /// Waits for `what`, unless the attempt is cancelled before.
    pub(crate) async fn run_unless_aborted(
        self: &Arc<Self>,
        clock: &Clock,
        what: impl Future<Output = ()>,
    ) -> Result<(), LoginError> {
        let mut browser = Watcher::new(self.clone());
        tokio::select! {
            biased;
            why = browser.wait_for(|attempt| attempt.abort_reason(clock.now())) => Err(why),
            () = what => Ok(()),
        }
    }

    /// Whether it runs, and its result is open.
    pub(crate) fn is_waiting(&self, now: Timestamp) -> bool {
        matches!(self.state.stage(), State::Pending) && !self.deadline.is_elapsed(now)
    }

    /// Whether no phone waits for it, nor will.
    pub(crate) fn is_device_idle(&self) -> bool {
        let answered = matches!(self.state.stage(), State::Approved(_) | State::Claimed(_));
        answered || self.finished.load(Ordering::Acquire)
    }

    /// Fails the attempt unless it is settled already; returns whether it did.
    pub(crate) fn end(&self, why: LoginError) -> bool {
        let ended = self.state.end(why);
        self.watchers.wake();
        ended
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").finish_non_exhaustive()
    }
}

impl Notifies for Arc<Attempt> {
    fn watchers(&self) -> &WakerList {
        &self.watchers
    }
}
