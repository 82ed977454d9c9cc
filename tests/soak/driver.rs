//! Drives a run: sends requests, changes sessions, injects faults, and records the events.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use reqwest::header::{AUTHORIZATION, COOKIE, HeaderName};
use tokio::task::JoinSet;
use tower_activeconnect::client::Client;
use tower_activeconnect::{Activeconnect, MemoryTokenStore, TokenStore as _, UserToken};

use super::event_log::{
    Absence, CUT, EventLog, IDLE_TIMEOUT, INTERVAL, MAX_STALENESS, Outcome, SessionRecord, Span,
    now,
};
use super::fault_schedule::FaultSchedule;
use super::overload_probe::OverloadProbe;
use super::rng::Rng;
use super::support::{builder, credentials, serve};

/// The header with the time when a response left the gate.
const LEFT_AT_HEADER: &str = "x-left-at";
const SESSIONS: usize = 500;
const REQUESTS_PER_SECOND: u64 = 50;
/// The interval of requests that measure an end, which is the resolution of the statistics.
const WATCH_INTERVAL: Duration = Duration::from_millis(25);

pub(crate) struct Driver {
    rng: Rng,
    faults: FaultSchedule,
    emulator: Arc<Emulator>,
    ac: Activeconnect,
    browser: Browser,
    users: Vec<UserToken>,
    /// One slot per user.
    slots: Vec<Slot>,
    /// Ended sessions with their credentials.
    ended: Vec<(usize, Credential)>,
    tasks: JoinSet<TaskResult>,
    log: EventLog,
}

/// The current session of a user.
#[derive(Default)]
struct Slot {
    /// The record and credential; `None` during a login.
    session: Option<(usize, Credential)>,
    /// Whether the session is being ended.
    is_ending: bool,
    returns_at: Option<u64>,
    /// The time until which the session gets no requests.
    idle_until: u64,
}

type Credential = (HeaderName, Arc<str>);

enum TaskResult {
    LoggedIn { slot: usize, credential: String },
    Responded(Outcome),
    LoggedOut { record: usize, span: Span, then: Outcome },
    Watched(Vec<Outcome>),
}

impl Driver {
    /// Starts the engine and logs all users in.
    pub(crate) async fn start(seed: u64) -> Self {
        let emulator = Arc::new(Emulator::start().await.unwrap());
        let users: Vec<_> = (0..SESSIONS).map(|_| UserToken::random().unwrap()).collect();
        let store = MemoryTokenStore::new();
        for (slot, token) in users.iter().enumerate() {
            store.assign(&name(slot).into(), token).await.unwrap();
        }
        Client::new(credentials(&emulator)).unwrap().add_users(&users).await.unwrap();
        for token in &users {
            emulator.register_device(token.as_str()).unwrap();
        }
        let ac = builder(&emulator)
            .token_store(store)
            .poll_interval(Duration::from_millis(INTERVAL))
            .max_staleness(Duration::from_millis(MAX_STALENESS))
            .build()
            .unwrap();
        let app = Router::new().route("/", get(async || "in")).layer(ac.layer());
        let app = app.nest("/auth", ac.routes()).layer(map_response(add_left_header));
        let site = serve(app).await;
        let mut driver = Self {
            rng: Rng::new(seed),
            faults: FaultSchedule::new(),
            emulator,
            ac,
            browser: Browser::new(site),
            users,
            slots: (0..SESSIONS).map(|_| Slot::default()).collect(),
            ended: Vec::new(),
            tasks: JoinSet::new(),
            log: EventLog::default(),
        };
        for slot in 0..SESSIONS {
            driver.log_in(slot);
        }
        while let Some(done) = driver.tasks.join_next().await {
            driver.record_result(done.unwrap());
        }
        driver
    }

    /// Runs for this long; returns the event log.
    pub(crate) async fn run(mut self, length: Duration) -> EventLog {
        // Some sessions are parked within the first minutes.
        for slot in 0..SESSIONS {
            if self.rng.per_mille(300) {
                self.leave_idle(slot);
            }
        }
        let probe = OverloadProbe::start(self.emulator.url());
        let mut pace = tokio::time::interval(Duration::from_millis(1_000 / REQUESTS_PER_SECOND));
        let until = now() + u64::try_from(length.as_millis()).unwrap();
        while now() < until {
            pace.tick().await;
            while let Some(done) = self.tasks.try_join_next() {
                self.record_result(done.unwrap());
            }
            let ended = self.faults.advance(&mut self.rng, &self.emulator, &self.users);
            self.log.outages.extend(ended);
            self.return_phones();
            self.act_on_random_session();
            self.send_random_request();
        }
        self.log.outages.extend(self.faults.clear(&self.emulator));
        while let Some(done) = self.tasks.join_next().await {
            self.record_result(done.unwrap());
        }
        self.log.outages.extend(probe.stop());
        self.log.outages.sort_by_key(|outage| outage.span.from);
        self.read_emulator_report();
        self.log.seconds = length.as_secs();
        self.log
    }

