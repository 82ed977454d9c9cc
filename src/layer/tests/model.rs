//! Model-based test of the engine with its layer. Random traces contain logins, requests, streams,
//! aborted tasks, late, inconsistent and missing poll replies, clock jumps, logouts, walkaways and
//! restarts. Time is paused, the service is scripted, and each trace runs ready tasks in a different
//! order.
//!
//! The model is `History` (`session/model_tests.rs`), which uses neither `verdict` nor the state
//! machine. Events of the same millisecond may be seen in either order.

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
const LIFETIME_MS: u64 = 200_000;
const POLL_TIMEOUT_MS: u64 = 3_000;
const IDLE_TIMEOUT_MS: u64 = 60_000;
const WAKE_TIMEOUT_MS: u64 = 3_500;
const HOLD_LIMIT_MS: u64 = 30_000;

#[derive(Clone, Debug)]
enum Op {
    Advance(u64),
    ShiftWallClock(i64),
    LogIn(usize),
    /// Sets the status of the newest, second newest … session at the service.
    SetStatus(usize, SessionStatus),
    /// A request whose handler takes this many milliseconds.
    Request(usize, u64),
    /// A request whose response is an endless stream.
    Stream(usize),
    /// Aborts one of the running tasks.
    Abort(usize),
    LogOut(usize),
    EndAll(usize),
    Restart,
}

/// The kind of reply to a call.
#[derive(Clone, Copy, Debug)]
enum ReplyKind {
    Success,
    Inconsistent,
    NotFound,
    ServerError,
    Reset,
    Never,
}

#[derive(Clone, Debug)]
struct Trace {
    ops: Vec<Op>,
    /// The replies to calls, each with its delay in milliseconds; used cyclically.
    replies: Vec<(ReplyKind, u64)>,
    /// The poll interval, in milliseconds.
    interval: u64,
    yield_seed: u64,
}

fn trace() -> impl Strategy<Value = Trace> {
    let status = prop_oneof![
        8 => Just(SessionStatus::Active),
        2 => Just(SessionStatus::Walkaway),
        1 => prop::sample::select(&SessionStatus::ALL[..]),
    ];
    let advance = prop_oneof![
        10 => 0..3_000_u64,
        3 => 0..20_000_u64,
        1 => 55_000..75_000_u64,
        1 => 0..320_000_u64,
    ];
    let op = prop_oneof![
        12 => advance.prop_map(Op::Advance),
        1 => (-40_000..40_000_i64).prop_map(Op::ShiftWallClock),
        5 => (0..USERS.len()).prop_map(Op::LogIn),
        8 => (0..4_usize, status).prop_map(|(index, status)| Op::SetStatus(index, status)),
        10 => (0..8_usize, prop_oneof![3 => Just(0), 1 => 1..8_000_u64])
            .prop_map(|(index, delay)| Op::Request(index, delay)),
        5 => (0..8_usize).prop_map(Op::Stream),
        4 => any::<usize>().prop_map(Op::Abort),
        3 => (0..8_usize).prop_map(Op::LogOut),
        1 => prop::bool::weighted(0.3).prop_flat_map(|all| (0..USERS.len()).prop_map(move |user| {
            if all { Op::EndAll(user) } else { Op::LogIn(user) }
        })),
        1 => prop::bool::weighted(0.2).prop_map(|restarts| {
            if restarts { Op::Restart } else { Op::Advance(1) }
        }),
    ];
    let kind = prop_oneof![
        14 => Just(ReplyKind::Success),
        1 => Just(ReplyKind::Inconsistent),
        1 => Just(ReplyKind::NotFound),
        2 => Just(ReplyKind::ServerError),
        1 => Just(ReplyKind::Reset),
        1 => Just(ReplyKind::Never),
    ];
    let delay = prop_oneof![6 => 0..200_u64, 1 => 0..4_000_u64, 1 => Just(POLL_TIMEOUT_MS)];
    let replies = prop::collection::vec((kind, delay), 30);
    let interval = prop_oneof![Just(1_000), Just(2_500), Just(5_000)];
    (prop::collection::vec(op, 50), replies, interval, 1..u64::MAX).prop_map(
        |(ops, replies, interval, yield_seed)| Trace { ops, replies, interval, yield_seed },
    )
}

