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

/// Every attempt, by what its browser holds and by the name it was begun with.
#[derive(Debug)]
pub(crate) struct Attempts {
    pub(crate) by_key: DashMap<AttemptKey, Arc<Attempt>>,
    /// The attempt that reserves a name until its deadline, whatever comes of it before: other
    /// anonymous browsers are refused meanwhile. What goes before it leaves the reservation as it
    /// is, so that its browser and others see what they see for a name that does not exist.
    pub(crate) reservations: DashMap<LoginKey, Arc<Attempt>>,
}

pub(crate) struct Attempt {
    pub(crate) key: AttemptKey,
    /// The first attempt in the row of those that one browser began, each with the last one's
    /// credential: the same in all of them.
    pub(crate) browser: AttemptKey,
    pub(crate) name: LoginKey,
    /// The name as it was typed, or the id of the user who is asked: what the waiting page shows.
    pub(crate) shown_name: Box<str>,
    /// Beside another login: the user that it named.
    pub(crate) user: Option<UserId>,
    /// Who began it, as the start showed: of a known browser's proof it is not known then whether it
    /// is revoked.
    pub(crate) began_as: Initiator,
    /// The result is handed over in an answer's body, never in a cookie.
    pub(crate) deliver_in_body: bool,
    /// The session whose user is asked anew, and for what; the result takes its place.
    pub(crate) step_up_of: Option<(Arc<Session>, AuthMethods)>,
    /// What is to be recorded of the client that began it.
    pub(crate) client: ClientDetails,
    pub(crate) started_at: Timestamp,
    pub(crate) deadline: Timestamp,
    /// Whose phone it rings, once that is known.
    pub(crate) target: OnceLock<AttemptUser>,
    pub(crate) state: AttemptState<Arc<Session>, LoginError>,
    /// Its task is over: its start has come back, the service was asked to log out what no browser
    /// claimed, and the credential of what one did was presented.
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
    /// Proofs of an earlier epoch are revoked. It rises if browsers are forgotten before the phone
    /// rings.
    pub(crate) browser_epoch: AtomicU64,
}

/// By what a browser is known from now on.
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
    /// It is to be handed over in a body.
    pub(crate) deliver_in_body: bool,
}

/// An attempt, and the secret that names it, from which its session's credential is derived.
#[derive(Clone, Debug)]
pub(crate) struct NamedAttempt {
    pub(crate) credential: AttemptCredential,
    pub(crate) attempt: Arc<Attempt>,
}

/// What a client asks for that begins an attempt.
#[derive(Debug)]
pub(crate) struct StartAttempt<'a> {
    pub(crate) target: AttemptTarget,
    pub(crate) initiator: Initiator,
    /// The attempt that the same browser began before.
    pub(crate) previous_attempt: Option<&'a AttemptCredential>,
    /// The result is to be handed over in an answer's body, not in a cookie.
    pub(crate) deliver_in_body: bool,
    pub(crate) client: ClientDetails,
}

/// Who an attempt is for.
#[derive(Debug)]
pub(crate) enum AttemptTarget {
    /// A typed name.
    Username(Username),
    /// A user that another login, or the application itself, vouches for.
    User(UserId),
    /// The user of a session, to be asked for these methods; and the user that another login names.
    StepUp(Arc<Session>, AuthMethods, Option<UserId>),
}

/// Why a login came to nothing. The browser is not told; [`Activeconnect::log_in`] tells its
/// caller.
///
/// [`Activeconnect::log_in`]: crate::Activeconnect::log_in
#[derive(Clone)]
#[non_exhaustive]
pub enum LoginError {
    /// The token store has no token for this user.
    NotEnrolled,
    /// The token store failed, or did not answer in time.
    Store(Arc<StoreError>),
    /// The service did not start the login.
    Service(Arc<ClientError>),
    /// The phone answered no, or failed to authenticate the user; the status says which.
    Rejected(SessionStatus),
    /// The phone did not answer in time.
    TimedOut,
    /// Another attempt for the same user waits, or took this one's place.
    AlreadyPending,
    /// Too many logins of this user since the last that succeeded; try again after this time.
    RateLimited(Duration),
    /// There are as many sessions, or logins, as the builder allows.
    LimitReached(Limit),
    /// The engine was dropped or shut down, or the runtime that it was built on was.
    Aborted,
    /// A stranger began it, and what their pushes may cost this month is spent
    /// ([`ActiveconnectBuilder::push_budget`](crate::ActiveconnectBuilder::push_budget)). Never of
    /// [`Activeconnect::log_in`](crate::Activeconnect::log_in).
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
    /// What the attempt is reserved, counted and proven by.
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
    /// Whether an anonymous browser is told: the time is over, be it the deadline's, or that for
    /// the claim of what was approved. Anything else looks as if the phone did not answer.
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

