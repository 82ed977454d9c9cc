//! Keeps what is known of sessions fresh: one task that looks at each session when it is due and
//! spawns a poll if one is wanted.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::Engine;
use super::events::EndReason;
use super::logouts::LogoutPriority;
use super::pace::Pace;
use super::plan;
use super::session::Session;
use crate::client::ClientError;
use crate::clock::Stamp;
use crate::protocol::Reading;
use crate::verdict::{Said, Verdict};

/// How long after its last use a session is still polled.
pub(super) const KEEP: Duration = Duration::from_secs(60);
/// How long the token store may take, as long as a poll.
const VOUCHER: Duration = Duration::from_secs(3);
/// How long an ended session's status is told.
const TOMBSTONE: Duration = Duration::from_secs(300);
/// How often what nobody asks for any more is swept out.
const SWEEP: Duration = Duration::from_secs(60);

pub(super) async fn run(engine: Arc<Engine>) {
    let pace = Pace::new(engine.settings.max_polls_per_second);
    Poller { engine, pace, ready: Ready::default() }.run().await;
}

/// Those whose poll is due and waits for its turn.
#[derive(Default)]
struct Ready {
    /// Somebody waits for it, or a stream depends on it.
    urgent: VecDeque<Weak<Session>>,
    /// The others, and since when, in milliseconds.
    idle: VecDeque<(u64, Weak<Session>)>,
}

struct Poller {
    engine: Arc<Engine>,
    pace: Pace,
    ready: Ready,
}