/// A session at the service, with the history of its polls.
#[derive(Debug)]
struct ModelSession {
    user: String,
    status: SessionStatus,
    created_at: Timestamp,
    /// The times when the engine sent polls.
    sends: Vec<u64>,
    in_flight: bool,
    /// The completed polls, each with its time.
    polls: Vec<(u64, Polled)>,
    ended_here: Option<u64>,
    /// Whether the session had expired by a wall clock that was set back since. It has ended if the
    /// engine read the clock before.
    may_have_expired: bool,
    seen_ended: bool,
    /// Whether the engine may not know of the session, or may have failed to end it.
    is_uncertain: bool,
    claimed: bool,
    last_used: u64,
    /// The number of requests and streams that hold the session.
    holds: usize,
}

impl ModelSession {
    /// The possible verdicts now: without and with the events of the same millisecond.
    fn verdicts(&self, now: Timestamp) -> Vec<Verdict> {
        let verdicts = [false, true].map(|inclusive| {
            let known =
                |at: u64| at < now.mono.as_millis() || (inclusive && at == now.mono.as_millis());
            let polls = self.polls.iter().filter(|(at, _)| known(*at));
            let history = History {
                polls: polls.map(|(_, poll)| *poll).collect(),
                ended_here: self.ended_here.is_some_and(known),
            };
            history.verdict(self.created_at, LIFETIME_MS, now)
        });
        verdicts.into_iter().chain(self.may_have_expired.then_some(Verdict::Ended)).collect()
    }
}

/// The expected state, updated by the scripted service and by the tasks that use the engine.
#[derive(Debug)]
struct Model {
    clock: Clock,
    /// The poll interval, in milliseconds.
    interval: u64,
    sessions: Vec<ModelSession>,
    replies: Vec<(ReplyKind, u64)>,
    next_reply: usize,
    /// The time when the latest successful call was sent.
    last_success: Option<Timestamp>,
    /// Whether the last call failed.
    failing: bool,
    /// The milliseconds that are reserved for an event each.
    reserved: Vec<u64>,
}

type SharedModel = Arc<Mutex<Model>>;

fn lock(model: &SharedModel) -> MutexGuard<'_, Model> {
    model.lock().unwrap()
}

impl Model {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn take_reply(&mut self) -> (ReplyKind, u64) {
        self.next_reply += 1;
        self.replies[self.next_reply % self.replies.len()]
    }

    /// Records a successful call that was sent at this time. Calls may complete in another order.
    fn record_success(&mut self, sent: Timestamp) {
        if self.last_success.is_none_or(|last| last.mono.as_millis() <= sent.mono.as_millis()) {
            self.last_success = Some(sent);
        }
    }

    /// Reserves a free millisecond, `delay` ms from now or later.
    fn reserve_time(&mut self, delay: u64) -> u64 {
        let mut at = self.now().mono.as_millis() + delay.max(1);
        while self.reserved.contains(&at) {
            at += 1;
        }
        self.reserved.push(at);
        at
    }
}

async fn sleep_until_ms(model: &SharedModel, at: u64) {
    let instant = lock(model).clock.instant(MonoTime::from_millis(at));
    tokio::time::sleep_until(instant).await;
}

/// The service: replies to calls until the engine is dropped.
async fn serve(model: SharedModel, mut calls: UnboundedReceiver<ReceivedCall>) {
    while let Some(call) = calls.recv().await {
        let model = model.clone();
        if call.path.starts_with("/authentication/authenticate_user") {
            tokio::spawn(authenticate(model, call));
        } else if let Some(name) = call.path.strip_prefix("/s/") {
            let index = name.parse().unwrap();
            tokio::spawn(poll(model, index, call));
        } else {
            tokio::spawn(logout_or_probe(model, call));
        }
    }
}

