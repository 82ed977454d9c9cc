//! Keeps what is known of sessions fresh: one task that looks at each session when it is due and
//! spawns a poll if one is wanted.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::session::Session;
use super::watchers::Watched as _;
use super::{Engine, plan};
use crate::client::ClientError;
use crate::clock::Stamp;
use crate::protocol::{Reading, SessionStatus};
use crate::verdict::{Said, Verdict};

/// How long after its last use a session is still polled.
const KEEP: Duration = Duration::from_secs(60);
/// How long the token store may take, as long as a poll.
const VOUCHER: Duration = Duration::from_secs(3);
/// How long an ended session's status is told.
const TOMBSTONE: Duration = Duration::from_secs(300);
/// How often what nobody asks for any more is swept out.
const SWEEP: Duration = Duration::from_secs(60);

pub(super) async fn run(engine: Arc<Engine>) {
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let now = engine.now();
        let next = loop {
            match engine.upkeep.schedule.pop(now) {
                Ok(session) => look(&engine, &session, now),
                Err(next) => break next,
            }
        };
        let wait = async {
            match next {
                Some(at) => tokio::time::sleep_until(engine.upkeep.clock.instant(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = sweep.tick() => sweep_out(&engine),
            () = engine.upkeep.schedule.earlier() => {}
            () = wait => {}
        }
    }
}

/// What is to be done about a session at this moment.
fn look(engine: &Arc<Engine>, session: &Arc<Session>, now: Stamp) {
    let verdict = session.verdict_at(now);
    if verdict == Verdict::Ended {
        expire(engine, session);
        return;
    }
    if verdict == Verdict::Unavailable {
        // Nothing was stated, but time went by: guards must hold.
        session.watchers().wake();
    }
    if session.park(now, KEEP) {
        return;
    }
    if let Some(sequence) = session.begin_poll(now) {
        let (engine, session) = (engine.clone(), session.clone());
        let flight = Flight { engine, session, sequence, sent: now, landed: false };
        flight.engine.clone().tasks.spawn(flight.fly());
    }
    engine.upkeep.schedule.reset(session, now);
}

/// A session over its lifetime ends here and at the service.
fn expire(engine: &Arc<Engine>, session: &Arc<Session>) {
    if session.end(SessionStatus::Closed) {
        tracing::debug!("session expired");
        engine.end_remotely(session);
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
}

impl Flight {
    async fn fly(mut self) {
        let (engine, session) = (self.engine.clone(), self.session.clone());
        let Ok(_permit) = engine.polls.acquire().await else { return };
        self.sent = engine.now();
        let poll = async { engine.client.status(&session.record.remote(&engine.client)?).await };
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
        let said = match status {
            Ok(reading) => {
                self.engine.origin.answered(self.sent);
                Said::Answer(reading)
            }
            Err(error) => {
                tracing::debug!(%error, "a poll said nothing");
                probe(&self.engine, self.sent);
                if error.refuses_session() { Said::Refused } else { Said::Nothing }
            }
        };
        self.learn(said);
    }

    fn learn(&mut self, said: Said) {
        self.landed = true;
        let others = self.engine.origin.others(self.engine.now());
        if self.session.learn(self.sequence, self.sent, said, others) {
            tracing::warn!("the service no longer knows a session, or makes no sense about it");
            self.engine.end_remotely(&self.session);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.landed {
            self.learn(Said::Nothing);
        }
        let interval = self.engine.settings.poll_interval;
        let pause = |standing| plan::pause(standing, interval, plan::chance());
        self.session.end_poll(self.sent, pause);
        self.engine.upkeep.schedule.reset(&self.session, self.engine.now());
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
            engine.end_session(session, SessionStatus::Closed);
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
