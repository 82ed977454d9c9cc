//! How a login starts, is claimed and is cancelled.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dashmap::mapref::entry::Entry;

use crate::clock::Timestamp;
use crate::engine::attempt_task::{AttemptTask, evict_after_deadline};
use crate::engine::state::Engine;
use crate::events::event::{EndReason, EventKind, Limit};
use crate::identity::{UserId, UserToken};
use crate::login::attempt::Attempt;
use crate::login::attempt_state::AttemptState;
use crate::login::attempts::NamedAttempt;
use crate::login::claimed_session::ClaimedSession;
use crate::login::initiator::Initiator;
use crate::login::start_attempt::{AttemptTarget, StartAttempt};
use crate::login::username::LoginKey;
use crate::session::live::Session;
use crate::session::notify::WakerList;
use crate::verdict::Verdict;

/// The `Retry-After` while the number of attempts is at its maximum.
const CAPACITY_RETRY_AFTER: Duration = Duration::from_secs(10);

impl Engine {
    /// Starts an attempt; never waits.
    pub(crate) fn begin_attempt(
        self: &Arc<Self>,
        start: StartAttempt<'_>,
    ) -> Result<NamedAttempt, StartError> {
        let StartAttempt { target, initiator, previous_attempt, deliver_in_body, client } = start;
        let now = self.now();
        let issued = self.key_ring.issue_attempt(now.wall);
        let credential = issued.map_err(|_| StartError::Rng)?;
        if self.shutdown.is_started() {
            return Err(StartError::ShuttingDown);
        }
        if self.tasks.is_runtime_gone() {
            self.warnings.report_missing_runtime();
            return Err(StartError::NoRuntime);
        }
        let places = match initiator {
            Initiator::Anonymous(_) => self.config.anonymous_attempts(),
            Initiator::Application => self.config.max_attempts,
            // Known initiators have small limits of their own; a flood of others does not keep them
            // out.
            Initiator::KnownBrowser(_) | Initiator::Session => usize::MAX,
        };
        if self.login.attempts.len() >= places {
            self.report_limit(Limit::Attempts);
            return Err(StartError::LimitReached { retry_after: CAPACITY_RETRY_AFTER });
        }
        let name = target.key();
        let previous = previous_attempt
            .and_then(|previous_attempt| self.login.attempts.find(previous_attempt));
        let step_up_of = match &target {
            AttemptTarget::StepUp(session, methods, _) => Some((session.clone(), *methods)),
            AttemptTarget::Username(_) | AttemptTarget::User(_) => None,
        };
        let attempt = Arc::new(Attempt {
            key: credential.key(),
            browser: previous.as_ref().map_or(credential.key(), |previous| previous.browser),
            name,
            shown_name: target.shown_name().into(),
            user: match &target {
                AttemptTarget::User(user) => Some(user.clone()),
                AttemptTarget::StepUp(_, _, user) => user.clone(),
                AttemptTarget::Username(_) => None,
            },
            initiator_at_start: initiator,
            deliver_in_body,
            step_up_of,
            client,
            started_at: now,
            target: OnceLock::new(),
            deadline: now.after(self.config.login_timeout),
            state: AttemptState::new(),
            finished: AtomicBool::new(false),
            evicted: AtomicBool::new(false),
            watchers: WakerList::default(),
        });
        self.reserve_username(&attempt, previous.as_ref(), now)?;
        // The same browser may also have waited for another name.
        if let Some(previous) = &previous {
            if let Some(claimed) = self.cancel_attempt(previous) {
                // The browser would have presented the credential if it had got it.
                self.end_unpresented(&claimed);
            }
            self.login.attempts.evict(previous);
        }
        self.login.attempts.by_key.insert(attempt.key, attempt.clone());
        if self.shutdown.is_started() {
            // The shutdown may have listed the attempts before this one was inserted.
            self.cancel_attempt(&attempt);
        }
        self.tasks.spawn(evict_after_deadline(self.clone(), attempt.clone()));
        let ringing = AttemptTask { engine: self.clone(), attempt: attempt.clone() };
        self.tasks.spawn_awaited(ringing.run(target));
        Ok(NamedAttempt { credential, attempt })
    }

