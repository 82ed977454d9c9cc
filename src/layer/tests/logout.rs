//! Mass logouts at the service: how many are in flight, their order, and the retries.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::harness::{Harness, StoreBehavior, reply_ok, reply_started, reply_status};
use crate::client::mock::ReceivedCall;
use crate::identity::SessionCredential;
use crate::protocol::SessionStatus::Active;
use crate::session::LogoutOutcome;
use crate::store::StoreErrorKind;
use crate::{Activeconnect, UserId};

/// A service whose replies to logouts the test controls.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<Calls>>);

#[derive(Default)]
struct Calls {
    /// The HTTP status of replies to logouts; `None` keeps them pending.
    logout_reply: Option<u16>,
    pending_logouts: Vec<ReceivedCall>,
    /// The times of calls to each path, in milliseconds.
    logouts: BTreeMap<String, Vec<u64>>,
    polls: u64,
}

impl Service {
    fn start(harness: &mut Harness) -> Self {
        let service = Self::default();
        let calls = service.0.clone();
        let mut last_session = 100_000;
        harness.respond_with(move |now, call| {
            let mut calls = calls.lock().unwrap();
            if call.path.starts_with("/authentication/authenticate_user") {
                last_session += 1;
                reply_started(call, last_session);
            } else if call.path.starts_with("/l/") {
                calls.logouts.entry(call.path.clone()).or_default().push(now);
                match calls.logout_reply {
                    Some(200) => reply_ok(call),
                    Some(status) => _ = call.answer(status, ""),
                    None => calls.pending_logouts.push(call),
                }
            } else {
                calls.polls += 1;
                reply_ok(call);
            }
        });
        service
    }

    fn set_logout_reply(&self, status: Option<u16>) {
        self.0.lock().unwrap().logout_reply = status;
    }

    /// The number of logouts that wait for a reply.
    fn in_flight(&self) -> usize {
        let mut calls = self.0.lock().unwrap();
        calls.pending_logouts.retain(|call| !call.is_cancelled());
        calls.pending_logouts.len()
    }

    /// Confirms the pending logouts.
    fn confirm(&self) {
        let pending = std::mem::take(&mut self.0.lock().unwrap().pending_logouts);
        pending.into_iter().for_each(reply_ok);
    }

    fn tries_of(&self, path: &str) -> Vec<u64> {
        self.0.lock().unwrap().logouts.get(path).cloned().unwrap_or_default()
    }

    fn logged_out(&self) -> usize {
        self.0.lock().unwrap().logouts.len()
    }

    fn polls(&self) -> u64 {
        self.0.lock().unwrap().polls
    }
}

fn insert_sessions(ac: &Activeconnect, sessions: usize) -> Vec<SessionCredential> {
    (0..sessions)
        .map(|n| ac.engine().insert_test_session(&UserId::from(format!("user{n}").as_str()), n))
        .collect()
}

/// A harness whose sessions live for 15 minutes.
fn harness_15_min() -> Harness {
    Harness::with_builder(|builder| builder.session_duration(Duration::from_secs(900)))
}

/// T175: at most 48 background logouts are in flight, and each session is logged out once.
#[tokio::test(start_paused = true)]
async fn expired_sessions_log_out_at_most_48_at_once() {
    let mut harness = harness_15_min();
    let service = Service::start(&mut harness);
    let _credentials = insert_sessions(&harness.ac, 800);
    let (mut max_pending, mut max_in_flight) = (0, 0);
    for step in 0..4_000 {
        harness.advance_to(880_000 + step * 25).await;
        max_pending = max_pending.max(harness.ac.health().logouts_pending);
        max_in_flight = max_in_flight.max(service.in_flight());
        service.confirm();
    }
    assert!(max_pending > 700, "{max_pending}");
    assert_eq!((max_in_flight, service.logged_out()), (48, 800));
    assert_eq!(harness.ac.health().logouts_pending, 0);
    for n in 0..800 {
        assert_eq!(service.tries_of(&format!("/l/{n}")).len(), 1);
    }
}

/// A wall clock jump of 12 h ends all sessions. At most 48 logouts are in flight, although the
/// service does not reply.
#[tokio::test(start_paused = true)]
async fn clock_jump_logs_out_at_most_48_at_once() {
    let mut harness = Harness::new();
    let service = Service::start(&mut harness);
    let _credentials = insert_sessions(&harness.ac, 800);
    harness.advance_to(1_000).await;
    harness.clock.shift_wall_clock(12 * 3_600_000);
    let mut max_in_flight = 0;
    for second in 1..4_000 {
        harness.advance_to(1_000 * second).await;
        max_in_flight = max_in_flight.max(service.in_flight());
    }
    assert_eq!((max_in_flight, service.logged_out()), (48, 800));
    assert_eq!(
        harness.ac.health().logouts_pending,
        0,
        "each logout is abandoned after its last try"
    );
}

