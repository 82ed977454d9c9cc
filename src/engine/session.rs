use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::activity::{Activity, Phase};
use super::published::Published;
use super::schedule::{NEVER, Schedule};
use super::watchers::{Watch, Watched, Watchers};
use crate::client::RemoteSession;
use crate::clock::{Clock, Stamp, millis};
use crate::identity::{UserId, UserToken};
use crate::protocol::{Methods, SessionStatus};
use crate::verdict::{Knowledge, Machine, Others, Said, Standing, Verdict, verdict};

/// What judging a session and keeping it fresh takes beside the session itself; one for all of an
/// engine's sessions.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) clock: Clock,
    pub(crate) max_staleness: Duration,
    pub(crate) schedule: Schedule,
}

/// How soon a session that did not wake is polled again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the lookup table's word is good for a session in use.
const VOUCHED_FOR: Duration = Duration::from_secs(60);

/// One remote session and what is known of it.
///
/// The few numbers that a verdict needs are atomics, written under the lock of `polling` and read
/// without any: the gate takes no lock here.
pub(crate) struct Session {
    pub(crate) user: UserId,
    /// The user's name at the service when the session was made. When the lookup table says
    /// another, or none, the session is nobody's any more.
    pub(crate) token: UserToken,
    pub(crate) methods: Methods,
    pub(crate) remote: RemoteSession,
    pub(crate) expires: Stamp,
    upkeep: Arc<Upkeep>,
    published: Published,
    activity: Activity,
    /// When the token store last vouched for the user, on the monotonic clock.
    vouched: AtomicU64,
    /// When the poller looks at it next; written under the schedule's lock. An entry of the
    /// schedule for any other time is void.
    pub(crate) due: AtomicU64,
    polling: Mutex<Polling>,
    watchers: Watchers,
}

struct Polling {
    machine: Machine,
    sequence: u64,
    in_flight: bool,
    next: u64,
    changed: Stamp,
}