    fn record_result(&mut self, done: TaskResult) {
        match done {
            TaskResult::LoggedIn { slot, credential } => {
                let record = self.log.records.len();
                self.log.records.push(SessionRecord {
                    user: slot,
                    started_at: now(),
                    ..SessionRecord::default()
                });
                // Both kinds of credential.
                let credential = if slot.is_multiple_of(2) {
                    (COOKIE, format!("__Host-activeconnect={credential}").into())
                } else {
                    (AUTHORIZATION, format!("Bearer {credential}").into())
                };
                self.slots[slot] = Slot { session: Some((record, credential)), ..Slot::default() };
            }
            TaskResult::Responded(response) => self.record_response(response),
            TaskResult::LoggedOut { record, span, then } => {
                self.log.records[record].logout = Some(span);
                self.record_response(then);
            }
            TaskResult::Watched(responses) => {
                responses.into_iter().for_each(|response| self.record_response(response));
            }
        }
    }

    /// Records a response; a user who gets 401 logs in again.
    fn record_response(&mut self, response: Outcome) {
        let slot = self.log.records[response.record].user;
        let is_here = |(record, _): &(usize, Credential)| *record == response.record;
        if response.status == 401
            && let Some(ended) = self.slots[slot].session.take_if(|session| is_here(session))
        {
            self.ended.push(ended);
            self.log_in(slot);
        }
        self.log.responses.push(response);
    }

    fn log_in(&mut self, slot: usize) {
        let (ac, emulator) = (self.ac.clone(), self.emulator.clone());
        let token = self.users[slot].clone();
        self.tasks.spawn(async move {
            let user = name(slot).into();
            let mut login = pin!(ac.log_in(&user));
            loop {
                tokio::select! {
                    credential = &mut login => {
                        return TaskResult::LoggedIn { slot, credential: credential.unwrap().expose() };
                    }
                    () = tokio::time::sleep(Duration::from_millis(50)) => {
                        // Fails while the newest session is still the ended one.
                        emulator.act(token.as_str(), Action::Approve).ok();
                    }
                }
            }
        });
    }

    fn leave_idle(&mut self, slot: usize) {
        self.slots[slot].idle_until =
            now() + self.rng.between(IDLE_TIMEOUT + 2_000, IDLE_TIMEOUT + 40_000);
    }

    /// Returns the phones whose time is over.
    fn return_phones(&mut self) {
        for slot in 0..SESSIONS {
            if self.slots[slot].returns_at.is_none_or(|at| at > now()) {
                continue;
            }
            self.slots[slot].returns_at = None;
            let Some(record) = self.active_session(slot) else { continue };
            let told_at = self.told_at(slot);
            let from = now();
            if self.emulator.act(self.users[slot].as_str(), Action::Return).is_ok() {
                let absence = self.log.records[record].absences.last_mut().unwrap();
                (absence.told_at, absence.back) = (told_at, Some(Span { from, until: now() }));
            }
        }
    }

    /// The time when the emulator first reported the newest change of this user's session.
    fn told_at(&self, slot: usize) -> Option<u64> {
        let sessions = self.emulator.state().sessions;
        sessions.into_iter().rfind(|s| s.user_id == self.users[slot].as_str())?.told_at
    }

    /// The slot's session, unless it is being ended.
    fn active_session(&self, slot: usize) -> Option<usize> {
        let Slot { session: Some((record, _)), is_ending: false, .. } = &self.slots[slot] else {
            return None;
        };
        Some(*record)
    }

    /// Acts on a random session, or on none.
    fn act_on_random_session(&mut self) {
        let slot = self.rng.index(SESSIONS);
        let Some(record) = self.active_session(slot) else { return };
        match self.rng.below(1_000) {
            0..24 => self.close(slot, record),
            24..28 => self.log_out(slot, record),
            28..40 => self.walk_away(slot, record),
            40..52 => self.leave_idle(slot),
            _ => {}
        }
    }