async fn authenticate(model: SharedModel, call: ReceivedCall) {
    let (index, kind, at) = {
        let mut model = lock(&model);
        let created_at = model.now();
        let (kind, delay) = model.take_reply();
        let index = model.sessions.len();
        let user = call.path.rsplit('/').next().unwrap().to_owned();
        let is_pending = |session: &ModelSession| {
            session.status == SessionStatus::Pending
                && !session.is_uncertain
                && session.user == user
                && session
                    .polls
                    .iter()
                    .all(|(_, poll)| poll.reply == Reply::Status(SessionStatus::Pending))
        };
        let pending = model.sessions.iter().find(|session| is_pending(session));
        assert!(pending.is_none(), "a second push to one phone at {created_at:?}: {pending:?}");
        model.sessions.push(ModelSession {
            user,
            status: SessionStatus::Pending,
            created_at,
            sends: Vec::new(),
            in_flight: false,
            polls: Vec::new(),
            ended_here: None,
            may_have_expired: false,
            seen_ended: false,
            is_uncertain: !matches!(
                kind,
                ReplyKind::Success | ReplyKind::Inconsistent | ReplyKind::NotFound
            ),
            claimed: false,
            last_used: created_at.mono.as_millis(),
            holds: 0,
        });
        (index, kind, model.reserve_time(delay))
    };
    sleep_until_ms(&model, at).await;
    match kind {
        ReplyKind::Success | ReplyKind::Inconsistent | ReplyKind::NotFound => {
            harness::reply_started(call, index);
        }
        ReplyKind::ServerError | ReplyKind::Never | ReplyKind::Reset => {
            call.reset();
        }
    }
}