/// Logouts of users do not wait for the logouts of expired sessions.
#[tokio::test(start_paused = true)]
async fn user_logouts_precede_background_logouts() {
    let mut harness = harness_15_min();
    let service = Service::start(&mut harness);
    let _credentials = insert_sessions(&harness.ac, 800);
    harness.advance_to(300_000).await;
    let bob = harness.ac.engine().insert_test_session(&"bob".into(), 9_000);
    harness.advance_to(961_000).await;
    assert_eq!(service.in_flight(), 48, "all background slots are taken");
    service.set_logout_reply(Some(200));
    let user = UserId::from("bob");
    let session = harness.ac.sessions(&user).await.unwrap()[0].id();
    assert_eq!(harness.ac.end_session(&user, &session).await.unwrap(), LogoutOutcome::Confirmed);
    assert_eq!((harness.now(), service.in_flight()), (961_000, 48));
    assert_eq!(harness.send_request(&bob).await, "ended");
}

/// The wait for a logout takes at most 5 s, including the wait for a slot.
#[tokio::test(start_paused = true)]
async fn logout_waits_at_most_5_s_for_a_slot() {
    let mut harness = harness_15_min();
    let service = Service::start(&mut harness);
    for n in 0..100 {
        harness.ac.engine().insert_test_session(&"alice".into(), n);
    }
    let ac = harness.ac.clone();
    let ending = tokio::spawn(async move { ac.end_all_sessions(&"alice".into()).await.unwrap() });
    harness.advance_to(4_999).await;
    assert_eq!((service.in_flight(), ending.is_finished()), (64, false));
    harness.advance_to(5_002).await;
    assert!(ending.is_finished());
    assert_eq!(ending.await.unwrap(), LogoutOutcome::LocalOnly);
    assert_eq!(harness.ac.health().logouts_pending, 100);
}

/// T183: a hanging token store delays neither the local end nor the logout at the service.
#[tokio::test(start_paused = true)]
async fn hanging_token_store_does_not_delay_end() {
    let mut harness = Harness::new();
    let service = Service::start(&mut harness);
    service.set_logout_reply(Some(200));
    let alice = harness.ac.engine().insert_test_session(&"alice".into(), 1);
    harness.token_store.set_behavior(StoreBehavior::Hangs);
    let ac = harness.ac.clone();
    let ending = tokio::spawn(async move { ac.end_all_sessions(&"alice".into()).await });
    harness.advance_to(1).await;
    assert_eq!(
        (harness.send_request(&alice).await.as_str(), service.tries_of("/l/1").len()),
        ("ended", 1)
    );
    let error = ending.await.unwrap().unwrap_err();
    assert_eq!((harness.now() / 10, error.kind()), (500, StoreErrorKind::Unavailable));
}

/// A logout is retried, also in the background, until the service confirms it.
#[tokio::test(start_paused = true)]
async fn logout_is_retried_until_confirmed() {
    let mut harness = Harness::new();
    let service = Service::start(&mut harness);
    service.set_logout_reply(Some(503));
    harness.ac.engine().insert_test_session(&"alice".into(), 1);
    let user = UserId::from("alice");
    let session = harness.ac.sessions(&user).await.unwrap()[0].id();
    assert_eq!(harness.ac.end_session(&user, &session).await.unwrap(), LogoutOutcome::LocalOnly);
    let tries = || service.tries_of("/l/1").iter().map(|ms| ms / 1_000).collect::<Vec<_>>();
    harness.advance_to(60_000).await;
    assert_eq!((tries(), harness.ac.health().logouts_pending), (vec![0, 1, 5, 35], 1));
    service.set_logout_reply(Some(200));
    harness.advance_to(3_600_000).await;
    assert_eq!((tries(), harness.ac.health().logouts_pending), (vec![0, 1, 5, 35, 155], 0));
}

#[tokio::test(start_paused = true)]
async fn logout_is_abandoned_after_15_minutes() {
    let mut harness = Harness::new();
    let service = Service::start(&mut harness);
    service.set_logout_reply(Some(503));
    harness.ac.engine().insert_test_session(&"alice".into(), 1);
    harness.ac.end_all_sessions(&"alice".into()).await.unwrap();
    harness.advance_to(900_000).await;
    assert_eq!((service.tries_of("/l/1").len(), harness.ac.health().logouts_pending), (6, 0));
    harness.advance_to(7_200_000).await;
    assert_eq!(service.tries_of("/l/1").len(), 6);
}

