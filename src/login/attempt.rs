//! One try to log in: it belongs to the browser that started it, and makes one session at most.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::clock::{Clock, Timestamp};
use crate::identity::{AttemptKey, UserId, UserToken};
use crate::login::attempt_state::{AttemptState, State};
use crate::login::browser_proofs::{BrowserId, BrowserProof, UserMark};
use crate::login::claimed_session::BrowserToRemember;
use crate::login::initiator::Initiator;
use crate::login::login_error::LoginError;
use crate::login::username::LoginKey;
use crate::protocol::AuthMethods;
use crate::session::client_details::ClientDetails;
use crate::session::live::Session;
use crate::session::notify::{Notifies, WakerList, Watcher};
use crate::session::record::PackedRecord;
use crate::verdict::Verdict;

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
    pub(crate) initiator_at_start: Initiator,
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

impl AttemptUser {
    fn has_revoked(&self, proof: &BrowserProof) -> bool {
        proof.is_revoked(self.mark, self.browser_epoch.load(Ordering::Acquire))
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
            State::Failed(error) if error.is_reported() => true,
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
            State::Failed(error) if error.is_reported() => false,
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
            State::Failed(error) => Some(error),
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
        match self.initiator_at_start {
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
        let step_up = self.step_up_of.as_ref();
        step_up.is_some_and(|(session, _)| session.verdict() == Verdict::Ended)
    }

    /// Waits until it is obsolete.
    pub(crate) async fn wait_obsolete(&self) {
        let Some((session, _)) = &self.step_up_of else { return std::future::pending().await };
        let mut session = session.watch();
        session.wait_for(|session| (session.verdict() == Verdict::Ended).then_some(())).await;
    }

    /// Whether it is of this user or of the user's token, as far as that is known yet.
    pub(crate) fn belongs_to(&self, user: &UserId, token: Option<&UserToken>) -> bool {
        let confirmed = self.step_up_of.as_ref().map(|(session, _)| session.user());
        let target = self.target.get().map(|user| user.id.as_str());
        self.user.as_ref() == Some(user)
            || [confirmed, target].contains(&Some(user.as_str()))
            || self.target.get().is_some_and(|user| Some(&user.token) == token)
    }

    /// Why its push is not needed any more, if so.
    pub(crate) fn abort_reason(&self, now: Timestamp) -> Option<LoginError> {
        if matches!(self.state.stage(), State::Cancelled) || self.is_obsolete() {
            return Some(LoginError::AlreadyPending);
        }
        self.deadline.is_elapsed(now).then_some(LoginError::TimedOut)
    }

    /// Waits for `future`, unless the attempt is cancelled before.
    pub(crate) async fn run_unless_aborted(
        self: &Arc<Self>,
        clock: &Clock,
        future: impl Future<Output = ()>,
    ) -> Result<(), LoginError> {
        let mut browser = Watcher::new(self.clone());
        tokio::select! {
            biased;
            error = browser.wait_for(|attempt| attempt.abort_reason(clock.now())) => Err(error),
            () = future => Ok(()),
        }
    }

    /// Whether it runs, and its result is open.
    pub(crate) fn is_waiting(&self, now: Timestamp) -> bool {
        matches!(self.state.stage(), State::Pending) && !self.deadline.is_elapsed(now)
    }

    /// Whether no phone waits for it, nor will.
    pub(crate) fn is_device_idle(&self) -> bool {
        let is_approved = matches!(self.state.stage(), State::Approved(_) | State::Claimed(_));
        is_approved || self.finished.load(Ordering::Acquire)
    }

    /// Fails the attempt unless it is settled already; returns whether it did.
    pub(crate) fn end(&self, error: LoginError) -> bool {
        let ended = self.state.end(error);
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