    /// The attempt whose secret a request carries, with that secret.
    pub(crate) fn find_named(&self, credential: AttemptCredential) -> Option<NamedAttempt> {
        let attempt = self.find(&credential)?;
        Some(NamedAttempt { credential, attempt })
    }

    /// No browser asks for this attempt any more.
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

    /// The next attempt for this name may begin.
    pub(crate) fn release_username(&self, attempt: &Arc<Attempt>) {
        self.reservations.remove_if(&attempt.name, |_, holder| Arc::ptr_eq(holder, attempt));
    }
}

impl Attempt {
    /// Whether its browser is told that it is over: it came to nothing, as far as that browser may
    /// know, or its result was claimed and can't be claimed again.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        match self.state.stage() {
            State::Approved(_) => false,
            State::Claimed(session) => !session.is_claimable_again(),
            // Who is known may know at once.
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
            // Its user is known: they may be told at once that it came to nothing.
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

    /// What the user of a session is asked for, if it is that.
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

    /// The name as it was typed, or the id of the user who is asked.
    pub(crate) fn shown_name(&self) -> &str {
        &self.shown_name
    }

    /// Whether its result goes into an answer's body.
    pub(crate) fn is_bearer(&self) -> bool {
        self.deliver_in_body
    }

    /// Whether it is this user's, as far as another login says.
    pub(crate) fn is_allowed_for(&self, user: Option<&UserId>) -> bool {
        self.user.is_none() || self.user.as_ref() == user
    }

    /// Who began it, as far as that is proven: a browser counts as any other until its proof is
    /// found valid, and for good if the proof is revoked.
    pub(crate) fn initiator(&self) -> Initiator {
        let user = self.target.get();
        match self.began_as {
            Initiator::KnownBrowser(proof) if user.is_none_or(|user| user.has_revoked(&proof)) => {
                Initiator::Anonymous(None)
            }
            initiator => initiator,
        }
    }

    /// Whether its session is one of a browser that was not known, or of a program. That of one which
    /// confirms stays so.
    pub(crate) fn is_of_unknown_browser(&self) -> bool {
        let before = self.step_up_of.as_ref().map(|(session, _)| &session.record);
        self.initiator().is_anonymous() || before.is_some_and(PackedRecord::is_of_unknown_browser)
    }

    /// By what its browser is known once it claims the result. The proof is of the epoch that was
    /// read before the phone rang: browsers that are forgotten meanwhile include this one.
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

    /// It confirms a session that is over.
    pub(crate) fn is_obsolete(&self) -> bool {
        let confirms = self.step_up_of.as_ref();
        confirms.is_some_and(|(session, _)| session.verdict() == Verdict::Ended)
    }

    /// Waits until it is.
    pub(crate) async fn wait_obsolete(&self) {
        let Some((session, _)) = &self.step_up_of else { return std::future::pending().await };
        let mut session = session.watch();
        session.wait_for(|session| (session.verdict() == Verdict::Ended).then_some(())).await;
    }

    /// Whether it is of this user, or of this token, which is the user's, as far as that is known
    /// yet.
    pub(crate) fn belongs_to(&self, user: &UserId, token: Option<&UserToken>) -> bool {
        let confirms = self.step_up_of.as_ref().map(|(session, _)| session.user());
        let rings = self.target.get().map(|user| user.id.as_str());
        self.user.as_ref() == Some(user)
            || [confirms, rings].contains(&Some(user.as_str()))
            || self.target.get().is_some_and(|user| Some(&user.token) == token)
    }

    /// Why its phone need not ring any more, if so.
    pub(crate) fn abort_reason(&self, now: Timestamp) -> Option<LoginError> {
        if matches!(self.state.stage(), State::Cancelled) || self.is_obsolete() {
            return Some(LoginError::AlreadyPending);
        }
        self.deadline.is_elapsed(now).then_some(LoginError::TimedOut)
    }

    /// Waits for `what`, unless it is given up before.
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

    /// Ends it unless it is settled already; says whether it did.
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