impl Poller {
    async fn run(mut self) {
        let engine = self.engine.clone();
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            let now = engine.now();
            let due = loop {
                match engine.upkeep.schedule.pop(now) {
                    Ok(session) => self.look(&session, now),
                    Err(next) => break next,
                }
            };
            let held_up = self.send(now);
            let at = due.into_iter().chain(held_up).min();
            let wait = async {
                match at {
                    Some(at) => tokio::time::sleep_until(engine.upkeep.clock.instant(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = sweep.tick() => sweep_out(&engine),
                () = engine.upkeep.schedule.earlier() => {}
                () = engine.turn.notified() => {}
                () = wait => {}
            }
        }
    }

    /// What is to be done about a session at this moment.
    fn look(&mut self, session: &Arc<Session>, now: Stamp) {
        let verdict = session.verdict_at(now);
        if verdict == Verdict::Ended {
            expire(&self.engine, session);
            return;
        }
        if verdict == Verdict::Unavailable {
            // Nothing was stated, but time went by: guards must hold.
            session.outlive(now);
        }
        if session.park(now, KEEP) {
            return;
        }
        // One that waited among the idle ones may by now be urgent; the first place counts.
        match session.queue_poll(now) {
            Some(true) => self.ready.urgent.push_back(Arc::downgrade(session)),
            Some(false) => self.ready.idle.push_back((now.mono, Arc::downgrade(session))),
            None => {}
        }
        self.engine.upkeep.schedule.reset(session, now);
    }

    /// Sends as many polls as may be sent. If more wait, says when to go on; the end of one that
    /// is on its way is told by itself.
    fn send(&mut self, stamp: Stamp) -> Option<u64> {
        let now = stamp.mono;
        if self.engine.reopened.swap(false, Ordering::AcqRel) {
            self.pace.slow_down(now);
        }
        let mut held_up = None;
        while let Some(session) = self.ready.next(now) {
            if session.park(stamp, KEEP) {
                // It waited so long that nobody uses it any more.
                self.ready.remove_first();
                continue;
            }
            let Ok(permit) = self.engine.polls.clone().try_acquire_owned() else { break };
            // The breaker last: whom it lets through while it is half open has to go.
            let leave = self.pace.take(now).and_then(|()| self.engine.breaker.ask(now));
            if let Err(at) = leave {
                held_up = Some(at);
                break;
            }
            self.ready.remove_first();
            if let Some(sequence) = session.begin_poll() {
                Flight::new(&self.engine, session, sequence, permit).take_off();
            }
        }
        let oldest = self.ready.idle.front().map_or(0, |(since, _)| now.saturating_sub(*since));
        self.engine.delay.store(oldest, Ordering::Relaxed);
        self.engine.logouts.set_polls_wait(self.ready.next(now).is_some());
        held_up
    }
}

impl Ready {
    /// Whose turn it is; those who are gone or were served elsewhere are dropped.
    fn next(&mut self, now: u64) -> Option<Arc<Session>> {
        loop {
            let first = self.urgent.front().or(self.idle.front().map(|(_, session)| session))?;
            match first.upgrade().filter(|session| session.is_queued()) {
                Some(session) if self.urgent.is_empty() || session.is_urgent() => {
                    return Some(session);
                }
                // Whoever waited has gone.
                Some(session) => {
                    session.calm();
                    self.idle.push_back((now, Arc::downgrade(&session)));
                }
                None => {}
            }
            self.remove_first();
        }
    }

    fn remove_first(&mut self) {
        if self.urgent.pop_front().is_none() {
            self.idle.pop_front();
        }
    }
}

/// A session over its lifetime ends here and at the service.
fn expire(engine: &Arc<Engine>, session: &Arc<Session>) {
    if session.end(EndReason::Expired) {
        tracing::debug!("session expired");
        engine.end_remotely(session, LogoutPriority::Background);
    }
}

fn sweep_out(engine: &Arc<Engine>) {
    let now = engine.now();
    let mut expired = Vec::new();
    engine.sessions.retain(|session| {
        if session.verdict_at(now) == Verdict::Ended {
            expired.push(session.clone());
        }
        !session.is_over_for(now, TOMBSTONE)
    });
    engine.messages().sweep(now.mono);
    engine.logins().sweep(now.mono);
    engine.attempts.sweep(now);
    engine.grants.sweep(now);
    // Not under the map's locks: this wakes others.
    for session in &expired {
        expire(engine, session);
    }
}

/// One poll, from its beginning to its end, which comes whatever happens to it in between: dropped
/// or panicking, it has said nothing, and the next one is due.
struct Flight {
    engine: Arc<Engine>,
    session: Arc<Session>,
    sequence: u64,
    sent: Stamp,
    landed: bool,
    /// To be in flight.
    permit: Option<OwnedSemaphorePermit>,
}

impl Flight {
    fn new(
        engine: &Arc<Engine>,
        session: Arc<Session>,
        sequence: u64,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let sent = engine.now();
        let (engine, permit) = (engine.clone(), Some(permit));
        Self { engine, session, sequence, sent, landed: false, permit }
    }

    fn take_off(self) {
        let engine = self.engine.clone();
        engine.tasks.spawn(self.fly());
    }

    async fn fly(mut self) {
        let (engine, session) = (self.engine.clone(), self.session.clone());
        self.sent = engine.now();
        let poll = session.record.status(&engine.client);
        let vouch = vouch(&engine, &session, self.sent);
        let (mut poll, mut vouch) = (pin!(poll), pin!(vouch));
        let status = tokio::select! {
            biased;
            // What the service says takes effect at once, however long the lookup table takes.
            status = &mut poll => {
                self.land(status);
                vouch.await;
                return;
            }
            () = &mut vouch => poll.await,
        };
        self.land(status);
    }

    fn land(&mut self, status: Result<Reading, ClientError>) {
        let engine = self.engine.clone();
        let said = match status {
            Ok(reading) => {
                engine.origin.answered(self.sent);
                engine.turned(engine.breaker.good());
                Said::Answer(reading)
            }
            Err(error) if error.refuses_session() => {
                probe(&engine, self.sent);
                // The service answers, if only that.
                engine.turned(engine.breaker.good());
                Said::Refused
            }
            Err(error) => {
                tracing::debug!(%error, "a poll said nothing");
                let now = engine.now().mono;
                engine.turned(engine.breaker.bad(now, error.retry_after(), plan::chance()));
                if !engine.breaker.is_pausing(now) {
                    probe(&engine, self.sent);
                }
                Said::Nothing
            }
        };
        self.learn(said);
    }

    fn learn(&mut self, said: Said) {
        self.landed = true;
        let others = self.engine.origin.others(self.engine.now());
        if self.session.learn(self.sequence, self.sent, said, others) {
            tracing::warn!("the service no longer knows a session, or makes no sense about it");
            self.engine.end_remotely(&self.session, LogoutPriority::Background);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.landed {
            self.learn(Said::Nothing);
        }
        self.session.end_poll(self.sent, self.engine.settings.poll_interval);
        if self.engine.breaker.open_until(self.engine.now().mono).is_some() {
            // When the service is asked again is the breaker's business now; who is asked about
            // first, that of the queue, and for that one has to be in it.
            self.session.queue_after_failure();
        }
        self.engine.upkeep.schedule.reset(&self.session, self.engine.now());
        // Before it is the next one's turn.
        drop(self.permit.take());
        self.engine.turn.notify_one();
    }
}

/// Asks the lookup table, if it is time, whether the user still has the token that the session was
/// made with. Without an answer nothing is learned; it is asked again at the next poll.
async fn vouch(engine: &Arc<Engine>, session: &Arc<Session>, now: Stamp) {
    if !session.wants_voucher(now) {
        return;
    }
    let user = session.user().into();
    match tokio::time::timeout(VOUCHER, engine.store.token(&user)).await {
        Ok(Ok(Some(token))) if session.record.is_of(&token) => session.vouch(now),
        Ok(Ok(_)) => {
            tracing::info!("a user's token was removed or changed; the session ends");
            engine.end_session(session, EndReason::TokenChanged);
        }
        Ok(Err(error)) => tracing::warn!(%error, "the token store failed"),
        Err(_) => tracing::warn!("the token store did not answer in time"),
    }
}

/// Asks the service whether it answers at all, beside the polls: what comes of it counts from the
/// next silence on.
fn probe(engine: &Arc<Engine>, since: Stamp) {
    let sent = engine.now();
    if engine.origin.wants_probe(sent, since) {
        let asking = engine.clone();
        engine.tasks.spawn(async move {
            if asking.client.answers().await {
                asking.origin.answered(sent);
            }
        });
    }
}
