//! Every schedule of the engine's small concurrent types, explored by loom. The files are the
//! engine's own, compiled with loom's primitives instead of the standard library's.
#![allow(dead_code, reason = "the types are more than these models use")]
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test may fail")]

mod clock {
    pub(crate) use crate::moments::{Millis, MonoTime};
}

mod sync {
    pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
    pub(crate) use std::sync::PoisonError;
}

#[path = "../src/login/attempt_state.rs"]
mod attempt_state;
#[path = "../src/session/idle_state.rs"]
mod idle_state;
#[path = "../src/moments.rs"]
mod moments;
#[path = "../src/session/notify.rs"]
mod notify;

use attempt_state::{AttemptState, State};
use idle_state::{IdleState, Phase};
use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use loom::thread;
use moments::{Millis, MonoTime};
use notify::{Notifies, WakerList, Watcher};

const MINUTE: Millis = Millis::from_secs(60);

fn at(ms: u64) -> MonoTime {
    MonoTime::from_millis(ms)
}

/// Every schedule with at most three preemptions: without a bound the larger models take hours, and
/// known faults of this kind need no more.
fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(body);
}

#[derive(Default)]
struct Watchable {
    state: AtomicUsize,
    watchers: WakerList,
}

impl Notifies for Arc<Watchable> {
    fn watchers(&self) -> &WakerList {
        &self.watchers
    }
}

fn wait_for(watched: &Arc<Watchable>, state: usize) {
    let mut watch = Watcher::new(watched.clone());
    let observed = watch.wait_for(|watched| (watched.state.load(Acquire) == state).then_some(()));
    loom::future::block_on(observed);
}

/// Guard registry: an end between the check and the wait is not missed. A lost wakeup is a
/// deadlock.
#[test]
fn no_wakeup_is_lost() {
    model(|| {
        let watched = Arc::new(Watchable::default());
        let ender = watched.clone();
        let ending = thread::spawn(move || {
            ender.state.store(1, Release);
            ender.watchers.wake();
        });
        wait_for(&watched, 1);
        ending.join().unwrap();
        assert_eq!(watched.watchers.places(), 0);
    });
}

/// Guard registry: a dropped watcher takes neither another's slot nor its wakeup.
#[test]
fn dropped_watcher_keeps_others_wakeup() {
    model(|| {
        let watched = Arc::new(Watchable::default());
        let (ender, leaver) = (watched.clone(), watched.clone());
        let ending = thread::spawn(move || {
            ender.state.store(1, Release);
            ender.watchers.wake();
        });
        let leaving = thread::spawn(move || {
            let mut watch = Watcher::new(leaver);
            watch.register(&std::task::Context::from_waker(std::task::Waker::noop()));
        });
        wait_for(&watched, 1);
        ending.join().unwrap();
        leaving.join().unwrap();
        assert_eq!(watched.watchers.places(), 0);
    });
}

/// Single-flight handover: a session is never left parked while a request waits for it, and exactly
/// one of the requests for a parked session resumes it.
#[test]
fn parked_session_wakes_all_waiters() {
    model(|| {
        let activity = Arc::new(IdleState::new(MonoTime::START));
        let users: Vec<_> = (0..2)
            .map(|_| {
                let activity = activity.clone();
                thread::spawn(move || activity.acquire(at(100_000)))
            })
            .collect();
        let parked = activity.park(at(100_000), MINUTE);
        let woken = users.into_iter().map(|user| user.join().unwrap());
        let woken = woken.filter(|woken| *woken).count();
        assert_eq!(woken, usize::from(parked), "one wakes what was parked");
        let expected = if parked { Phase::Resuming } else { Phase::Running };
        assert_eq!((activity.phase(), activity.count()), (expected, 2));
        assert!(!activity.park(at(999_000), MINUTE), "two are on it");
    });
}

/// A session whose resume failed is parked again, unless a request arrives at that moment.
#[test]
fn unresumed_session_wakes_all_waiters() {
    model(|| {
        let activity = Arc::new(IdleState::new(MonoTime::START));
        assert!(activity.park(at(100_000), MINUTE));
        assert!(activity.acquire(at(100_000)));
        activity.release();
        let user = activity.clone();
        let coming = thread::spawn(move || user.acquire(at(200_000)));
        let parked = activity.park(at(200_000), MINUTE);
        assert_eq!(coming.join().unwrap(), parked, "whoever comes after the parking wakes it");
        assert_eq!((activity.phase(), activity.count()), (Phase::Resuming, 1));
    });
}

/// Requests read a clock that is some milliseconds ahead of the poller's: a session that was just
/// used must not count as unused for 198 days.
#[test]
fn recently_used_session_is_not_parked() {
    model(|| {
        let activity = IdleState::new(MonoTime::START);
        activity.acquire(at(100_012));
        activity.release();
        assert!(!activity.park(at(100_000), MINUTE));
        activity.acquire(at(100_000));
        activity.release();
        assert!(!activity.park(at(160_011), MINUTE), "the later use counts");
        assert!(activity.park(at(160_012), MINUTE));
    });
}

