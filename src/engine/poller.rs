//! Keeps what is known of sessions fresh: one task that looks at each session when it is due and
//! spawns a poll if one is wanted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::client::{ClientError, ClientErrorKind};
use crate::clock::Timestamp;
use crate::engine::logouts::LogoutPriority;
use crate::engine::state::Engine;
use crate::polling::backoff;
use crate::polling::circuit_breaker::{Admission, FailedCall};
use crate::polling::concurrency_limiter::{PollEnd, PollPermit};
use crate::polling::poll_queue::PollQueue;
use crate::polling::rate_limiter::PollRateLimiter;
use crate::protocol::StatusReading;
use crate::session::live::{BegunPoll, Session};
use crate::verdict::{PollOutcome, Verdict};

/// How long after its last use a session is still polled.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an ended session's status is told.
const TOMBSTONE_TTL: Duration = Duration::from_secs(300);
/// How often what is no longer asked for is swept out.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

pub(super) async fn run(engine: Arc<Engine>) {
    let rate_limiter = PollRateLimiter::new(engine.config.max_polls_per_second);
    Poller { engine, rate_limiter, queue: PollQueue::default() }.run().await;
}

struct Poller {
    engine: Arc<Engine>,
    rate_limiter: PollRateLimiter,
    queue: PollQueue,
}

