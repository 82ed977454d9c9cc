//! The whole engine, the layer in front of it, against a model: random traces of logins, requests,
//! streams, callers that go away, polls answered late, oddly or never, clock jumps, logouts, walks
//! away, restarts. Time is paused, the service is played here, and what is ready at one moment runs
//! in another order in each trace.
//!
//! The model is `History` (`session/model_tests.rs`), which knows neither `verdict` nor the state
//! machine. What happens in one and the same millisecond may be seen in either order.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::StatusCode;
use http_body::Body as _;
use proptest::prelude::*;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::harness;
use crate::client::mock::{ReceivedCall, ScriptedUpstream};
use crate::clock::{Clock, MonoTime, Timestamp};
use crate::identity::{SessionCredential, UserId, UserToken};
use crate::polling::yield_injection::{seed_yields, with_random_yields};
use crate::protocol::SessionStatus;
use crate::session::model_tests::{History, Polled, Reply};
use crate::verdict::Verdict;
use crate::{Activeconnect, MemoryTokenStore, TokenStore as _};

const USERS: [&str; 3] = ["alice", "bob", "carol"];
const LIFETIME: u64 = 200_000;
const POLL: u64 = 3_000;
const KEEP: u64 = 60_000;
const WAKE: u64 = 3_500;
const HOLD: u64 = 30_000;

#[derive(Clone, Debug)]
enum Op {
    Pass(u64),
    WallJumps(i64),
    LogIn(usize),
    /// The phone acts on the newest, second newest … remote session.
    Remote(usize, SessionStatus),
    /// A request whose handler takes so long.
    Request(usize, u64),
    /// A request whose answer is a stream without end.
    Stream(usize),
    /// One of those that wait or stream goes away.
    Leave(usize),
    LogOut(usize),
    EndAll(usize),
    Restart,
}

/// How a call is answered.
#[derive(Clone, Copy, Debug)]
enum ReplyKind {
    Well,
    Odd,
    Refused,
    Unwell,
    Reset,
    Never,
}

#[derive(Clone, Debug)]
struct Trace {
    steps: Vec<Op>,
    answers: Vec<(ReplyKind, u64)>,
    interval: u64,
    unrest: u64,
}

fn trace() -> impl Strategy<Value = Trace> {
    let act = prop_oneof![
        8 => Just(SessionStatus::Active),
        2 => Just(SessionStatus::Walkaway),
        1 => prop::sample::select(&SessionStatus::ALL[..]),
    ];
    let pass = prop_oneof![
        10 => 0..3_000_u64,
        3 => 0..20_000_u64,
        1 => 55_000..75_000_u64,
        1 => 0..320_000_u64,
    ];
    let step = prop_oneof![
        12 => pass.prop_map(Op::Pass),
        1 => (-40_000..40_000_i64).prop_map(Op::WallJumps),
        5 => (0..USERS.len()).prop_map(Op::LogIn),
        8 => (0..4_usize, act).prop_map(|(which, status)| Op::Remote(which, status)),
        10 => (0..8_usize, prop_oneof![3 => Just(0), 1 => 1..8_000_u64])
            .prop_map(|(which, takes)| Op::Request(which, takes)),
        5 => (0..8_usize).prop_map(Op::Stream),
        4 => any::<usize>().prop_map(Op::Leave),
        3 => (0..8_usize).prop_map(Op::LogOut),
        1 => prop::bool::weighted(0.3).prop_flat_map(|all| (0..USERS.len()).prop_map(move |user| {
            if all { Op::EndAll(user) } else { Op::LogIn(user) }
        })),
        1 => prop::bool::weighted(0.2).prop_map(|all| {
            if all { Op::Restart } else { Op::Pass(1) }
        }),
    ];
    let how = prop_oneof![
        14 => Just(ReplyKind::Well),
        1 => Just(ReplyKind::Odd),
        1 => Just(ReplyKind::Refused),
        2 => Just(ReplyKind::Unwell),
        1 => Just(ReplyKind::Reset),
        1 => Just(ReplyKind::Never),
    ];
    let late = prop_oneof![6 => 0..200_u64, 1 => 0..4_000_u64, 1 => Just(POLL)];
    let answers = prop::collection::vec((how, late), 30);
    let interval = prop_oneof![Just(1_000), Just(2_500), Just(5_000)];
    (prop::collection::vec(step, 50), answers, interval, 1..u64::MAX)
        .prop_map(|(steps, answers, interval, unrest)| Trace { steps, answers, interval, unrest })
}

