//! Very many logouts at the service at one moment: how many are in flight, which go first, and how
//! often each is tried.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::harness::{Harness, StoreBehavior, reply_ok, reply_status, started};
use crate::client::mock::ReceivedCall;
use crate::identity::SessionCredential;
use crate::protocol::SessionStatus::Active;
use crate::session::LogoutOutcome;
use crate::store::StoreErrorKind;
use crate::{Activeconnect, UserId};

/// A service that leaves logouts unanswered while it is told to.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<Calls>>);

#[derive(Default)]
struct Calls {
    /// What logouts are answered with; `None` leaves them waiting.
    answer: Option<u16>,
    waiting: Vec<ReceivedCall>,
    /// The times at which each path was called, in milliseconds.
    logouts: BTreeMap<String, Vec<u64>>,
    polls: u64,
}

impl Service {
    fn of(stage: &mut Harness) -> Self {
        let service = Self::default();
        let calls = service.0.clone();
        let mut begun = 100_000;
        stage.respond_with(move |now, call| {
            let mut calls = calls.lock().unwrap();
            if call.path.starts_with("/authentication/authenticate_user") {
                begun += 1;
                started(call, begun);
            } else if call.path.starts_with("/l/") {
                calls.logouts.entry(call.path.clone()).or_default().push(now);
                match calls.answer {
                    Some(200) => reply_ok(call),
                    Some(status) => _ = call.answer(status, ""),
                    None => calls.waiting.push(call),
                }
            } else {
                calls.polls += 1;
                reply_ok(call);
            }
        });
        service
    }

    fn answers(&self, status: Option<u16>) {
        self.0.lock().unwrap().answer = status;
    }

    /// How many logouts wait for an answer.
    fn in_flight(&self) -> usize {
        let mut calls = self.0.lock().unwrap();
        calls.waiting.retain(|call| !call.is_cancelled());
        calls.waiting.len()
    }

