//! The poller: one task that looks at each session when it is due and spawns its polls.

use std::sync::Arc;
use std::time::Duration;

use crate::client::{ClientError, ClientErrorKind};
use crate::clock::{MonoTime, Timestamp};
use crate::engine::logouts::LogoutPriority;
use crate::engine::state::Engine;
use crate::events::event::EventKind;
use crate::polling::backoff;
use crate::polling::circuit_breaker::{Admission, FailedCall, Transition};
use crate::polling::concurrency_limiter::{PollEnd, PollPermit};
use crate::polling::poll_queue::PollQueue;
use crate::polling::rate_limiter::PollRateLimiter;
use crate::protocol::StatusReading;
use crate::session::live::Session;
use crate::session::poll_state::StartedPoll;
use crate::verdict::{PollOutcome, Verdict};

/// How long after its last use a session is still polled.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the status of an ended session can be read.
const TOMBSTONE_TTL: Duration = Duration::from_secs(300);
/// How often expired entries are purged.
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
            for session in engine.shared.walkaway_ends.take_all() {
                engine.spawn_remote_logout(&session, LogoutPriority::Background);
            }
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
                () = engine.shared.walkaway_ends.wait_added() => {}
                () = engine.polling.slot_freed.notified() => {}
                () = wait => {}
            }
        }
    }

    /// Handles a session that is due.
    fn process_due(&mut self, session: &Arc<Session>, now: Timestamp) {
        let verdict = session.verdict_at(now);
        if verdict == Verdict::Ended {
            expire(&self.engine, session, now);
            return;
        }
        if verdict == Verdict::Unavailable {
            // No status came, but time passed: guards must hold.
            session.publish_stale(now);
        }
        if session.park(now, IDLE_TIMEOUT) {
            return;
        }
        self.queue.push(session, now);
        self.engine.shared.schedule.reschedule(session, now);
    }

    /// Sends as many polls as the limits allow. If more wait, returns when to continue; the end of
    /// a poll in flight wakes the poller by itself.
    fn dispatch(&mut self, timestamp: Timestamp) -> Option<MonoTime> {
        let (engine, now) = (self.engine.clone(), timestamp.mono);
        let limiter = &engine.polling.limiter;
        limiter.set_max(engine.max_polls_in_flight());
        if let Some(open_for) = engine.polling.breaker.take_just_closed() {
            self.rate_limiter.start_slow(now, open_for.into());
            limiter.restart();
        }
        let mut resume_at = None;
        loop {
            let admission = engine.polling.breaker.admission(now);
            let next = match admission {
                Admission::All => self.queue.next(limiter.admits_retry()),
                Admission::Probe => self.queue.next_probe(timestamp, limiter.admits_retry()),
                Admission::ProbeOfFreshSession(_) => self.queue.next_fresh(timestamp),
                Admission::Denied(at) => {
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
            if next.session.park(timestamp, IDLE_TIMEOUT) {
                // The session waited so long that it is no longer in use.
                continue;
            }
            let Some(permit) = limiter.try_acquire(next.is_retry) else { break };
            if let Err(at) = self.rate_limiter.try_acquire(now) {
                resume_at = Some(at);
                break;
            }
            let Some(poll) = next.session.start_poll(timestamp) else { continue };
            engine.polling.breaker.record_sent(now, next.is_retry);
            if !next.is_retry {
                engine.polling.lock_stats().record_wait(now, now.since(next.due_at).into());
            }
            PollTask::spawn(&engine, next.session, poll, permit);
        }
        let oldest_due = self.queue.oldest_due();
        engine.polling.set_oldest_queued(oldest_due);
        engine.logouts.set_polls_wait(oldest_due.is_some());
        resume_at
    }
}

/// Ends a session, here and at the service, whose life or idle timeout is over.
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
    engine.enrollment.lock_sms_limiter().purge(now.mono);
    engine.login.lock_limiter().purge(now.mono);
    engine.login.devices.purge(now);
    engine.enrollment.grants.purge(now);
    engine.purge_seen_warnings(now);
    #[cfg(feature = "axum")]
    engine.enrollment.registrations.purge(now);
    // Outside the map's locks: this wakes other tasks.
    for session in &expired {
        expire(engine, session, now);
    }
}

/// One poll. Its end is recorded in any case: if the task is dropped or panics, the poll counts as
/// one without a response, and the next one is due.
struct PollTask {
    engine: Arc<Engine>,
    session: Arc<Session>,
    poll: StartedPoll,
    sent: Timestamp,
    is_completed: bool,
    /// The pause that the service requested for this session.
    requested_pause: Option<Duration>,
    /// The place in flight, until the service responds.
    permit: Option<PollPermit>,
}

impl PollTask {
    fn spawn(engine: &Arc<Engine>, session: Arc<Session>, poll: StartedPoll, permit: PollPermit) {
        let task = Self {
            engine: engine.clone(),
            session,
            poll,
            sent: engine.now(),
            is_completed: false,
            requested_pause: None,
            permit: Some(permit),
        };
        engine.tasks.spawn(task.run());
    }