    fn close(&mut self, slot: usize, record: usize) {
        if self.emulator.act(self.users[slot].as_str(), Action::Close).is_err() {
            return;
        }
        if self.rng.per_mille(200) {
            // The next regular request notices the end.
            return;
        }
        self.log.records[record].watched = true;
        self.slots[slot].is_ending = true;
        let client = self.client(slot);
        self.tasks.spawn(async move {
            let mut responses = Vec::new();
            // Longer than every bound; the checker reports a missed one.
            let deadline = now() + 10 * MAX_STALENESS;
            while now() < deadline {
                responses.push(Outcome { is_watch: true, ..client.send().await });
                if responses.last().is_some_and(|response| response.status == 401) {
                    break;
                }
                tokio::time::sleep(WATCH_INTERVAL).await;
            }
            TaskResult::Watched(responses)
        });
    }

    fn log_out(&mut self, slot: usize, record: usize) {
        self.slots[slot].is_ending = true;
        let client = self.client(slot);
        self.tasks.spawn(async move {
            let span = client.log_out().await;
            TaskResult::LoggedOut { record, span, then: client.send().await }
        });
    }

    fn walk_away(&mut self, slot: usize, record: usize) {
        let from = now();
        if self.emulator.act(self.users[slot].as_str(), Action::WalkAway).is_ok() {
            let left = Span { from, until: now() };
            self.log.records[record].absences.push(Absence { left, told_at: None, back: None });
            self.slots[slot].returns_at = Some(now() + self.rng.between(500, 12_000));
        }
    }

    fn send_random_request(&mut self) {
        if !self.ended.is_empty() && self.rng.per_mille(20) {
            let (record, credential) = self.ended[self.rng.index(self.ended.len())].clone();
            let client = SessionClient { browser: self.browser.clone(), record, credential };
            self.tasks.spawn(async move { TaskResult::Responded(client.send().await) });
            return;
        }
        // Nearly all sessions are active and not idle.
        for _ in 0..100 {
            let slot = self.rng.index(SESSIONS);
            if self.active_session(slot).is_some() && self.slots[slot].idle_until <= now() {
                let client = self.client(slot);
                self.tasks.spawn(async move { TaskResult::Responded(client.send().await) });
                return;
            }
        }
    }

    fn client(&self, slot: usize) -> SessionClient {
        let (record, credential) = self.slots[slot].session.clone().unwrap();
        SessionClient { browser: self.browser.clone(), record, credential }
    }

    /// Reads the ends from the emulator, whose sessions of a user are in the order of the records.
    fn read_emulator_report(&mut self) {
        let sessions = self.emulator.state().sessions;
        for (user, token) in self.users.iter().enumerate() {
            let mut reported = sessions.iter().filter(|session| session.user_id == token.as_str());
            for record in self.log.records.iter_mut().filter(|record| record.user == user) {
                let session = reported.next().unwrap();
                (record.ended_at, record.first_told_at) = (session.ended_at, session.first_told_at);
                if let Some(absence) =
                    record.absences.last_mut().filter(|absence| absence.back.is_none())
                {
                    absence.told_at = session.told_at;
                }
            }
            assert!(reported.next().is_none(), "the service has an unrecorded session");
        }
    }
}

/// Adds the time when the response leaves the gate.
async fn add_left_header(mut response: Response) -> Response {
    response.headers_mut().insert(LEFT_AT_HEADER, now().into());
    response
}

fn name(slot: usize) -> String {
    format!("user-{slot}")
}

#[derive(Clone)]
struct Browser {
    http: reqwest::Client,
    site: Arc<str>,
}

impl Browser {
    fn new(site: String) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self { http, site: site.into() }
    }
}

/// Sends requests of one session.
struct SessionClient {
    browser: Browser,
    record: usize,
    credential: Credential,
}

impl SessionClient {
    async fn send(&self) -> Outcome {
        self.request(self.browser.http.get(format!("{}/", self.browser.site))).await
    }

    async fn log_out(&self) -> Span {
        let logout = self.browser.http.post(format!("{}/auth/logout", self.browser.site));
        let Outcome { status, span, .. } = self.request(logout).await;
        assert!(status == 200 || status == 202, "logout: {status}");
        span
    }

    async fn request(&self, request: reqwest::RequestBuilder) -> Outcome {
        let (name, value) = &self.credential;
        let from = now();
        let result = async {
            let response = request.header(name, &**value).send().await?;
            let left = response.headers()[LEFT_AT_HEADER].to_str().unwrap().parse().unwrap();
            let status = response.status().as_u16();
            response.bytes().await?;
            Ok::<_, reqwest::Error>((status, left))
        };
        let (status, left) = result.await.unwrap_or_else(|_| (CUT, now()));
        let span = Span { from, until: now() };
        Outcome { record: self.record, span, left, status, is_watch: false }
    }
}