/// When more polls are due than the rate limit allows, logouts of expired sessions slow down but
/// do not stop.
#[tokio::test(start_paused = true)]
async fn polls_precede_background_logouts() {
    let mut harness = Harness::with_builder(|builder| {
        let builder = builder.session_duration(Duration::from_secs(20));
        builder.poll_interval(Duration::from_millis(100)).max_polls_per_second(500)
    });
    let service = Service::start(&mut harness);
    service.set_logout_reply(Some(200));
    let _credentials = insert_sessions(&harness.ac, 300);
    harness.advance_to(15_000).await;
    // From now on 1,000 polls a second are due, and the limit is 500.
    let mut streams = Vec::new();
    for n in 0..100 {
        let user = UserId::from(format!("busy{n}").as_str());
        let credential = harness.ac.engine().insert_test_session(&user, 1_000 + n);
        streams.push(harness.session(&credential).watch());
    }
    harness.advance_to(21_000).await;
    let (polls, logged_out) = (service.polls(), service.logged_out());
    harness.advance_to(31_000).await;
    let polls = service.polls() - polls;
    assert!((4_900..=5_100).contains(&polls), "{polls} polls in 10 s");
    let logged_out = service.logged_out() - logged_out;
    assert!((80..=105).contains(&logged_out), "{logged_out} logouts in 10 s");
    // No session is polled any more.
    drop(streams);
    harness.advance_to(45_000).await;
    assert_eq!((service.logged_out(), harness.ac.health().logouts_pending), (400, 0));
}

/// A shutdown waits at most 5 s, independent of the number of pending logouts.
#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_all_logouts() {
    let mut harness = harness_15_min();
    let _service = Service::start(&mut harness);
    let _credentials = insert_sessions(&harness.ac, 800);
    harness.advance_to(961_000).await;
    assert_eq!(harness.ac.health().logouts_pending, 800);
    harness.ac.shutdown().await;
    assert!((961_000..=966_100).contains(&harness.now()), "{}", harness.now());
    assert_eq!(harness.ac.health().logouts_pending, 0);
}

/// A shutdown tries each waiting logout once more, at once, and waits only for that.
#[tokio::test(start_paused = true)]
async fn shutdown_retries_logout_at_once() {
    let mut harness = Harness::new();
    let service = Service::start(&mut harness);
    service.set_logout_reply(Some(503));
    harness.ac.engine().insert_test_session(&"alice".into(), 1);
    harness.ac.end_all_sessions(&"alice".into()).await.unwrap();
    harness.advance_to(10_000).await;
    harness.ac.shutdown().await;
    assert_eq!(service.tries_of("/l/1"), [0, 1_000, 5_000, 10_000]);
    assert_eq!((harness.now(), harness.ac.health().logouts_pending), (10_000, 0));
}

/// A superseded attempt is logged out before the next push, even while many sessions expire.
#[tokio::test(start_paused = true)]
async fn superseded_login_is_cancelled_before_next_push() {
    let mut harness = harness_15_min();
    let _credentials = insert_sessions(&harness.ac, 800);
    // The logouts of expired sessions get no reply.
    let mut unanswered = Vec::new();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut last_session = 100_000;
    harness.respond_with(move |now, call| {
        if call.path.starts_with("/authentication/authenticate_user") {
            last_session += 1;
            sender.send(("push", now)).unwrap();
            reply_started(call, last_session);
        } else if call.path.starts_with("/l/1000") {
            sender.send(("cancel", now)).unwrap();
            reply_ok(call);
        } else if call.path.starts_with("/l/") {
            unanswered.push(call);
        } else if call.path.starts_with("/s/1000") {
            reply_status(call, crate::protocol::SessionStatus::Pending);
        } else {
            reply_status(call, Active);
        }
    });
    harness.advance_to(961_000).await;
    let first = harness.spawn_login("bob");
    assert_eq!(receiver.recv().await.unwrap(), ("push", 961_000));
    first.abort();
    first.await.unwrap_err();
    let second = harness.spawn_login("bob");
    assert_eq!(receiver.recv().await.unwrap(), ("cancel", 961_000));
    assert_eq!(receiver.recv().await.unwrap(), ("push", 961_000));
    second.abort();
}