async fn poll(model: SharedModel, index: usize, mut call: ReceivedCall) {
    let (sent, kind, at, deadline) = {
        let mut model = lock(&model);
        let sent = model.now();
        let (kind, delay) = model.take_reply();
        let deadline = sent.mono.as_millis() + POLL_TIMEOUT_MS;
        let at =
            if matches!(kind, ReplyKind::Never) { u64::MAX } else { model.reserve_time(delay) };
        model.reserved.push(deadline);
        let session = &mut model.sessions[index];
        assert!(!session.in_flight, "two polls of one session at once");
        session.in_flight = true;
        session.sends.push(sent.mono.as_millis());
        (sent, kind, at, deadline)
    };
    if at > deadline {
        call.cancelled().await;
    } else {
        tokio::select! {
            () = sleep_until_ms(&model, at) => {}
            () = call.cancelled() => {}
        }
    }
    let mut model = lock(&model);
    let now = model.now();
    let status = model.sessions[index].status;
    let text = status.as_str();
    let (reply, delivered) = if now.mono.as_millis() < at {
        (Reply::NoResponse, false)
    } else {
        match kind {
            ReplyKind::Success => {
                let body = format!(r#"{{"authentication_status":{{"session_status":"{text}"}}}}"#);
                (Reply::Status(status), call.answer(200, body))
            }
            ReplyKind::Inconsistent => {
                (Reply::Inconsistent, call.answer(200, r#"{"session_status":"dancing"}"#))
            }
            ReplyKind::NotFound => (Reply::Rejected, call.answer(404, r#"{"status":false}"#)),
            ReplyKind::ServerError => (Reply::NoResponse, call.answer(503, "<html>")),
            ReplyKind::Reset | ReplyKind::Never => (Reply::NoResponse, call.reset()),
        }
    };
    // A poll that timed out in this millisecond received no response.
    let reply = if delivered { reply } else { Reply::NoResponse };
    model.failing = reply == Reply::NoResponse;
    if matches!(reply, Reply::Status(_) | Reply::Inconsistent) {
        model.record_success(sent);
    }
    let last_success = model.last_success;
    let age = |then: Timestamp| then.age(now).as_millis();
    // Two intervals, or the breaker's longest pause, and two polls.
    let freshness = (2 * model.interval).max(2_000) + 2 * POLL_TIMEOUT_MS;
    let is_recent = last_success.is_some_and(|at| age(at) < freshness);
    let session = &mut model.sessions[index];
    session.in_flight = false;
    let sequence = session.sends.len() as u64;
    let polled = Polled { sequence, sent, reply, last_success, is_recent };
    session.polls.push((now.mono.as_millis(), polled));
}

/// Replies to a logout or to a probe of the service.
async fn logout_or_probe(model: SharedModel, mut call: ReceivedCall) {
    let (sent, kind, at) = {
        let mut model = lock(&model);
        let (kind, delay) = model.take_reply();
        (model.now(), kind, model.reserve_time(delay))
    };
    tokio::select! {
        () = sleep_until_ms(&model, at) => {}
        () = call.cancelled() => {}
    }
    let mut model = lock(&model);
    let index = call.path.strip_prefix("/l/").map(|name| name.parse::<usize>().unwrap());
    match kind {
        ReplyKind::Success | ReplyKind::Inconsistent | ReplyKind::NotFound => {
            if let Some(index) = index {
                let status = &mut model.sessions[index].status;
                if !status.is_terminal() {
                    *status = SessionStatus::Closed;
                }
            }
            if call.answer(200, r#"{"status":true,"users":{}}"#) && index.is_none() {
                model.record_success(sent);
            }
        }
        ReplyKind::ServerError | ReplyKind::Reset | ReplyKind::Never => {
            if let Some(index) = index {
                model.sessions[index].is_uncertain = true;
            }
            call.reset();
        }
    }
}

/// A client's credential and the index of its session in the model.
#[derive(Clone)]
struct ClientSession {
    credential: SessionCredential,
    index: usize,
    /// Whether the engine of the session was dropped.
    orphaned: bool,
}

fn verdicts(model: &SharedModel, index: usize) -> Vec<Verdict> {
    let model = lock(model);
    model.sessions[index].verdicts(model.now())
}

async fn log_in(
    model: SharedModel,
    ac: Activeconnect,
    user: UserId,
    clients: Arc<Mutex<Vec<ClientSession>>>,
) {
    let Ok(credential) = ac.log_in(&user).await else { return };
    let session = ac.engine().sessions.present(&credential.key()).unwrap();
    let remote = session.record.remote(&ac.engine().client).unwrap();
    let index = remote.token()[1..].parse().unwrap();
    drop(remote);
    let verdicts = verdicts(&model, index);
    assert!(verdicts.contains(&Verdict::Allow), "logged in at {verdicts:?}");
    {
        let mut model = lock(&model);
        model.sessions[index].last_used = model.now().mono.as_millis();
        model.sessions[index].claimed = true;
    }
    clients.lock().unwrap().push(ClientSession { credential, index, orphaned: false });
}

/// Counts a hold on a session until it is dropped.
struct ModelHold(SharedModel, usize);

impl ModelHold {
    fn new(model: &SharedModel, index: usize) -> Self {
        let mut locked = lock(model);
        let now = locked.now().mono.as_millis();
        locked.sessions[index].holds += 1;
        locked.sessions[index].last_used = now;
        Self(model.clone(), index)
    }
}

impl Drop for ModelHold {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let mut model = lock(&self.0);
            let now = model.now().mono.as_millis();
            model.sessions[self.1].holds -= 1;
            model.sessions[self.1].last_used = now;
        }
    }
}

/// Sends a request, and checks the response and each frame of it against the model. `delay` is the
/// duration of the handler in milliseconds; `None` requests a stream.
async fn request(model: SharedModel, ac: Activeconnect, client: ClientSession, delay: Option<u64>) {
    let (sent_at, was_parked) = {
        let model = lock(&model);
        let (now, session) = (model.now().mono.as_millis(), &model.sessions[client.index]);
        // The poller last saw the session in use up to one poll ago.
        let idle_since = session.last_used + IDLE_TIMEOUT_MS - model.interval - POLL_TIMEOUT_MS;
        (now, session.holds == 0 && now >= idle_since)
    };
    let _hold = ModelHold::new(&model, client.index);
    let path = delay.map_or("/stream".to_owned(), |delay| format!("/{delay}"));
    let response = harness::request(&ac, &path, &client.credential).await;
    let status = response.status();
    let now = lock(&model).now();
    let expected = verdicts(&model, client.index);
    let context = || format!("{status} at {now:?}, sent at {sent_at}: {expected:?}");
    let max_ms = WAKE_TIMEOUT_MS + delay.unwrap_or_default().max(5_000) + HOLD_LIMIT_MS;
    assert!(now.mono.as_millis() <= sent_at + max_ms, "took too long: {}", context());
    if client.orphaned {
        assert_eq!(status, StatusCode::UNAUTHORIZED, "the engine was dropped: {}", context());
        return;
    }
    if status != StatusCode::OK {
        let body = harness::text(response).await;
        let is_denial = |name: &str| body.contains(&format!(r#""denial":"{name}""#));
        let mut model = lock(&model);
        let session = &mut model.sessions[client.index];
        if is_denial("ended") || is_denial("no-session") {
            assert!(expected.contains(&Verdict::Ended), "{body} {}", context());
            session.seen_ended = true;
        } else if is_denial("suspended") {
            // A cut handler stays denied, even if the phone returns before its grace period ends.
            let returned = delay.is_some() && expected.contains(&Verdict::Allow);
            assert!(expected.contains(&Verdict::Suspended) || returned, "{body} {}", context());
        } else {
            assert!(is_denial("unavailable"), "{body}");
            // A parked session may be unavailable because its first poll failed or was late.
            let polled_since = session.polls.iter().any(|(at, poll)| {
                *at > sent_at
                    && matches!(poll.reply, Reply::Status(_))
                    && poll.sent.mono.as_millis() >= sent_at
            });
            let tried = session.polls.iter().any(|(at, _)| *at >= sent_at)
                || now.mono.as_millis() >= sent_at + WAKE_TIMEOUT_MS;
            let poll_failed = was_parked && tried && !polled_since;
            let justified = expected.contains(&Verdict::Unavailable) || poll_failed;
            assert!(justified, "{body} {} {session:?}", context());
        }
        return;
    }
    assert!(expected.contains(&Verdict::Allow), "allowed: {}", context());
    assert!(!lock(&model).sessions[client.index].seen_ended, "revived: {}", context());
    let mut body = std::pin::pin!(response.into_body());
    loop {
        let frame = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
        let expected = verdicts(&model, client.index);
        let now = lock(&model).now();
        match frame {
            Some(Ok(_)) => {
                assert!(expected.contains(&Verdict::Allow), "frame at {now:?}: {expected:?}");
                assert!(!lock(&model).sessions[client.index].seen_ended);
            }
            Some(Err(_)) => {
                let is_allowed = expected.iter().all(|verdict| *verdict == Verdict::Allow);
                assert!(!is_allowed, "cut at {now:?}");
                return;
            }
            None => return,
        }
    }
}

async fn engine(model: &SharedModel, tokens: &[UserToken]) -> (Activeconnect, JoinHandle<()>) {
    let store = MemoryTokenStore::new();
    for (user, token) in USERS.iter().zip(tokens) {
        store.assign(&(*user).into(), token).await.unwrap();
    }
    let (script, calls) = ScriptedUpstream::new();
    let (clock, interval) = {
        let model = lock(model);
        (model.clock.clone(), Duration::from_millis(model.interval))
    };
    let ac = harness::builder()
        .token_store(store)
        .poll_interval(interval)
        .session_duration(Duration::from_millis(LIFETIME_MS))
        .script(script, clock)
        .build()
        .unwrap();
    (ac, tokio::spawn(serve(model.clone(), calls)))
}

async fn run_trace(trace: Trace) {
    seed_yields(trace.yield_seed);
    let model = Arc::new(Mutex::new(Model {
        clock: Clock::tokio(),
        interval: trace.interval,
        sessions: Vec::new(),
        replies: trace.replies,
        next_reply: 0,
        last_success: None,
        failing: false,
        reserved: Vec::new(),
    }));
    let tokens: Vec<_> = USERS.iter().map(|user| UserToken::new(user).unwrap()).collect();
    let (mut ac, mut service) = engine(&model, &tokens).await;
    let clients = Arc::new(Mutex::new(Vec::<ClientSession>::new()));
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    for op in trace.ops {
        // Counts from the newest, because most sessions of a trace are old.
        let find = |index: usize| clients.lock().unwrap().iter().rev().nth(index).cloned();
        match op {
            Op::Advance(ms) => sleep(Duration::from_millis(ms)).await,
            Op::ShiftWallClock(ms) => {
                let mut model = lock(&model);
                let now = model.now();
                for session in &mut model.sessions {
                    session.may_have_expired |= session.verdicts(now).contains(&Verdict::Ended);
                }
                model.clock.shift_wall_clock(ms);
            }
            Op::LogIn(user) => {
                let user = USERS[user].into();
                let task = log_in(model.clone(), ac.clone(), user, clients.clone());
                tasks.push(tokio::spawn(with_random_yields(task)));
            }
            Op::SetStatus(index, status) => {
                if let Some(session) = lock(&model).sessions.iter_mut().rev().nth(index) {
                    // The service does not revive ended sessions.
                    if !session.status.is_terminal() {
                        session.status = status;
                    }
                }
            }
            Op::Request(index, delay) => {
                let send = |client| request(model.clone(), ac.clone(), client, Some(delay));
                tasks.extend(
                    find(index).map(|client| tokio::spawn(with_random_yields(send(client)))),
                );
            }
            Op::Stream(index) => {
                let send = |client| request(model.clone(), ac.clone(), client, None);
                tasks.extend(
                    find(index).map(|client| tokio::spawn(with_random_yields(send(client)))),
                );
            }
            Op::Abort(index) => {
                if !tasks.is_empty() {
                    let task = tasks.swap_remove(index % tasks.len());
                    task.abort();
                    join(task).await;
                }
            }
            Op::LogOut(index) => {
                let client = find(index).filter(|client| !client.orphaned);
                let key = client.as_ref().map(|client| client.credential.key());
                if let Some(session) = key.and_then(|key| ac.engine().sessions.present(&key)) {
                    let mut model = lock(&model);
                    let now = model.now().mono.as_millis();
                    model.sessions[client.unwrap().index].ended_here.get_or_insert(now);
                    drop(model);
                    let engine = ac.engine().clone();
                    tasks.push(tokio::spawn(with_random_yields(async move {
                        engine.log_out(&session).await;
                    })));
                }
            }
            Op::EndAll(user) => {
                let mut locked = lock(&model);
                let now = locked.now().mono.as_millis();
                for client in clients.lock().unwrap().iter().filter(|client| !client.orphaned) {
                    if locked.sessions[client.index].user == USERS[user] {
                        locked.sessions[client.index].ended_here.get_or_insert(now);
                    }
                }
                drop(locked);
                let (ac, user) = (ac.clone(), USERS[user].into());
                tasks.push(tokio::spawn(async move {
                    ac.end_all_sessions(&user).await.unwrap();
                }));
            }
            Op::Restart => {
                let mut aborted = Vec::new();
                for task in tasks.drain(..) {
                    task.abort();
                    aborted.push(task);
                }
                for task in aborted {
                    join(task).await;
                }
                drop(ac);
                service.await.expect("the dropped engine makes no call");
                for client in clients.lock().unwrap().iter_mut() {
                    client.orphaned = true;
                }
                {
                    // The new engine does not know the old sessions; they end at the service.
                    let mut model = lock(&model);
                    model.last_success = None;
                    for session in &mut model.sessions {
                        session.status = SessionStatus::Timeout;
                        session.in_flight = false;
                        session.claimed = false;
                    }
                }
                (ac, service) = engine(&model, &tokens).await;
            }
        }
        sleep(Duration::from_millis(1)).await;
        assert_live_sessions_are_polled(&model);
        let mut running = Vec::new();
        for task in tasks {
            if task.is_finished() {
                join(task).await;
            } else {
                running.push(task);
            }
        }
        tasks = running;
    }
    for task in &tasks {
        task.abort();
    }
    for task in tasks {
        join(task).await;
    }
    // Without requests the engine stops polling.
    assert_eq!(ac.engine().open_watches(), 0, "a watch was leaked");
    let attempts = Duration::from_secs(60 + 60 + 30);
    sleep(attempts + Duration::from_millis(IDLE_TIMEOUT_MS + trace.interval)).await;
    let sends = |model: &SharedModel| {
        lock(model).sessions.iter().map(|session| session.sends.len()).sum::<usize>()
    };
    let before = sends(&model);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(sends(&model), before, "an unused session was polled");
    drop(ac);
    // The service ends when no task holds the engine any more.
    service.await.unwrap();
    seed_yields(0);
}

/// Joins a task and propagates its panic.
async fn join(task: JoinHandle<()>) {
    if let Err(error) = task.await
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

fn assert_live_sessions_are_polled(model: &SharedModel) {
    let model = lock(model);
    let now = model.now();
    for session in &model.sessions {
        let pause = session.sends.last().map_or(0, |sent| now.mono.as_millis() - sent);
        let idle_since = session.last_used + IDLE_TIMEOUT_MS - model.interval - POLL_TIMEOUT_MS;
        let is_live = session.holds > 0 || now.mono.as_millis() < idle_since;
        let is_ended = session.verdicts(now).contains(&Verdict::Ended);
        // After failures the pauses grow and the breaker may open.
        let failed = session.polls.last().is_some_and(|(_, poll)| poll.reply == Reply::NoResponse);
        if session.claimed && is_live && !is_ended && !failed && !model.failing {
            assert!(
                pause <= model.interval + POLL_TIMEOUT_MS,
                "not polled for {pause} ms: {session:?} at {now:?}"
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
        runtime.block_on(run_trace(trace));
    }
}
