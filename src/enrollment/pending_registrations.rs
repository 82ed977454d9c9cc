//! Pages that show a registration link and wait until a phone has registered.
//!
//! The browser has a credential for its page in a cookie; the engine stores its hash and the user's
//! token. The service is called only while a page asks, at a rate that all pages share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{MonoTime, Timestamp};
use crate::identity::{SessionKey, UserToken};
use crate::polling::rate_limiter::PollRateLimiter;
use crate::session::notify::{Notifies, WakerList};

/// How long a page waits for its phone. The service does not report when a link expires.
pub(crate) const REGISTRATION_PAGE_TTL: Duration = Duration::from_secs(600);
/// The maximum number of waiting pages. A further one replaces the oldest.
const MAX_PAGES: usize = 10_000;
/// The shortest interval of calls for one page.
const PAGE_INTERVAL: Duration = Duration::from_secs(2);
const MAX_CALLS_IN_FLIGHT: usize = 8;
const MAX_CALLS_PER_SECOND: u32 = 20;
/// The longest pause of all pages after calls that failed in a row.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A page that waits for a phone.
#[derive(Debug)]
pub(crate) struct PendingRegistration {
    pub(crate) token: UserToken,
    /// The destination after the registration, as the application gave it.
    pub(crate) next: Option<String>,
    pub(crate) expires: Timestamp,
    pub(crate) state: Mutex<PageState>,
    pub(crate) watchers: WakerList,
}

#[derive(Debug, Default)]
pub(crate) struct PageState {
    /// The final outcome.
    pub(crate) outcome: Option<RegistrationProgress>,
    pub(crate) is_asking: bool,
    next_call: MonoTime,
}

/// The progress of a page's registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegistrationProgress {
    Pending,
    Registered,
    /// This browser has no waiting page.
    NoneWaits,
}

/// All waiting pages, and the rate of calls for them.
#[derive(Debug)]
pub(crate) struct PendingRegistrations {
    pages: Mutex<Pages>,
    pace: Mutex<Pace>,
}

#[derive(Debug, Default)]
struct Pages {
    by_key: HashMap<SessionKey, Arc<PendingRegistration>>,
    /// All pages wait equally long, so the oldest expires next.
    oldest_first: VecDeque<SessionKey>,
}

#[derive(Debug)]
pub(crate) struct Pace {
    limiter: PollRateLimiter,
    in_flight: usize,
    /// The failed calls since the last good response.
    failures: u32,
    next_call: MonoTime,
}

impl PendingRegistrations {
    pub(crate) fn new() -> Self {
        let limiter = PollRateLimiter::new(MAX_CALLS_PER_SECOND);
        let pace = Pace { limiter, in_flight: 0, failures: 0, next_call: MonoTime::START };
        Self { pages: Mutex::default(), pace: Mutex::new(pace) }
    }

    pub(crate) fn insert(&self, key: SessionKey, page: PendingRegistration, now: Timestamp) {
        let mut pages = self.pages();
        pages.purge(now);
        if pages.by_key.len() >= MAX_PAGES
            && let Some(oldest) = pages.oldest_first.pop_front()
        {
            pages.by_key.remove(&oldest);
        }
        pages.oldest_first.push_back(key);
        pages.by_key.insert(key, Arc::new(page));
    }

    /// The page of this credential, if it still waits.
    pub(crate) fn find(
        &self,
        key: &SessionKey,
        now: Timestamp,
    ) -> Option<Arc<PendingRegistration>> {
        let page = self.pages().by_key.get(key).cloned()?;
        (!page.expires.is_elapsed(now)).then_some(page)
    }

    /// Removes expired pages.
    pub(crate) fn purge(&self, now: Timestamp) {
        self.pages().purge(now);
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // Nothing that can panic runs under the lock, so a poisoned one holds a whole value.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn purge(&mut self, now: Timestamp) {
        while let Some(oldest) = self.oldest_first.front() {
            if self.by_key.get(oldest).is_some_and(|page| !page.expires.is_elapsed(now)) {
                return;
            }
            self.by_key.remove(oldest);
            self.oldest_first.pop_front();
        }
    }
}

impl Pace {
    /// Starts and counts a call if one more may start now; returns whether it did.
    pub(crate) fn begin(&mut self, now: MonoTime) -> bool {
        let may = now >= self.next_call
            && self.in_flight < MAX_CALLS_IN_FLIGHT
            && self.limiter.try_acquire(now).is_ok();
        self.in_flight += usize::from(may);
        may
    }

    pub(crate) fn end(
        &mut self,
        is_failed: bool,
        requested_pause: Option<Duration>,
        now: MonoTime,
    ) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if !is_failed {
            self.failures = 0;
            return;
        }
        let pause = PAGE_INTERVAL.saturating_mul(1 << self.failures.min(8)).min(MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.next_call = now + pause.max(requested_pause.unwrap_or_default());
    }
}