/// A session at the service, and all that was said of it.
#[derive(Debug)]
struct Remote {
    user: String,
    status: SessionStatus,
    asked: Timestamp,
    /// When the engine's polls were sent; whether one is on its way; what came of them and when.
    sends: Vec<u64>,
    in_flight: bool,
    polls: Vec<(u64, Polled)>,
    ended_here: Option<u64>,
    seen_ended: bool,
    /// The engine could not know of it, or could not end it.
    unsure: bool,
    /// A login was claimed with it.
    taken: bool,
    /// When the session was used, and how many hold it open now.
    used: u64,
    open: usize,
}

impl Remote {
    /// What the model says at this moment, before and after what happens in the same millisecond.
    fn verdicts(&self, now: Timestamp) -> [Verdict; 2] {
        [false, true].map(|with| {
            let known = |at: u64| at < now.mono.as_millis() || (with && at == now.mono.as_millis());
            let polls = self.polls.iter().filter(|(at, _)| known(*at));
            let history = History {
                polls: polls.map(|(_, poll)| *poll).collect(),
                ended_here: self.ended_here.is_some_and(known),
            };
            history.verdict(self.asked, LIFETIME, now)
        })
    }
}

/// What is true, kept by the service that is played and by those who use the engine.
#[derive(Debug)]
struct Model {
    clock: Clock,
    /// Of the engine's polls.
    interval: u64,
    remotes: Vec<Remote>,
    answers: Vec<(ReplyKind, u64)>,
    next_answer: usize,
    others_answered: Option<Timestamp>,
    /// The last call of any came to nothing.
    failing: bool,
    /// Milliseconds at which something happens already: one thing at a time.
    taken: Vec<u64>,
}

type Shared = Arc<Mutex<Model>>;

fn lock(world: &Shared) -> MutexGuard<'_, Model> {
    world.lock().unwrap()
}

impl Model {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn how(&mut self) -> (ReplyKind, u64) {
        self.next_answer += 1;
        self.answers[self.next_answer % self.answers.len()]
    }

    /// A call that was sent then was answered well; one that was sent later may have been before.
    fn record_answer(&mut self, sent: Timestamp) {
        if self.others_answered.is_none_or(|last| last.mono.as_millis() <= sent.mono.as_millis()) {
            self.others_answered = Some(sent);
        }
    }

    /// Takes a later millisecond that is not taken yet.
    fn moment(&mut self, after: u64) -> u64 {
        let mut at = self.now().mono.as_millis() + after.max(1);
        while self.taken.contains(&at) {
            at += 1;
        }
        self.taken.push(at);
        at
    }
}

async fn until(world: &Shared, at: u64) {
    let instant = lock(world).clock.instant(MonoTime::from_millis(at));
    tokio::time::sleep_until(instant).await;
}

/// The service: hears calls until the engine is gone.
async fn serve(world: Shared, mut heard: UnboundedReceiver<ReceivedCall>) {
    while let Some(call) = heard.recv().await {
        let world = world.clone();
        if call.path.starts_with("/authentication/authenticate_user") {
            tokio::spawn(authenticate(world, call));
        } else if let Some(name) = call.path.strip_prefix("/s/") {
            let which = name.parse().unwrap();
            tokio::spawn(poll(world, which, call));
        } else {
            tokio::spawn(other(world, call));
        }
    }
}