impl Poller {
    async fn run(mut self) {
        let engine = self.engine.clone();
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            let now = engine.now();
            let due = loop {
                match engine.shared.schedule.pop(now) {
                    Ok(session) => self.process_due(&session, now),
                    Err(next) => break next,
                }
            };
            let resume_at = self.dispatch(now);
            let at = due.into_iter().chain(resume_at).min();
            let wait = async {
                match at {
                    Some(at) => tokio::time::sleep_until(engine.shared.clock.instant(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = sweep.tick() => purge_expired(&engine),
                () = engine.shared.schedule.wait_head_changed() => {}
                () = engine.poll_slot_freed.notified() => {}
                () = wait => {}
            }
        }
    }

    /// What is to be done about a session at this moment.
    fn process_due(&mut self, session: &Arc<Session>, now: Timestamp) {
        let verdict = session.verdict_at(now);
        if verdict == Verdict::Ended {
            expire(&self.engine, session, now);
            return;
        }
        if verdict == Verdict::Unavailable {
            // Nothing was stated, but time went by: guards must hold.
            session.publish_stale(now);
        }
        if session.park(now, IDLE_TIMEOUT) {
            return;
        }
        self.queue.push(session, now);
        self.engine.shared.schedule.reschedule(session, now);
    }

    /// Sends as many polls as may be sent. If more wait, says when to go on; the end of one that
    /// is in flight is told by itself.
    fn dispatch(&mut self, stamp: Timestamp) -> Option<u64> {
        let (engine, now) = (self.engine.clone(), stamp.mono);
        let limiter = &engine.poll_limiter;
        limiter.set_max(engine.max_polls_in_flight());
        if let Some(open_for) = engine.breaker.take_just_closed() {
            self.rate_limiter.start_slow(now, open_for);
            limiter.restart();
        }
        let mut resume_at = None;
        loop {
            let admission = engine.breaker.admission(now);
            let next = match admission {
                Admission::All => self.queue.next(limiter.admits_retry()),
                Admission::Probe => self.queue.next_probe(stamp, limiter.admits_retry()),
                Admission::ProbeOfFreshSession(_) => self.queue.next_fresh(stamp),
                Admission::Refused(at) => {
                    resume_at = (!self.queue.is_empty()).then_some(at);
                    None
                }
            };
            let Some(next) = next else {
                if let Admission::ProbeOfFreshSession(at) = admission {
                    resume_at = Some(at);
                }
                break;
            };
            if next.session.park(stamp, IDLE_TIMEOUT) {
                // It waited so long that it is no longer in use.
                continue;
            }
            let Some(permit) = limiter.try_acquire(next.is_retry) else { break };
            if let Err(at) = self.rate_limiter.try_acquire(now) {
                resume_at = Some(at);
                break;
            }
            let Some(poll) = next.session.begin_poll(stamp) else { continue };
            engine.breaker.record_sent(now, next.is_retry);
            if !next.is_retry {
                engine.poll_stats().record_wait(now, now.saturating_sub(next.due_at));
            }
            PollTask::spawn(&engine, next.session, poll, permit);
        }
        let oldest_due = self.queue.oldest_due();
        engine.oldest_queued_poll_ms.store(oldest_due.unwrap_or(u64::MAX), Ordering::Relaxed);
        engine.logouts.set_polls_wait(oldest_due.is_some());
        resume_at
    }
}

/// A session that is over its lifetime, or was idle for too long, ends here and at the service.
fn expire(engine: &Arc<Engine>, session: &Arc<Session>, now: Timestamp) {
    let reason = session.expiry_reason(now);
    if session.end(reason) {
        tracing::debug!(%reason, "session expired");
        engine.spawn_remote_logout(session, LogoutPriority::Background);
    }
}

fn purge_expired(engine: &Arc<Engine>) {
    let now = engine.now();
    let mut expired = Vec::new();
    engine.sessions.retain(|session| {
        if session.verdict_at(now) == Verdict::Ended {
            expired.push(session.clone());
        }
        !session.is_tombstone_expired(now, TOMBSTONE_TTL)
    });
    engine.messages().sweep(now.mono);
    engine.logins().sweep(now.mono);
    engine.devices.purge(now);
    engine.grants.sweep(now);
    engine.sweep_seen_warnings(now);
    #[cfg(feature = "axum")]
    engine.registrations.sweep(now);
    // Not under the map's locks: this wakes others.
    for session in &expired {
        expire(engine, session, now);
    }
}

/// One poll, from its beginning to its end, which comes whatever happens to it in between: dropped
/// or panicking, it has said nothing, and the next one is due.
struct PollTask {
    engine: Arc<Engine>,
    session: Arc<Session>,
    poll: BegunPoll,
    sent: Timestamp,
    is_completed: bool,
    /// The pause that the service asked for, for this session.
    asked_pause: Option<Duration>,
    /// The place in flight, until the service has answered.
    permit: Option<PollPermit>,
}

impl PollTask {
    fn spawn(engine: &Arc<Engine>, session: Arc<Session>, poll: BegunPoll, permit: PollPermit) {
        let task = Self {
            engine: engine.clone(),
            session,
            poll,
            sent: engine.now(),
            is_completed: false,
            asked_pause: None,
            permit: Some(permit),
        };
        engine.tasks.spawn(task.run());
    }

    async fn run(mut self) {
        self.sent = self.engine.now();
        // Beside the poll: what the service says takes effect at once, however long that takes.
        self.engine.check_token(&self.session);
        let status = self.session.record.status(&self.engine.client).await;
        self.complete(status);
    }

    fn complete(&mut self, status: Result<StatusReading, ClientError>) {
        let (engine, now) = (self.engine.clone(), self.engine.now().mono);
        let latency = now.saturating_sub(self.sent.mono);
        let end = match &status {
            Ok(_) => Some(PollEnd::Answered(Duration::from_millis(latency))),
            Err(error) if error.is_session_rejection() => {
                Some(PollEnd::Answered(Duration::from_millis(latency)))
            }
            Err(error) if error.kind() == ClientErrorKind::TimedOut => Some(PollEnd::TimedOut),
            // How soon an error comes says nothing about what the service can bear.
            Err(_) => None,
        };
        if end.is_some() {
            engine.poll_stats().record_latency(now, latency);
        }
        let is_own_trouble = self.is_session_specific();
        if let Some(permit) = self.permit.take() {
            match end {
                Some(PollEnd::TimedOut) if is_own_trouble => {}
                Some(end) => permit.release(end, now),
                None => {}
            }
        }
        let said = match status {
            Ok(reading) => {
                engine.upstream_health.record_success(self.sent);
                let transition = engine.breaker.record_success(self.sent.mono, now);
                engine.report_breaker_transition(transition, None);
                PollOutcome::Status(reading)
            }
            Err(error) if error.is_session_rejection() => {
                probe_upstream(&engine, self.sent);
                // The service answers, if only that.
                let transition = engine.breaker.record_success(self.sent.mono, now);
                engine.report_breaker_transition(transition, None);
                PollOutcome::Rejected
            }
            Err(error) => {
                tracing::debug!(?error, "a poll said nothing");
                self.record_failure(&error, now, is_own_trouble);
                PollOutcome::NoResponse
            }
        };
        self.apply_result(said);
    }

    fn record_failure(&mut self, error: &ClientError, now: u64, is_own_trouble: bool) {
        let engine = &self.engine;
        let call = FailedCall {
            sent: self.sent.mono,
            failed_at: now,
            is_rate_limited: matches!(error.kind(), ClientErrorKind::RateLimited(_)),
            retry_after: error.retry_after(),
            is_session_specific: is_own_trouble,
        };
        let transition = engine.breaker.record_failure(call, backoff::jitter());
        engine.report_breaker_transition(transition, Some(error));
        if !engine.breaker.is_pause_asked_for() {
            probe_upstream(engine, self.sent);
        }
        // A 429 asks all callers; the breaker sees to that. What else asks for a pause is wrong
        // about this session only, perhaps.
        if !call.is_rate_limited || is_own_trouble {
            self.asked_pause = call.retry_after;
        }
    }

    /// Whether a failure of this poll says nothing about the service: it has answered a call that
    /// was sent later than this poll, or than the first of those of the session that failed in a row.
    fn is_session_specific(&self) -> bool {
        let failing_since = self.poll.failing_since.unwrap_or(self.sent.mono);
        self.engine.upstream_health.has_answered_after(failing_since)
    }

    fn apply_result(&mut self, said: PollOutcome) {
        self.is_completed = true;
        let others = self.engine.upstream_health.snapshot(self.engine.now());
        if self.session.apply_poll(self.poll.sequence, self.sent, said, others) {
            tracing::warn!("the service no longer knows a session, or makes no sense about it");
            self.engine.spawn_remote_logout(&self.session, LogoutPriority::Background);
        }
    }
}

impl Drop for PollTask {
    fn drop(&mut self) {
        if !self.is_completed {
            self.apply_result(PollOutcome::NoResponse);
        }
        let interval = self.engine.config.poll_interval;
        self.session.end_poll(self.sent, interval, self.asked_pause);
        if self.engine.breaker.is_open() && self.asked_pause.is_none() {
            // When the service is asked again is the breaker's business now; who is asked about
            // first, that of the queue, and for that one has to be in it.
            self.session.queue_after_failure();
        }
        self.engine.shared.schedule.reschedule(&self.session, self.engine.now());
        // Before it is the next one's turn.
        drop(self.permit.take());
        self.engine.poll_slot_freed.notify_one();
    }
}

/// Asks the service whether it answers at all, beside the polls: what comes of it counts from the
/// next silence on.
fn probe_upstream(engine: &Arc<Engine>, since: Timestamp) {
    let sent = engine.now();
    if engine.upstream_health.should_probe(sent, since) {
        let asking = engine.clone();
        engine.tasks.spawn(async move {
            if asking.client.is_reachable().await {
                asking.upstream_health.record_success(sent);
            }
        });
    }
}