/// The mark that a credential was presented is kept in every race.
#[test]
fn presentation_is_not_lost() {
    model(|| {
        let activity = Arc::new(IdleState::new(MonoTime::START));
        activity.acquire(at(100_000));
        let (user, poller) = (activity.clone(), activity.clone());
        let using = thread::spawn(move || {
            user.acquire(at(200_000));
            user.release();
        });
        let parking = thread::spawn(move || poller.park(at(200_000), MINUTE));
        assert!(!activity.is_presented());
        activity.mark_presented();
        activity.release();
        using.join().unwrap();
        parking.join().unwrap();
        activity.mark_resumed();
        assert!(activity.is_presented());
        assert_eq!(activity.count(), 0);
    });
}

/// Single-flight handover: a poll completes while a request starts.
#[test]
fn used_session_resumes() {
    model(|| {
        let activity = Arc::new(IdleState::new(MonoTime::START));
        assert!(activity.park(at(100_000), MINUTE));
        assert!(activity.acquire(at(100_000)));
        let user = activity.clone();
        let using = thread::spawn(move || {
            let woke = user.acquire(at(200_000));
            user.release();
            woke
        });
        activity.mark_resumed();
        activity.release();
        assert!(!using.join().unwrap());
        activity.mark_resumed();
        assert_eq!((activity.phase(), activity.count()), (Phase::Running, 0));
        assert!(!activity.park(at(250_000), MINUTE), "used 50 s ago");
        assert!(activity.park(at(260_000), MINUTE));
    });
}

/// Two requests of one browser: one creates the session, and the other gets the same.
#[test]
fn racing_claims_make_one_session() {
    model(|| {
        let outcome = Arc::new(AttemptState::<u8, ()>::new());
        assert!(outcome.approve(7));
        let made = Arc::new(AtomicUsize::new(0));
        let claim = |outcome: &AttemptState<u8, ()>, made: &AtomicUsize| {
            outcome.claim(
                |result| {
                    made.fetch_add(1, AcqRel);
                    Some(*result)
                },
                |result| (made.load(Acquire) == 1).then_some(*result),
            )
        };
        let (other, others_made) = (outcome.clone(), made.clone());
        let racing = thread::spawn(move || claim(&other, &others_made));
        assert_eq!(claim(&outcome, &made), Some(7));
        assert_eq!(racing.join().unwrap(), Some(7), "it was made before it is repeated");
        assert_eq!(made.load(Acquire), 1);
    });
}

/// A claim that creates no session leaves the result for the next claim.
#[test]
fn rejected_claim_keeps_the_result() {
    model(|| {
        let outcome = Arc::new(AttemptState::<u8, ()>::new());
        assert!(outcome.approve(7));
        let other = outcome.clone();
        let rejecting = thread::spawn(move || other.claim(|_| None::<u8>, |result| Some(*result)));
        let mine = outcome.claim(|result| Some(*result), |_| None);
        assert_eq!(mine, Some(7));
        rejecting.join().unwrap();
        assert!(matches!(outcome.stage(), State::Claimed(7)));
    });
}

/// The cancel wins: a result is never claimed after a cancel, and a cancel gets a session that was
/// claimed before.
#[test]
fn cancel_wins_over_a_claim() {
    model(|| {
        let outcome = Arc::new(AttemptState::<u8, ()>::new());
        let (approver, claimer) = (outcome.clone(), outcome.clone());
        let approving = thread::spawn(move || approver.approve(7));
        let claiming = thread::spawn(move || claimer.claim(|result| Some(*result), |_| None));
        let to_end = outcome.cancel();
        let approved = approving.join().unwrap();
        let claimed = claiming.join().unwrap();
        match outcome.stage() {
            State::Claimed(_) => assert_eq!((claimed, to_end), (Some(7), Some(7))),
            State::Cancelled => assert_eq!((claimed, to_end), (None, None)),
            other => panic!("{other:?}, approved: {approved}"),
        }
    });
}

/// A deadline and a claim: exactly one happens, and an end is permanent.
#[test]
fn deadline_and_claim_exclude_each_other() {
    model(|| {
        let outcome = Arc::new(AttemptState::<u8, &str>::new());
        assert!(outcome.approve(7));
        let claimer = outcome.clone();
        let claim =
            |outcome: &AttemptState<u8, &str>| outcome.claim(|it| Some(*it), |it| Some(*it));
        let claiming = thread::spawn(move || claim(&claimer));
        let ended = outcome.end("late");
        assert_ne!(claiming.join().unwrap().is_some(), ended);
        assert!(!outcome.approve(8));
        assert_eq!(claim(&outcome).is_some(), !ended, "only what was claimed in time is repeated");
    });
}