    /// Confirms those that wait.
    fn confirm(&self) {
        let waiting = std::mem::take(&mut self.0.lock().unwrap().waiting);
        waiting.into_iter().for_each(reply_ok);
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

/// Sessions that are all over after a quarter of an hour.
fn short_lived(ac: &Activeconnect, sessions: usize) -> Vec<SessionCredential> {
    (0..sessions)
        .map(|n| ac.engine().insert_test_session(&UserId::from(format!("user{n}").as_str()), n))
        .collect()
}

fn stage() -> Harness {
    Harness::with_builder(|builder| builder.session_duration(Duration::from_secs(900)))
}

/// T175: the places for background logouts are never exceeded, and each is logged out once.
#[tokio::test(start_paused = true)]
async fn expiries_are_logged_out_a_few_at_a_time() {
    let mut stage = stage();
    let service = Service::of(&mut stage);
    let _credentials = short_lived(&stage.ac, 800);
    let (mut most_pending, mut most) = (0, 0);
    for step in 0..4_000 {
        stage.at(880_000 + step * 25).await;
        most_pending = most_pending.max(stage.ac.health().logouts_pending);
        most = most.max(service.in_flight());
        service.confirm();
    }
    assert!(most_pending > 700, "{most_pending}");
    assert_eq!((most, service.logged_out()), (48, 800));
    assert_eq!(stage.ac.health().logouts_pending, 0);
    for n in 0..800 {
        assert_eq!(service.tries_of(&format!("/l/{n}")).len(), 1);
    }
}

/// A wall clock that jumps by half a day ends all sessions; whatever the service does about their
/// logouts, no more than these are in flight.
#[tokio::test(start_paused = true)]
async fn clock_jump_logs_out_a_few_at_a_time() {
    let mut stage = Harness::new();
    let service = Service::of(&mut stage);
    let _credentials = short_lived(&stage.ac, 800);
    stage.at(1_000).await;
    stage.clock.shift_wall_clock(12 * 3_600_000);
    let mut most = 0;
    for second in 1..4_000 {
        stage.at(1_000 * second).await;
        most = most.max(service.in_flight());
    }
    assert_eq!((most, service.logged_out()), (48, 800));
    assert_eq!(stage.ac.health().logouts_pending, 0, "each is given up after its last try");
}

/// Who logs out is not kept waiting by sessions that expire, and neither is a phone that is to ring
/// again.
#[tokio::test(start_paused = true)]
async fn prompt_logouts_go_before_background_ones() {
    let mut stage = stage();
    let service = Service::of(&mut stage);
    let _credentials = short_lived(&stage.ac, 800);
    stage.at(300_000).await;
    let bob = stage.ac.engine().insert_test_session(&"bob".into(), 9_000);
    stage.at(961_000).await;
    assert_eq!(service.in_flight(), 48, "all that may are stuck");
    service.answers(Some(200));
    let user = UserId::from("bob");
    let session = stage.ac.sessions(&user).await.unwrap()[0].id();
    assert_eq!(stage.ac.end_session(&user, &session).await.unwrap(), LogoutOutcome::Confirmed);
    assert_eq!((stage.now(), service.in_flight()), (961_000, 48));
    assert_eq!(stage.send_request(&bob).await, "ended");
}

/// The outcome of a logout is waited for 5 s, its turn included.
#[tokio::test(start_paused = true)]
async fn full_logouts_are_waited_for_five_seconds() {
    let mut stage = stage();
    let service = Service::of(&mut stage);
    for n in 0..100 {
        stage.ac.engine().insert_test_session(&"alice".into(), n);
    }
    let ac = stage.ac.clone();
    let ending = tokio::spawn(async move { ac.end_all_sessions(&"alice".into()).await.unwrap() });
    stage.at(4_999).await;
    assert_eq!((service.in_flight(), ending.is_finished()), (64, false));
    stage.at(5_002).await;
    assert!(ending.is_finished());
    assert_eq!(ending.await.unwrap(), LogoutOutcome::LocalOnly);
    assert_eq!(stage.ac.health().logouts_pending, 100);
}

/// T183: a token store that hangs delays no end, nor the logout at the service.
#[tokio::test(start_paused = true)]
async fn hanging_token_store_delays_no_end() {
    let mut stage = Harness::new();
    let service = Service::of(&mut stage);
    service.answers(Some(200));
    let alice = stage.ac.engine().insert_test_session(&"alice".into(), 1);
    stage.token_store.set_behavior(StoreBehavior::Hangs);
    let ac = stage.ac.clone();
    let ending = tokio::spawn(async move { ac.end_all_sessions(&"alice".into()).await });
    stage.at(1).await;
    assert_eq!(
        (stage.send_request(&alice).await.as_str(), service.tries_of("/l/1").len()),
        ("ended", 1)
    );
    let error = ending.await.unwrap().unwrap_err();
    assert_eq!((stage.now() / 10, error.kind()), (500, StoreErrorKind::Unavailable));
}

/// Each is tried again, later ones too, until the service confirms it.
#[tokio::test(start_paused = true)]
async fn logout_is_retried_until_confirmed() {
    let mut stage = Harness::new();
    let service = Service::of(&mut stage);
    service.answers(Some(503));
    stage.ac.engine().insert_test_session(&"alice".into(), 1);
    let user = UserId::from("alice");
    let session = stage.ac.sessions(&user).await.unwrap()[0].id();
    assert_eq!(stage.ac.end_session(&user, &session).await.unwrap(), LogoutOutcome::LocalOnly);
    let tries = || service.tries_of("/l/1").iter().map(|ms| ms / 1_000).collect::<Vec<_>>();
    stage.at(60_000).await;
    assert_eq!((tries(), stage.ac.health().logouts_pending), (vec![0, 1, 5, 35], 1));
    service.answers(Some(200));
    stage.at(3_600_000).await;
    assert_eq!((tries(), stage.ac.health().logouts_pending), (vec![0, 1, 5, 35, 155], 0));
}

#[tokio::test(start_paused = true)]
async fn logout_is_given_up_after_a_quarter_of_an_hour() {
    let mut stage = Harness::new();
    let service = Service::of(&mut stage);
    service.answers(Some(503));
    stage.ac.engine().insert_test_session(&"alice".into(), 1);
    stage.ac.end_all_sessions(&"alice".into()).await.unwrap();
    stage.at(900_000).await;
    assert_eq!((service.tries_of("/l/1").len(), stage.ac.health().logouts_pending), (6, 0));
    stage.at(7_200_000).await;
    assert_eq!(service.tries_of("/l/1").len(), 6);
}

/// More polls are due than may be sent: the logouts of expired sessions wait for them, and go on
/// slowly all the same.
#[tokio::test(start_paused = true)]
async fn polls_go_before_background_logouts() {
    let mut stage = Harness::with_builder(|builder| {
        let builder = builder.session_duration(Duration::from_secs(20));
        builder.poll_interval(Duration::from_millis(100)).max_polls_per_second(500)
    });
    let service = Service::of(&mut stage);
    service.answers(Some(200));
    let _short_lived = short_lived(&stage.ac, 300);
    stage.at(15_000).await;
    // 1,000 polls a second are due from now on, and 500 may be sent.
    let mut streams = Vec::new();
    for n in 0..100 {
        let user = UserId::from(format!("busy{n}").as_str());
        let credential = stage.ac.engine().insert_test_session(&user, 1_000 + n);
        streams.push(stage.session(&credential).watch());
    }
    stage.at(21_000).await;
    let (polls, logged_out) = (service.polls(), service.logged_out());
    stage.at(31_000).await;
    let polls = service.polls() - polls;
    assert!((4_900..=5_100).contains(&polls), "{polls} polls in 10 s");
    let logged_out = service.logged_out() - logged_out;
    assert!((80..=105).contains(&logged_out), "{logged_out} logouts in 10 s");
    // Nothing is to be polled any more.
    drop(streams);
    stage.at(45_000).await;
    assert_eq!((service.logged_out(), stage.ac.health().logouts_pending), (400, 0));
}

/// A shutdown waits for the farewell at most, however many logouts wait.
#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_all_logouts() {
    let mut stage = stage();
    let _service = Service::of(&mut stage);
    let _credentials = short_lived(&stage.ac, 800);
    stage.at(961_000).await;
    assert_eq!(stage.ac.health().logouts_pending, 800);
    stage.ac.shutdown().await;
    assert!((961_000..=966_100).contains(&stage.now()), "{}", stage.now());
    assert_eq!(stage.ac.health().logouts_pending, 0);
}

/// What waits for a later try is tried at once, once more: the shutdown waits for that alone.
#[tokio::test(start_paused = true)]
async fn shutdown_cuts_long_pauses_short() {
    let mut stage = Harness::new();
    let service = Service::of(&mut stage);
    service.answers(Some(503));
    stage.ac.engine().insert_test_session(&"alice".into(), 1);
    stage.ac.end_all_sessions(&"alice".into()).await.unwrap();
    stage.at(10_000).await;
    stage.ac.shutdown().await;
    assert_eq!(service.tries_of("/l/1"), [0, 1_000, 5_000, 10_000]);
    assert_eq!((stage.now(), stage.ac.health().logouts_pending), (10_000, 0));
}

/// An attempt that another supersedes is logged out before the phone rings again, while very many
/// sessions expire.
#[tokio::test(start_paused = true)]
async fn superseded_login_is_withdrawn_in_time() {
    let mut stage = stage();
    let _credentials = short_lived(&stage.ac, 800);
    // None of the expired sessions' logouts is answered.
    let mut unanswered = Vec::new();
    let (rang, mut rings) = tokio::sync::mpsc::unbounded_channel();
    let mut begun = 100_000;
    stage.respond_with(move |now, call| {
        if call.path.starts_with("/authentication/authenticate_user") {
            begun += 1;
            rang.send(("rings", now)).unwrap();
            started(call, begun);
        } else if call.path.starts_with("/l/1000") {
            rang.send(("withdrawn", now)).unwrap();
            reply_ok(call);
        } else if call.path.starts_with("/l/") {
            unanswered.push(call);
        } else if call.path.starts_with("/s/1000") {
            reply_status(call, crate::protocol::SessionStatus::Pending);
        } else {
            reply_status(call, Active);
        }
    });
    stage.at(961_000).await;
    let first = stage.spawn_login("bob");
    assert_eq!(rings.recv().await.unwrap(), ("rings", 961_000));
    first.abort();
    first.await.unwrap_err();
    let second = stage.spawn_login("bob");
    assert_eq!(rings.recv().await.unwrap(), ("withdrawn", 961_000));
    assert_eq!(rings.recv().await.unwrap(), ("rings", 961_000));
    second.abort();
}