impl PendingRegistration {
    /// Starts a call for this page if one is due; a caller that gets `true` has to make the call.
    pub(crate) fn begin_call(&self, now: MonoTime) -> bool {
        let mut state = self.state();
        let may = !state.is_asking && state.outcome.is_none() && now >= state.next_call;
        if may {
            state.is_asking = true;
            state.next_call = now + PAGE_INTERVAL;
        }
        may
    }

    pub(crate) fn end_call(&self, outcome: Option<RegistrationProgress>) {
        let mut state = self.state();
        state.is_asking = false;
        state.outcome = state.outcome.or(outcome);
        drop(state);
        self.watchers.wake();
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, PageState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notifies for Arc<PendingRegistration> {
    fn watchers(&self) -> &WakerList {
        &self.watchers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;
    use crate::clock::UnixTime;
    use crate::session::key_ring::KeyRing;

    const NOW: Timestamp = Timestamp {
        mono: MonoTime::from_millis(1_000),
        wall: UnixTime::from_millis(1_700_000_000_000),
    };

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    fn key() -> SessionKey {
        let keys = KeyRing::from_application_secret(&Secret::new("MXG9EDN581U33XTPLPFT75V2"));
        keys.issue_registration(NOW.wall).unwrap().key()
    }

    fn page(now: Timestamp) -> PendingRegistration {
        let (state, watchers) = Default::default();
        let expires = now.after(REGISTRATION_PAGE_TTL);
        let token = UserToken::random().unwrap();
        PendingRegistration { token, next: None, expires, state, watchers }
    }

    #[test]
    fn page_waits_ten_minutes_on_either_clock() {
        let pages = PendingRegistrations::new();
        let key = key();
        pages.insert(key, page(NOW), NOW);
        let late = NOW.after(REGISTRATION_PAGE_TTL);
        for (now, waits) in [
            (NOW, true),
            (NOW.after(Duration::from_millis(599_999)), true),
            (late, false),
            (Timestamp { mono: late.mono, ..NOW }, false),
            (Timestamp { wall: late.wall, ..NOW }, false),
        ] {
            assert_eq!(pages.find(&key, now).is_some(), waits, "{now:?}");
        }
        pages.purge(late);
        assert!(pages.pages().by_key.is_empty() && pages.pages().oldest_first.is_empty());
    }

    #[test]
    fn oldest_page_makes_room() {
        let pages = PendingRegistrations::new();
        let keys: Vec<SessionKey> = (0..=MAX_PAGES).map(|_| key()).collect();
        for key in &keys {
            pages.insert(*key, page(NOW), NOW);
        }
        assert_eq!(pages.pages().by_key.len(), MAX_PAGES);
        assert_eq!(pages.pages().oldest_first.len(), MAX_PAGES);
        assert!(pages.find(&keys[0], NOW).is_none());
        assert!(pages.find(&keys[1], NOW).is_some() && pages.find(&keys[MAX_PAGES], NOW).is_some());
    }

    #[test]
    fn one_page_asks_each_two_seconds() {
        let page = page(NOW);
        assert!(page.begin_call(at(1_000)));
        assert!(!page.begin_call(at(9_000)), "one call at a time");
        page.end_call(None);
        assert!(!page.begin_call(at(2_999)));
        assert!(page.begin_call(at(3_000)));
        page.end_call(Some(RegistrationProgress::Registered));
        assert!(!page.begin_call(at(9_000)), "nothing is left to ask");
    }

    #[test]
    fn all_pages_share_one_pace() {
        let mut pace = PendingRegistrations::new().pace.into_inner().unwrap();
        let in_flight = (0..1_000).filter(|i| pace.begin(at(10_000 + i))).count();
        assert_eq!(in_flight, MAX_CALLS_IN_FLIGHT);
        let mut started = 0;
        for now in 20_000..30_000 {
            pace.end(false, None, at(now));
            started += u32::from(pace.begin(at(now)));
        }
        assert!((190..=210).contains(&started), "{started}");
    }

    #[test]
    fn failures_make_all_pages_pause() {
        let mut pace = PendingRegistrations::new().pace.into_inner().unwrap();
        let mut now = 10_000;
        for pause in [2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            assert!(pace.begin(at(now)));
            pace.end(true, None, at(now));
            assert!(!pace.begin(at(now + pause - 1)), "{pause}");
            now += pause;
        }
        assert!(pace.begin(at(now)));
        pace.end(true, Some(Duration::from_secs(60)), at(now));
        assert!(
            !pace.begin(at(now + 59_999)) && pace.begin(at(now + 60_000)),
            "as the service asks"
        );
        pace.end(false, None, at(now + 60_000));
        assert!(pace.begin(at(now + 61_000)));
        pace.end(true, None, at(now + 61_000));
        assert!(pace.begin(at(now + 63_000)), "a good answer ends the row of failures");
    }
}
