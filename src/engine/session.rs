use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    standing: AtomicU8,
    good_mono: AtomicU64,
    good_wall: AtomicU64,
    activity: AtomicU8,
    used: AtomicU64,
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

/// Whether the poller keeps a session's status fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Activity {
    /// It does.
    Running,
    /// It does not; nobody used the session for a while.
    Parked,
    /// It begins again; the first poll is not back yet.
    Waking,
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
            standing: AtomicU8::new(Standing::Pending as u8),
            good_mono: AtomicU64::new(asked.mono),
            good_wall: AtomicU64::new(asked.wall),
            activity: AtomicU8::new(Activity::Running as u8),
            used: AtomicU64::new(asked.mono),
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
        loop {
            let standing = self.standing.load(Ordering::Acquire);
            let good = Stamp {
                mono: self.good_mono.load(Ordering::Acquire),
                wall: self.good_wall.load(Ordering::Acquire),
            };
            // The standing is stored before the times unless it allows: new times under an old
            // standing, which might allow what neither allows, show a new standing here. Times
            // torn apart from each other look older, never fresher.
            if standing == self.standing.load(Ordering::Acquire) {
                let standing = Standing::from_u8(standing);
                let known = Knowledge { standing, good, expires: self.expires };
                return verdict(&known, now, self.upkeep.max_staleness);
            }
        }
    }

    /// A watch that keeps the session live from now on, awake if it was parked. Everything that
    /// waits for a session or lets something through takes one, and looks at the verdict after.
    pub(crate) fn watch(self: &Arc<Self>) -> SessionWatch {
        let watch = Watch::new(self.clone());
        let now = self.upkeep.clock.now();
        self.used.store(now.mono, Ordering::SeqCst);
        if self.verdict_at(now) != Verdict::Ended && self.unpark() {
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

    pub(crate) fn activity(&self) -> Activity {
        match self.activity.load(Ordering::SeqCst) {
            0 => Activity::Running,
            1 => Activity::Parked,
            _ => Activity::Waking,
        }
    }

    /// Leaves the park; false if it was not parked.
    fn unpark(&self) -> bool {
        self.activity
            .compare_exchange(
                Activity::Parked as u8,
                Activity::Waking as u8,
                Ordering::SeqCst,
                Ordering::SeqCst,
            )
            .is_ok()
    }

    /// Parks unless the session is live or was used within `keep`.
    pub(crate) fn park(&self, now: Stamp, keep: Duration) -> bool {
        if self.is_wanted(now, keep) {
            return false;
        }
        self.activity.store(Activity::Parked as u8, Ordering::SeqCst);
        // Whoever came since has either seen it parked, and unparks it, or is seen here.
        !(self.is_wanted(now, keep) && self.unpark())
    }

    fn is_wanted(&self, now: Stamp, keep: Duration) -> bool {
        let used = self.used.load(Ordering::SeqCst);
        self.watchers.count() > 0 || now.mono.saturating_sub(used) < millis(keep)
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
        self.activity() == Activity::Waking
            || now.mono.saturating_sub(vouched) >= millis(VOUCHED_FOR)
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
        if self.wants_voucher_to_wake(sent) && self.activity() == Activity::Waking {
            // Somebody waits, and this poll was not for them, or the lookup table did not answer.
            polling.next = polling.next.min(sent.mono.saturating_add(millis(AGAIN)));
        } else {
            let (waking, running) = (Activity::Waking as u8, Activity::Running as u8);
            self.activity
                .compare_exchange(waking, running, Ordering::SeqCst, Ordering::SeqCst)
                .ok();
        }
        drop(polling);
        self.watchers.wake();
    }

    /// When the poller has to look again: at the next poll, the moment the knowledge grows too
    /// old, or the end of the session's life, whichever comes first; `None` if nothing will happen
    /// by itself. A poll in flight looks again when it ends.
    pub(crate) fn next_look(&self, now: Stamp) -> Option<u64> {
        let polling = self.polling();
        if polling.machine.standing() == Standing::Ended || self.activity() == Activity::Parked {
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
        let publish_times = || {
            self.good_mono.store(good.mono, Ordering::Release);
            self.good_wall.store(good.wall, Ordering::Release);
        };
        if standing == Standing::Active {
            publish_times();
            self.standing.store(standing as u8, Ordering::Release);
        } else {
            self.standing.store(standing as u8, Ordering::Release);
            publish_times();
        }
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