    async fn run(mut self) {
        self.sent = self.engine.now();
        // Concurrently with the poll, whose result takes effect at once.
        self.engine.check_token(&self.session);
        let status = self.session.record.status(&self.engine.client).await;
        self.complete(status);
    }

    fn complete(&mut self, status: Result<StatusReading, ClientError>) {
        let (engine, now) = (self.engine.clone(), self.engine.now().mono);
        let latency = Duration::from(now.since(self.sent.mono));
        let end = match &status {
            Ok(_) => Some(PollEnd::Completed(latency)),
            Err(error) if error.is_session_rejection() => Some(PollEnd::Completed(latency)),
            Err(error) if error.kind() == ClientErrorKind::TimedOut => Some(PollEnd::TimedOut),
            // The delay of an error says nothing about the service's capacity.
            Err(_) => None,
        };
        if end.is_some() {
            engine.polling.lock_stats().record_latency(now, latency);
        }
        let is_session_specific = self.is_session_specific();
        if let Some(permit) = self.permit.take() {
            match end {
                Some(PollEnd::TimedOut) if is_session_specific => {}
                Some(end) => permit.release(end, now),
                None => {}
            }
        }
        let outcome = match status {
            Ok(reading) => {
                engine.polling.upstream_health.record_success(self.sent);
                let transition = engine.polling.breaker.record_success(self.sent.mono, now);
                report_breaker_transition(&engine, transition, None);
                PollOutcome::Status(reading)
            }
            Err(error) if error.is_session_rejection() => {
                probe_upstream(&engine, self.sent);
                // The service responds, if only with a rejection.
                let transition = engine.polling.breaker.record_success(self.sent.mono, now);
                report_breaker_transition(&engine, transition, None);
                PollOutcome::Rejected
            }
            Err(error) => {
                tracing::debug!(?error, "a poll got no response");
                self.record_failure(&error, now, is_session_specific);
                PollOutcome::NoResponse
            }
        };
        self.apply_result(outcome);
    }

    fn record_failure(&mut self, error: &ClientError, now: MonoTime, is_session_specific: bool) {
        let engine = &self.engine;
        let call = FailedCall {
            sent: self.sent.mono,
            failed_at: now,
            is_rate_limited: matches!(error.kind(), ClientErrorKind::RateLimited(_)),
            retry_after: error.retry_after(),
            is_session_specific,
        };
        let transition = engine.polling.breaker.record_failure(call, backoff::jitter());
        report_breaker_transition(engine, transition, Some(error));
        if !engine.polling.breaker.is_pause_requested() {
            probe_upstream(engine, self.sent);
        }
        // A 429 concerns all callers and is the breaker's. Another requested pause may concern this
        // session only.
        if !call.is_rate_limited || is_session_specific {
            self.requested_pause = call.retry_after;
        }
    }

    /// Whether a failure of this poll concerns the session only: the service has responded to a
    /// call that was sent after this poll, or after the first poll of the session's present row of
    /// failures.
    fn is_session_specific(&self) -> bool {
        let failing_since = self.poll.failing_since.unwrap_or(self.sent.mono);
        self.engine.polling.upstream_health.has_succeeded_after(failing_since)
    }

    fn apply_result(&mut self, outcome: PollOutcome) {
        self.is_completed = true;
        let upstream = self.engine.polling.upstream_health.snapshot(self.engine.now());
        if self.session.apply_poll(self.poll.sequence, self.sent, outcome, upstream) {
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
        self.session.finish_poll(self.sent, interval, self.requested_pause);
        if self.engine.polling.breaker.is_open() && self.requested_pause.is_none() {
            // The breaker decides when the service is called again, and the queue decides for which
            // session first; so the session has to be in the queue.
            self.session.poll_now_if_failing();
        }
        self.engine.shared.schedule.reschedule(&self.session, self.engine.now());
        // Before the next poll takes the place.
        drop(self.permit.take());
        self.engine.polling.slot_freed.notify_one();
    }
}

/// Logs and reports what the end of a call changed about the breaker.
fn report_breaker_transition(
    engine: &Engine,
    transition: Option<Transition>,
    error: Option<&ClientError>,
) {
    let error = error.map(tracing::field::debug);
    let event = match transition {
        None => return,
        Some(Transition::Failing) => {
            tracing::warn!(error, "a poll of the service failed, the first after a good one");
            EventKind::PollFailed
        }
        Some(Transition::Opened) => {
            tracing::warn!(
                error,
                "the service fails, or asks for a pause: it gets one call now and then"
            );
            EventKind::BreakerOpened
        }
        Some(Transition::Closed) => {
            tracing::warn!("the service answers again");
            EventKind::BreakerClosed
        }
    };
    engine.send_event(event);
}

/// Asks the service, beside the polls, whether it responds at all. The result counts from the next
/// poll without a response on.
fn probe_upstream(engine: &Arc<Engine>, since: Timestamp) {
    let sent = engine.now();
    if engine.polling.upstream_health.try_start_probe(sent, since) {
        let probing = engine.clone();
        engine.tasks.spawn(async move {
            if probing.client.is_reachable().await {
                probing.polling.upstream_health.record_success(sent);
            }
        });
    }
}