impl Session {
    pub(crate) fn new(
        upkeep: Arc<Upkeep>,
        user: UserId,
        token: UserToken,
        methods: Methods,
        remote: RemoteSession,
        asked: Stamp,
        lifetime: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            user,
            token,
            methods,
            remote,
            expires: asked.after(lifetime),
            upkeep,
            published: Published::new(Standing::Pending as u8, asked.mono, asked.wall),
            activity: Activity::new(asked.mono),
            vouched: AtomicU64::new(asked.mono),
            due: AtomicU64::new(NEVER),
            polling: Mutex::new(Polling {
                machine: Machine::new(asked),
                sequence: 0,
                in_flight: false,
                next: 0,
                changed: asked,
            }),
            watchers: Watchers::default(),
        })
    }

    /// What is known at this moment.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict_at(self.upkeep.clock.now())
    }

    pub(crate) fn verdict_at(&self, now: Stamp) -> Verdict {
        let (standing, mono, wall) = self.published.load();
        let known = Knowledge {
            standing: Standing::from_u8(standing),
            good: Stamp { mono, wall },
            expires: self.expires,
        };
        verdict(&known, now, self.upkeep.max_staleness)
    }

    /// A watch that keeps the session live from now on, awake if it was parked. Everything that
    /// waits for a session or lets something through takes one, and looks at the verdict after.
    pub(crate) fn watch(self: &Arc<Self>) -> SessionWatch {
        let watch = Watch::new(self.clone());
        let now = self.upkeep.clock.now();
        if self.verdict_at(now) != Verdict::Ended && self.activity.touch(now.mono) {
            self.polling().next = 0;
            self.upkeep.schedule.reset(self, now);
        }
        watch
    }

    /// The last status that was stated, whatever its age.
    pub(crate) fn status(&self) -> SessionStatus {
        self.polling().machine.status()
    }

    /// When the status last changed.
    pub(crate) fn changed(&self) -> Stamp {
        self.polling().changed
    }

    pub(crate) fn phase(&self) -> Phase {
        self.activity.phase()
    }

    /// Parks unless the session is live or was used within `keep`.
    pub(crate) fn park(&self, now: Stamp, keep: Duration) -> bool {
        self.activity.park(now.mono, millis(keep), || self.watchers.count() > 0)
    }

    /// Begins a poll if none is in flight and one is due.
    pub(crate) fn begin_poll(&self, now: Stamp) -> Option<u64> {
        let mut polling = self.polling();
        if polling.in_flight || now.mono < polling.next {
            return None;
        }
        polling.in_flight = true;
        polling.sequence += 1;
        Some(polling.sequence)
    }

    /// Whether the lookup table is to be asked again: once a minute, and before a session that
    /// nobody used for a while lets anybody in.
    pub(crate) fn wants_voucher(&self, now: Stamp) -> bool {
        let vouched = self.vouched.load(Ordering::Relaxed);
        self.phase() == Phase::Waking || now.mono.saturating_sub(vouched) >= millis(VOUCHED_FOR)
    }

    /// Whether the lookup table has not answered since this moment.
    fn wants_voucher_to_wake(&self, since: Stamp) -> bool {
        self.vouched.load(Ordering::Relaxed) < since.mono
    }

    /// The lookup table has named the same token at this moment.
    pub(crate) fn vouch(&self, now: Stamp) {
        self.vouched.store(now.mono, Ordering::Relaxed);
    }

    /// Ends poll `sequence`, sent at `sent`; the next is due as long after as `pause` says.
    pub(crate) fn end_poll(
        &self,
        sequence: u64,
        sent: Stamp,
        said: Said,
        others: Others,
        pause: impl FnOnce(Standing) -> Duration,
    ) {
        let mut polling = self.polling();
        polling.in_flight = false;
        self.change(&mut polling, |machine| {
            machine.apply(sequence, sent, said, others);
        });
        polling.next = sent.mono.saturating_add(millis(pause(polling.machine.standing())));
        if self.wants_voucher_to_wake(sent) && self.phase() == Phase::Waking {
            // Somebody waits, and this poll was not for them, or the lookup table did not answer.
            polling.next = polling.next.min(sent.mono.saturating_add(millis(AGAIN)));
        } else {
            self.activity.woke();
        }
        drop(polling);
        self.watchers.wake();
    }

    /// When the poller has to look again: at the next poll, the moment the knowledge grows too
    /// old, or the end of the session's life, whichever comes first; `None` if nothing will happen
    /// by itself. A poll in flight looks again when it ends.
    pub(crate) fn next_look(&self, now: Stamp) -> Option<u64> {
        let polling = self.polling();
        if polling.machine.standing() == Standing::Ended || self.phase() == Phase::Parked {
            return None;
        }
        let stale = polling.machine.good().mono.saturating_add(millis(self.upkeep.max_staleness));
        let stale = Some(stale).filter(|stale| *stale > now.mono);
        if polling.in_flight {
            return stale;
        }
        [Some(polling.next), stale, Some(self.expires.mono)].into_iter().flatten().min()
    }

    /// Whether the session was given up because the service no longer knows it, or makes no sense.
    pub(crate) fn is_lost(&self) -> bool {
        self.polling().machine.is_lost()
    }

    /// Ends the session here; false if it was over already.
    pub(crate) fn end(&self, status: SessionStatus) -> bool {
        let mut polling = self.polling();
        let was_over = polling.machine.standing() == Standing::Ended;
        self.change(&mut polling, |machine| machine.end(status));
        drop(polling);
        self.watchers.wake();
        !was_over
    }

    fn change(&self, polling: &mut Polling, change: impl FnOnce(&mut Machine)) {
        let before = (polling.machine.standing(), polling.machine.status());
        change(&mut polling.machine);
        let (standing, status) = (polling.machine.standing(), polling.machine.status());
        if before != (standing, status) {
            polling.changed = self.upkeep.clock.now();
            tracing::debug!(%status, ?standing, "session changed");
        }
        let good = polling.machine.good();
        let allows = standing == Standing::Active;
        self.published.store(standing as u8, allows, good.mono, good.wall);
    }

    /// Whether nothing decided on this session can change any more for `keep`.
    pub(crate) fn is_over_for(&self, now: Stamp, keep: Duration) -> bool {
        let polling = self.polling();
        polling.machine.standing() == Standing::Ended && polling.changed.after(keep).is_reached(now)
    }

    fn polling(&self) -> MutexGuard<'_, Polling> {
        // Nothing that can panic runs under the lock, so what a poisoned one holds is whole.
        self.polling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("verdict", &self.verdict()).finish_non_exhaustive()
    }
}

impl Watched for Arc<Session> {
    fn watchers(&self) -> &Watchers {
        &self.watchers
    }
}

/// Keeps a session live and learns of its changes.
pub(crate) type SessionWatch = Watch<Arc<Session>>;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    impl Session {
        /// When it was begun, as far as an hour's lifetime says.
        pub(crate) fn begun(&self) -> Stamp {
            let hour = millis(Duration::from_secs(3600));
            Stamp { mono: self.expires.mono - hour, wall: self.expires.wall - hour }
        }
    }

    /// A session of this user, just begun, of an engine that does not poll.
    pub(crate) fn session_of(user: &UserId) -> Arc<Session> {
        let clock = Clock::new();
        let upkeep =
            Upkeep { clock, max_staleness: Duration::from_secs(15), schedule: Schedule::default() };
        Session::new(
            Arc::new(upkeep),
            user.clone(),
            UserToken::random().unwrap(),
            Methods::default(),
            RemoteSession::for_test(),
            clock.now(),
            Duration::from_secs(3600),
        )
    }
}