async fn authenticate(world: Shared, call: ReceivedCall) {
    let (which, how, at) = {
        let mut world = lock(&world);
        let asked = world.now();
        let (how, late) = world.how();
        let which = world.remotes.len();
        let user = call.path.rsplit('/').next().unwrap().to_owned();
        let rings = |remote: &Remote| {
            let waits = remote.status == SessionStatus::Pending && !remote.unsure;
            waits
                && remote.user == user
                && remote
                    .polls
                    .iter()
                    .all(|(_, poll)| poll.said == Reply::Status(SessionStatus::Pending))
        };
        let ringing = world.remotes.iter().find(|remote| rings(remote));
        assert!(ringing.is_none(), "two requests wait on one phone at {asked:?}: {ringing:?}");
        world.remotes.push(Remote {
            user,
            status: SessionStatus::Pending,
            asked,
            sends: Vec::new(),
            in_flight: false,
            polls: Vec::new(),
            ended_here: None,
            seen_ended: false,
            unsure: !matches!(how, ReplyKind::Well | ReplyKind::Odd | ReplyKind::Refused),
            taken: false,
            used: asked.mono.as_millis(),
            open: 0,
        });
        (which, how, world.moment(late))
    };
    until(&world, at).await;
    match how {
        ReplyKind::Well | ReplyKind::Odd | ReplyKind::Refused => harness::started(call, which),
        ReplyKind::Unwell | ReplyKind::Never | ReplyKind::Reset => {
            call.reset();
        }
    }
}