    /// Reserves the name for an attempt and charges it to the limits. An attempt that supersedes
    /// others starts even if the name is reserved; the reservation then stays as it is.
    fn reserve_username(
        &self,
        attempt: &Arc<Attempt>,
        previous: Option<&Arc<Attempt>>,
        now: Timestamp,
    ) -> Result<(), StartError> {
        let initiator = attempt.initiator_at_start;
        let spend = || self.check_rate_limits(&attempt.name, initiator, now);
        match self.login.attempts.reservations.entry(attempt.name.clone()) {
            Entry::Vacant(place) => {
                spend()?;
                place.insert(attempt.clone());
            }
            Entry::Occupied(mut place) => {
                let holder = place.get();
                let is_mine = previous.is_some_and(|previous| Arc::ptr_eq(previous, holder));
                if is_mine || holder.deadline.is_elapsed(now) {
                    spend()?;
                    place.insert(attempt.clone());
                } else if initiator.is_anonymous()
                    || (holder.is_waiting(now) && !initiator.may_supersede(holder.initiator()))
                {
                    let left = Duration::from(holder.deadline.mono.since(now.mono));
                    let left = left.max(Duration::from_secs(1));
                    let rejected = self.login.lock_limiter().record_rejection(
                        &attempt.name,
                        initiator,
                        now.mono,
                    );
                    if rejected.is_some() {
                        self.report_limit(Limit::Logins);
                    }
                    return Err(StartError::AlreadyPending {
                        retry_after: rejected.map_or(left, |r| r.max(left)),
                    });
                } else {
                    spend()?;
                }
            }
        }
        Ok(())
    }

    fn check_rate_limits(
        &self,
        name: &LoginKey,
        initiator: Initiator,
        now: Timestamp,
    ) -> Result<(), StartError> {
        self.login.lock_limiter().check_start(name, initiator, now.mono).map_err(|retry_after| {
            self.report_limit(Limit::Logins);
            StartError::RateLimited { retry_after }
        })
    }

    /// Claims an approved result, which starts its session. A repeated claim, whose first response
    /// may be lost, returns the same credential until that was presented, as long as the session
    /// lives. Beside another login the request must be of the user of the
    /// attempt.
    pub(crate) fn claim(
        self: &Arc<Self>,
        named: &NamedAttempt,
        user: Option<&UserId>,
    ) -> Option<ClaimedSession> {
        let NamedAttempt { credential, attempt } = named;
        if !attempt.is_allowed_for(user) {
            return None;
        }
        let mut is_first = false;
        let session = attempt.state.claim(
            |session| {
                let is_over = session.verdict() == Verdict::Ended || attempt.is_obsolete();
                // In the map before any caller can learn that it was claimed.
                (!is_over).then(|| {
                    session.mark_claimed();
                    let key = self.key_ring.derive_session(credential).key();
                    self.sessions.insert(key, session.clone());
                    is_first = true;
                    session.clone()
                })
            },
            |session| session.is_claimable_again().then(|| session.clone()),
        )?;
        if is_first {
            attempt.watchers.wake();
            if attempt.initiator().is_anonymous() {
                session.send_event(EventKind::UnknownBrowser);
            }
            // From now on it can be idle.
            self.shared.schedule.reschedule(&session, self.now());
            if let Some((before, _)) = &attempt.step_up_of {
                self.end_session(before, EndReason::LoggedOut);
            }
            if let Some(user) = attempt.target.get() {
                let initiator = attempt.initiator();
                self.login.lock_limiter().record_success(&attempt.name, &user.token, initiator);
            }
        }
        Some(ClaimedSession {
            credential: self.key_ring.derive_session(credential),
            session,
            remember_as: attempt.known_as(),
            deliver_in_body: attempt.deliver_in_body,
        })
    }

    /// Cancels every attempt of this user, approved ones too. Their names stay reserved, so that
    /// the cancellation reveals nothing.
    pub(crate) fn cancel_attempts_of(&self, user: &UserId, token: Option<&UserToken>) {
        self.cancel_attempts_where(user, token, |_| true);
    }

    /// Cancels the attempts that known browsers of this user have started.
    pub(crate) fn cancel_attempts_of_known_browsers(
        &self,
        user: &UserId,
        token: Option<&UserToken>,
    ) {
        self.cancel_attempts_where(user, token, |attempt| attempt.initiator().is_known_browser());
    }

    fn cancel_attempts_where(
        &self,
        user: &UserId,
        token: Option<&UserToken>,
        is_meant: impl Fn(&Attempt) -> bool,
    ) {
        for attempt in self.login.attempts.all() {
            if attempt.belongs_to(user, token) && is_meant(&attempt) {
                attempt.cancel();
            }
        }
    }

    /// Cancels an attempt for its browser or caller: frees the name and withdraws the push at the
    /// service. Returns a session that was claimed already.
    pub(crate) fn cancel_attempt(&self, attempt: &Arc<Attempt>) -> Option<Arc<Session>> {
        let claimed = attempt.cancel();
        self.login.attempts.release_username(attempt);
        claimed
    }
}

/// Why an attempt did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartError {
    /// Another browser's attempt for the same name still waits.
    AlreadyPending {
        retry_after: Duration,
    },
    /// Too many were started, for this name, from this address, or in all.
    RateLimited {
        retry_after: Duration,
    },
    /// The maximum number of attempts is reached.
    LimitReached {
        retry_after: Duration,
    },
    /// The engine is shut down.
    ShuttingDown,
    /// The runtime of the engine is shut down: no task would send the push.
    NoRuntime,
    Rng,
}
