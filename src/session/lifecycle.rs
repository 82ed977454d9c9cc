use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Millis, MonoTime, Timestamp};
use crate::protocol::{AuthMethods, SessionStatus};

/// The unit in which the moment of a claim is stored. The stored number covers a quarter of an hour,
/// longer than any login takes.
pub(crate) const CLAIM_TICK: Duration = Duration::from_millis(16);

/// When and how a session was requested, claimed and last used, and the last status that the
/// service reported.
///
/// Every value is read without a lock. All are small, because a parked session is little more than
/// this.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    /// When the session was requested at the service.
    created_at: Timestamp,
    /// When a request last used the session: milliseconds after `created_at`, the lower 32 bits by
    /// the monotonic and the upper 32 by the wall clock. Written only where there is an idle
    /// timeout.
    last_use: AtomicU64,
    /// When the status last changed: milliseconds after `created_at`.
    status_changed_at: AtomicU32,
    /// When the client claimed the session: ticks after `created_at`, plus one; zero before.
    claimed_at: AtomicU16,
    /// The last status that the service reported, whatever its age.
    status: AtomicU8,
    methods: AuthMethods,
}

impl Lifecycle {
    pub(crate) fn new(created_at: Timestamp, methods: AuthMethods) -> Self {
        Self {
            created_at,
            last_use: AtomicU64::new(0),
            status_changed_at: AtomicU32::new(0),
            claimed_at: AtomicU16::new(0),
            status: AtomicU8::new(SessionStatus::Pending as u8),
            methods,
        }
    }

    pub(crate) fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// The methods that the login asked the user for; empty when the service chose.
    pub(crate) fn methods(&self) -> AuthMethods {
        self.methods
    }

    /// The age of the session, by the clock that says older.
    pub(crate) fn age(&self, now: Timestamp) -> Millis {
        self.created_at.age(now)
    }

    /// The age of the session on the monotonic and on the wall clock.
    fn age_by_clock(&self, now: Timestamp) -> [Millis; 2] {
        [now.mono.since(self.created_at.mono), now.wall.since(self.created_at.wall)]
    }

    /// Stores when the client claimed the session.
    pub(crate) fn record_claim(&self, now: Timestamp) {
        let after = now.mono.since(self.created_at.mono).as_millis();
        let ticks = u128::from(after) / CLAIM_TICK.as_millis();
        // A later claim than the ticks can tell is stored as earlier: the login seems older than it
        // is, so that `max_age` of a layer is never exceeded.
        let ticks = u16::try_from(ticks).unwrap_or(u16::MAX - 1).min(u16::MAX - 1);
        self.claimed_at.store(ticks + 1, Ordering::Release);
    }

    pub(crate) fn is_claimed(&self) -> bool {
        self.claimed_at.load(Ordering::Acquire) != 0
    }

    /// When the client claimed the session.
    pub(crate) fn claimed_at(&self) -> Timestamp {
        let ticks = self.claimed_at.load(Ordering::Acquire).saturating_sub(1);
        self.created_at.after(CLAIM_TICK * ticks.into())
    }

    /// Stores that a request used the session.
    pub(crate) fn record_use(&self, now: Timestamp) {
        // 32 bits are 49 days, and no session lives that long.
        let stored = |age: Millis| u64::from(u32::try_from(age.as_millis()).unwrap_or(0));
        let [mono, wall] = self.age_by_clock(now).map(stored);
        self.last_use.store(mono | wall << 32, Ordering::Release);
    }

    /// The age of the session at its last use on the monotonic and on the wall clock.
    fn last_use(&self) -> [Millis; 2] {
        let used = self.last_use.load(Ordering::Acquire);
        [used & u64::from(u32::MAX), used >> 32].map(Millis::from_millis)
    }

    /// Whether no request has used the session for `idle_timeout`. Idleness counts from the claim.
    pub(crate) fn is_idle(&self, idle_timeout: Millis, now: Timestamp) -> bool {
        let [mono, wall] = self.age_by_clock(now);
        let [used_mono, used_wall] = self.last_use();
        let unused = mono.saturating_sub(used_mono).max(wall.saturating_sub(used_wall));
        self.is_claimed() && unused >= idle_timeout
    }

    /// When the session expires if no request uses it before.
    pub(crate) fn expires_at(&self, lifetime: Millis, idle_timeout: Millis) -> MonoTime {
        let idle_at = self.last_use()[0] + idle_timeout;
        let life = if self.is_claimed() { lifetime.min(idle_at) } else { lifetime };
        self.created_at.mono + life
    }

    /// The last status that the service reported, whatever its age.
    pub(crate) fn status(&self) -> SessionStatus {
        SessionStatus::from_u8(self.status.load(Ordering::Acquire))
    }

    pub(crate) fn status_changed_at(&self) -> Timestamp {
        let after = self.status_changed_at.load(Ordering::Acquire);
        self.created_at.after(Duration::from_millis(after.into()))
    }

    /// Stores a status that differs from the last one.
    pub(crate) fn record_status(&self, status: SessionStatus, now: Timestamp) {
        let after = now.mono.since(self.created_at.mono).as_millis();
        self.status_changed_at.store(u32::try_from(after).unwrap_or(u32::MAX), Ordering::Release);
        self.status.store(status as u8, Ordering::Release);
    }
}