async fn poll(world: Shared, which: usize, mut call: ReceivedCall) {
    let (sent, how, at, deadline) = {
        let mut world = lock(&world);
        let sent = world.now();
        let (how, late) = world.how();
        let deadline = sent.mono.as_millis() + POLL;
        let at = if matches!(how, ReplyKind::Never) { u64::MAX } else { world.moment(late) };
        world.taken.push(deadline);
        let remote = &mut world.remotes[which];
        assert!(!remote.in_flight, "two polls of one session at once");
        remote.in_flight = true;
        remote.sends.push(sent.mono.as_millis());
        (sent, how, at, deadline)
    };
    if at > deadline {
        call.cancelled().await;
    } else {
        tokio::select! {
            () = until(&world, at) => {}
            () = call.cancelled() => {}
        }
    }
    let mut world = lock(&world);
    let now = world.now();
    let status = world.remotes[which].status;
    let text = status.as_str();
    let (said, delivered) = if now.mono.as_millis() < at {
        (Reply::Nothing, false)
    } else {
        match how {
            ReplyKind::Well => {
                let body = format!(r#"{{"authentication_status":{{"session_status":"{text}"}}}}"#);
                (Reply::Status(status), call.answer(200, body))
            }
            ReplyKind::Odd => (Reply::Odd, call.answer(200, r#"{"session_status":"dancing"}"#)),
            ReplyKind::Refused => (Reply::Refused, call.answer(404, r#"{"status":false}"#)),
            ReplyKind::Unwell => (Reply::Nothing, call.answer(503, "<html>")),
            ReplyKind::Reset | ReplyKind::Never => (Reply::Nothing, call.reset()),
        }
    };
    // Who gave up in this very millisecond heard nothing.
    let said = if delivered { said } else { Reply::Nothing };
    world.failing = said == Reply::Nothing;
    if matches!(said, Reply::Status(_) | Reply::Odd) {
        world.record_answer(sent);
    }
    let others_answered = world.others_answered;
    let age = |then: Timestamp| {
        now.mono
            .as_millis()
            .saturating_sub(then.mono.as_millis())
            .max(now.wall.as_millis().saturating_sub(then.wall.as_millis()))
    };
    // Two intervals, or the breaker's longest pause, and two polls.
    let fresh = (2 * world.interval).max(2_000) + 2 * POLL;
    let others_lately = others_answered.is_some_and(|at| age(at) < fresh);
    let remote = &mut world.remotes[which];
    remote.in_flight = false;
    let sequence = remote.sends.len() as u64;
    let polled = Polled { sequence, sent, said, others_answered, others_lately };
    remote.polls.push((now.mono.as_millis(), polled));
}

/// Logouts, and the calls that ask whether the service answers at all.
async fn other(world: Shared, mut call: ReceivedCall) {
    let (sent, how, at) = {
        let mut world = lock(&world);
        let (how, late) = world.how();
        (world.now(), how, world.moment(late))
    };
    tokio::select! {
        () = until(&world, at) => {}
        () = call.cancelled() => {}
    }
    let mut world = lock(&world);
    let which = call.path.strip_prefix("/l/").map(|name| name.parse::<usize>().unwrap());
    match how {
        ReplyKind::Well | ReplyKind::Odd | ReplyKind::Refused => {
            if let Some(which) = which {
                let status = &mut world.remotes[which].status;
                if !status.is_terminal() {
                    *status = SessionStatus::Closed;
                }
            }
            if call.answer(200, r#"{"status":true,"users":{}}"#) && which.is_none() {
                world.record_answer(sent);
            }
        }
        ReplyKind::Unwell | ReplyKind::Reset | ReplyKind::Never => {
            if let Some(which) = which {
                world.remotes[which].unsure = true;
            }
            call.reset();
        }
    }
}

/// What a client holds: a credential and the remote session that it stands for.
#[derive(Clone)]
struct PendingRequest {
    credential: SessionCredential,
    which: usize,
    /// The engine that gave it is gone.
    orphaned: bool,
}

fn verdicts(world: &Shared, which: usize) -> [Verdict; 2] {
    let world = lock(world);
    world.remotes[which].verdicts(world.now())
}

async fn log_in(
    world: Shared,
    ac: Activeconnect,
    user: UserId,
    held: Arc<Mutex<Vec<PendingRequest>>>,
) {
    let Ok(credential) = ac.log_in(&user).await else { return };
    let session = ac.engine().sessions.present(&credential.key()).unwrap();
    let remote = session.record.remote(&ac.engine().client).unwrap();
    let which = remote.token()[1..].parse().unwrap();
    drop(remote);
    let verdicts = verdicts(&world, which);
    assert!(verdicts.contains(&Verdict::Allow), "logged in though {verdicts:?}");
    {
        let mut world = lock(&world);
        world.remotes[which].used = world.now().mono.as_millis();
        world.remotes[which].taken = true;
    }
    held.lock().unwrap().push(PendingRequest { credential, which, orphaned: false });
}

/// Counts who holds a session open, also if they go away.
struct OpenStream(Shared, usize);

impl OpenStream {
    fn new(world: &Shared, which: usize) -> Self {
        let mut held = lock(world);
        let now = held.now().mono.as_millis();
        held.remotes[which].open += 1;
        held.remotes[which].used = now;
        Self(world.clone(), which)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let mut world = lock(&self.0);
            let now = world.now().mono.as_millis();
            world.remotes[self.1].open -= 1;
            world.remotes[self.1].used = now;
        }
    }
}

/// A request, and all that comes of it.
async fn request(world: Shared, ac: Activeconnect, held: PendingRequest, takes: Option<u64>) {
    let (begun, was_parked) = {
        let world = lock(&world);
        let (now, remote) = (world.now().mono.as_millis(), &world.remotes[held.which]);
        // When the poller last saw it in use is up to a poll ago.
        (now, remote.open == 0 && now >= remote.used + KEEP - world.interval - POLL)
    };
    let _open = OpenStream::new(&world, held.which);
    let path = takes.map_or("/stream".to_owned(), |takes| format!("/{takes}"));
    let response = harness::request(&ac, &path, &held.credential).await;
    let status = response.status();
    let now = lock(&world).now();
    let said = verdicts(&world, held.which);
    let context = || format!("{status} at {now:?}, begun {begun}: {said:?}");
    let longest = WAKE + takes.unwrap_or_default().max(5_000) + HOLD;
    assert!(now.mono.as_millis() <= begun + longest, "took too long: {}", context());
    if held.orphaned {
        assert_eq!(status, StatusCode::UNAUTHORIZED, "an engine that is gone: {}", context());
        return;
    }
    if status != StatusCode::OK {
        let body = harness::text(response).await;
        let is = |word: &str| body.contains(&format!(r#""denial":"{word}""#));
        let mut world = lock(&world);
        let remote = &mut world.remotes[held.which];
        if is("ended") || is("no-session") {
            assert!(said.contains(&Verdict::Ended), "{body} {}", context());
            remote.seen_ended = true;
        } else if is("suspended") {
            // A handler that was cut is not answered for, though the phone is back before its grace
            // is over.
            let came_back = takes.is_some() && said.contains(&Verdict::Allow);
            assert!(said.contains(&Verdict::Suspended) || came_back, "{body} {}", context());
        } else {
            assert!(is("unavailable"), "{body}");
            // A poll that had to be waited for and did not come in time may excuse it.
            let polled_since = remote.polls.iter().any(|(at, poll)| {
                *at > begun
                    && matches!(poll.said, Reply::Status(_))
                    && poll.sent.mono.as_millis() >= begun
            });
            let tried = remote.polls.iter().any(|(at, _)| *at >= begun)
                || now.mono.as_millis() >= begun + WAKE;
            let excused = was_parked && tried && !polled_since;
            let justified = said.contains(&Verdict::Unavailable) || excused;
            assert!(justified, "{body} {} {remote:?}", context());
        }
        return;
    }
    assert!(said.contains(&Verdict::Allow), "let through: {}", context());
    assert!(!lock(&world).remotes[held.which].seen_ended, "revived: {}", context());
    let mut body = std::pin::pin!(response.into_body());
    loop {
        let frame = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
        let said = verdicts(&world, held.which);
        let now = lock(&world).now();
        match frame {
            Some(Ok(_)) => {
                assert!(said.contains(&Verdict::Allow), "a frame left at {now:?}: {said:?}");
                assert!(!lock(&world).remotes[held.which].seen_ended);
            }
            Some(Err(_)) => {
                assert_ne!(said, [Verdict::Allow; 2], "cut at {now:?}");
                return;
            }
            None => return,
        }
    }
}

async fn engine(world: &Shared, tokens: &[UserToken]) -> (Activeconnect, JoinHandle<()>) {
    let store = MemoryTokenStore::new();
    for (user, token) in USERS.iter().zip(tokens) {
        store.assign(&(*user).into(), token).await.unwrap();
    }
    let (script, heard) = ScriptedUpstream::new();
    let (clock, interval) = {
        let world = lock(world);
        (world.clock.clone(), Duration::from_millis(world.interval))
    };
    let ac = harness::builder()
        .token_store(store)
        .poll_interval(interval)
        .session_duration(Duration::from_millis(LIFETIME))
        .script(script, clock)
        .build()
        .unwrap();
    (ac, tokio::spawn(serve(world.clone(), heard)))
}

async fn play(trace: Trace) {
    seed_yields(trace.unrest);
    let world = Arc::new(Mutex::new(Model {
        clock: Clock::tokio(),
        interval: trace.interval,
        remotes: Vec::new(),
        answers: trace.answers,
        next_answer: 0,
        others_answered: None,
        failing: false,
        taken: Vec::new(),
    }));
    let tokens: Vec<_> = USERS.iter().map(|user| UserToken::new(user).unwrap()).collect();
    let (mut ac, mut service) = engine(&world, &tokens).await;
    let held = Arc::new(Mutex::new(Vec::<PendingRequest>::new()));
    let mut callers: Vec<JoinHandle<()>> = Vec::new();
    for step in trace.steps {
        // The newest first: traces are full of old ones.
        let find = |which: usize| held.lock().unwrap().iter().rev().nth(which).cloned();
        match step {
            Op::Pass(ms) => sleep(Duration::from_millis(ms)).await,
            Op::WallJumps(by) => {
                let mut world = lock(&world);
                let now = world.now();
                for remote in &mut world.remotes {
                    // An end by age stays, though the clock is set back.
                    if remote.verdicts(now)[1] == Verdict::Ended {
                        remote.ended_here.get_or_insert(now.mono.as_millis());
                    }
                }
                world.clock.shift_wall_clock(by);
            }
            Op::LogIn(user) => {
                let user = USERS[user].into();
                let task = log_in(world.clone(), ac.clone(), user, held.clone());
                callers.push(tokio::spawn(with_random_yields(task)));
            }
            Op::Remote(which, status) => {
                if let Some(remote) = lock(&world).remotes.iter_mut().rev().nth(which) {
                    // Not even the service takes an end back.
                    if !remote.status.is_terminal() {
                        remote.status = status;
                    }
                }
            }
            Op::Request(which, takes) => {
                let ask = |held| request(world.clone(), ac.clone(), held, Some(takes));
                callers.extend(find(which).map(|held| tokio::spawn(with_random_yields(ask(held)))));
            }
            Op::Stream(which) => {
                let ask = |held| request(world.clone(), ac.clone(), held, None);
                callers.extend(find(which).map(|held| tokio::spawn(with_random_yields(ask(held)))));
            }
            Op::Leave(which) => {
                if !callers.is_empty() {
                    let caller = callers.swap_remove(which % callers.len());
                    caller.abort();
                    finish(caller).await;
                }
            }
            Op::LogOut(which) => {
                let held = find(which).filter(|held| !held.orphaned);
                let key = held.as_ref().map(|held| held.credential.key());
                if let Some(session) = key.and_then(|key| ac.engine().sessions.present(&key)) {
                    let mut world = lock(&world);
                    let now = world.now().mono.as_millis();
                    world.remotes[held.unwrap().which].ended_here.get_or_insert(now);
                    drop(world);
                    let engine = ac.engine().clone();
                    callers.push(tokio::spawn(with_random_yields(async move {
                        engine.log_out(&session).await;
                    })));
                }
            }
            Op::EndAll(user) => {
                let mut now_ended = lock(&world);
                let now = now_ended.now().mono.as_millis();
                for held in held.lock().unwrap().iter().filter(|held| !held.orphaned) {
                    if now_ended.remotes[held.which].user == USERS[user] {
                        now_ended.remotes[held.which].ended_here.get_or_insert(now);
                    }
                }
                drop(now_ended);
                let (ac, user) = (ac.clone(), USERS[user].into());
                callers.push(tokio::spawn(async move {
                    ac.end_all_sessions(&user).await.unwrap();
                }));
            }
            Op::Restart => {
                let mut cut = Vec::new();
                for caller in callers.drain(..) {
                    caller.abort();
                    cut.push(caller);
                }
                for caller in cut {
                    finish(caller).await;
                }
                drop(ac);
                service.await.expect("the engine that is gone makes no call");
                for held in held.lock().unwrap().iter_mut() {
                    held.orphaned = true;
                }
                {
                    // What was begun is known nowhere: it ends by itself.
                    let mut world = lock(&world);
                    world.others_answered = None;
                    for remote in &mut world.remotes {
                        remote.status = SessionStatus::Timeout;
                        remote.in_flight = false;
                        remote.taken = false;
                    }
                }
                (ac, service) = engine(&world, &tokens).await;
            }
        }
        sleep(Duration::from_millis(1)).await;
        check(&world);
        let mut going_on = Vec::new();
        for caller in callers {
            if caller.is_finished() {
                finish(caller).await;
            } else {
                going_on.push(caller);
            }
        }
        callers = going_on;
    }
    for caller in &callers {
        caller.abort();
    }
    for caller in callers {
        finish(caller).await;
    }
    // Those who were on a session are off it: soon nothing is asked about any more.
    assert_eq!(ac.engine().open_watches(), 0, "a watch was leaked");
    let attempts = Duration::from_secs(60 + 60 + 30);
    sleep(attempts + Duration::from_millis(KEEP + trace.interval)).await;
    let sends =
        |world: &Shared| lock(world).remotes.iter().map(|remote| remote.sends.len()).sum::<usize>();
    let before = sends(&world);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(sends(&world), before, "polled though it is not used");
    drop(ac);
    // It hears that the last client is gone, so no task holds the engine any more.
    service.await.unwrap();
    seed_yields(0);
}

async fn finish(caller: JoinHandle<()>) {
    if let Err(error) = caller.await
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// What must hold at any quiet moment.
fn check(world: &Shared) {
    let world = lock(world);
    let now = world.now();
    for remote in &world.remotes {
        let pause = remote.sends.last().map_or(0, |sent| now.mono.as_millis() - sent);
        let is_live =
            remote.open > 0 || now.mono.as_millis() < remote.used + KEEP - world.interval - POLL;
        let is_over = remote.verdicts(now).contains(&Verdict::Ended);
        // After failures the pauses grow, and the service is left alone for a while.
        let silent = remote.polls.last().is_some_and(|(_, poll)| poll.said == Reply::Nothing);
        if remote.taken && is_live && !is_over && !silent && !world.failing {
            assert!(
                pause <= world.interval + POLL,
                "not polled for {pause} ms: {remote:?} at {now:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::session::model_tests::cases(), ..ProptestConfig::default() })]

    #[test]
    fn engine_matches_model(trace in trace()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play(trace));
    }
}
