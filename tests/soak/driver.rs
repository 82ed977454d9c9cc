//! Whoever makes everything happen, and writes down what is true of it.

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

use super::event_log::{Answer, CUT, INTERVAL, KEEP, Life, MAX_STALENESS, Span, Story, Walk, now};
use super::fault_schedule::Weather;
use super::overload_probe::Pulse;
use super::rng::Chance;
use super::support::{builder, credentials, serve};

/// A header.
const LEFT: &str = "x-left-at";
const SESSIONS: usize = 500;
const REQUESTS_PER_SECOND: u64 = 50;
/// How often the end of a session is looked for: as exact are the figures.
const WATCH: Duration = Duration::from_millis(25);

pub(crate) struct Driver {
    chance: Chance,
    weather: Weather,
    emulator: Arc<Emulator>,
    ac: Activeconnect,
    browser: Browser,
    users: Vec<UserToken>,
    /// One for each user.
    seats: Vec<Seat>,
    /// Sessions that are over, and what named them.
    dead: Vec<(usize, Credential)>,
    going_on: JoinSet<Done>,
    story: Story,
}

/// Where a session sits, and the next one after its end.
#[derive(Default)]
struct Seat {
    /// `None` while somebody logs in.
    session: Option<(usize, Credential)>,
    /// Its end is being looked for.
    is_ending: bool,
    comes_back_at: Option<u64>,
    /// Nobody uses it until then.
    rests_until: u64,
}

type Credential = (HeaderName, Arc<str>);

enum Done {
    LoggedIn { seat: usize, credential: String },
    Answered(Answer),
    LoggedOut { life: usize, span: Span, then: Answer },
    Watched(Vec<Answer>),
}

impl Driver {
    /// Everybody is logged in.
    pub(crate) async fn start(seed: u64) -> Self {
        let emulator = Arc::new(Emulator::start().await.unwrap());
        let users: Vec<_> = (0..SESSIONS).map(|_| UserToken::random().unwrap()).collect();
        let store = MemoryTokenStore::new();
        for (seat, token) in users.iter().enumerate() {
            store.assign(&name(seat).into(), token).await.unwrap();
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
        let app = app.nest("/auth", ac.routes()).layer(map_response(stamped));
        let site = serve(app).await;
        let mut driver = Self {
            chance: Chance::new(seed),
            weather: Weather::new(),
            emulator,
            ac,
            browser: Browser::new(site),
            users,
            seats: (0..SESSIONS).map(|_| Seat::default()).collect(),
            dead: Vec::new(),
            going_on: JoinSet::new(),
            story: Story::default(),
        };
        for seat in 0..SESSIONS {
            driver.log_in(seat);
        }
        while let Some(done) = driver.going_on.join_next().await {
            driver.note(done.unwrap());
        }
        driver
    }

    /// Goes on for this long, and tells what happened.
    pub(crate) async fn run(mut self, length: Duration) -> Story {
        // So that some have been parked before the first minutes are over.
        for seat in 0..SESSIONS {
            if self.chance.per_mille(300) {
                self.rest(seat);
            }
        }
        let pulse = Pulse::start(self.emulator.url());
        let mut pace = tokio::time::interval(Duration::from_millis(1_000 / REQUESTS_PER_SECOND));
        let until = now() + u64::try_from(length.as_millis()).unwrap();
        while now() < until {
            pace.tick().await;
            while let Some(done) = self.going_on.try_join_next() {
                self.note(done.unwrap());
            }
            let over = self.weather.turn(&mut self.chance, &self.emulator, &self.users);
            self.story.outages.extend(over);
            self.come_back();
            self.something_happens();
            self.somebody_asks();
        }
        self.story.outages.extend(self.weather.clear(&self.emulator));
        while let Some(done) = self.going_on.join_next().await {
            self.note(done.unwrap());
        }
        self.story.outages.extend(pulse.stop());
        self.story.outages.sort_by_key(|outage| outage.on.from);
        self.ask_the_emulator();
        self.story.seconds = length.as_secs();
        self.story
    }

    fn note(&mut self, done: Done) {
        match done {
            Done::LoggedIn { seat, credential } => {
                let life = self.story.lives.len();
                self.story.lives.push(Life { user: seat, began: now(), ..Life::default() });
                // Both ways of saying who asks.
                let credential = if seat.is_multiple_of(2) {
                    (COOKIE, format!("__Host-activeconnect={credential}").into())
                } else {
                    (AUTHORIZATION, format!("Bearer {credential}").into())
                };
                self.seats[seat] = Seat { session: Some((life, credential)), ..Seat::default() };
            }
            Done::Answered(answer) => self.answered(answer),
            Done::LoggedOut { life, span, then } => {
                self.story.lives[life].logout = Some(span);
                self.answered(then);
            }
            Done::Watched(answers) => {
                answers.into_iter().for_each(|answer| self.answered(answer));
            }
        }
    }

    /// Who hears 401 logs in again.
    fn answered(&mut self, answer: Answer) {
        let seat = self.story.lives[answer.life].user;
        let is_here = |(life, _): &(usize, Credential)| *life == answer.life;
        if answer.status == 401
            && let Some(over) = self.seats[seat].session.take_if(|session| is_here(session))
        {
            self.dead.push(over);
            self.log_in(seat);
        }
        self.story.answers.push(answer);
    }

    fn log_in(&mut self, seat: usize) {
        let (ac, emulator) = (self.ac.clone(), self.emulator.clone());
        let token = self.users[seat].clone();
        self.going_on.spawn(async move {
            let user = name(seat).into();
            let mut login = pin!(ac.log_in(&user));
            loop {
                tokio::select! {
                    credential = &mut login => {
                        return Done::LoggedIn { seat, credential: credential.unwrap().expose() };
                    }
                    () = tokio::time::sleep(Duration::from_millis(50)) => {
                        // The session before it is over, and refuses.
                        emulator.act(token.as_str(), Action::Approve).ok();
                    }
                }
            }
        });
    }

    fn rest(&mut self, seat: usize) {
        self.seats[seat].rests_until = now() + self.chance.between(KEEP + 2_000, KEEP + 40_000);
    }

    /// The phones that have been away for long enough.
    fn come_back(&mut self) {
        for seat in 0..SESSIONS {
            if self.seats[seat].comes_back_at.is_none_or(|at| at > now()) {
                continue;
            }
            self.seats[seat].comes_back_at = None;
            let Some(life) = self.living(seat) else { continue };
            let told_at = self.told_at(seat);
            let from = now();
            if self.emulator.act(self.users[seat].as_str(), Action::Return).is_ok() {
                let walk = self.story.lives[life].walks.last_mut().unwrap();
                (walk.told_at, walk.back) = (told_at, Some(Span { from, until: now() }));
            }
        }
    }

    /// When the emulator first told the newest change of this user's session.
    fn told_at(&self, seat: usize) -> Option<u64> {
        let sessions = self.emulator.state().sessions;
        sessions.into_iter().rfind(|s| s.user_id == self.users[seat].as_str())?.told_at
    }

    /// The session that sits there, if nobody has seen to its end yet.
    fn living(&self, seat: usize) -> Option<usize> {
        let Seat { session: Some((life, _)), is_ending: false, .. } = &self.seats[seat] else {
            return None;
        };
        Some(*life)
    }

    /// To one session, or none.
    fn something_happens(&mut self) {
        let seat = self.chance.index(SESSIONS);
        let Some(life) = self.living(seat) else { return };
        match self.chance.below(1_000) {
            0..24 => self.close(seat, life),
            24..28 => self.log_out(seat, life),
            28..40 => self.walk_away(seat, life),
            40..52 => self.rest(seat),
            _ => {}
        }
    }

    fn close(&mut self, seat: usize, life: usize) {
        if self.emulator.act(self.users[seat].as_str(), Action::Close).is_err() {
            return;
        }
        if self.chance.per_mille(200) {
            // Whoever asks next is the first to hear.
            return;
        }
        self.story.lives[life].watched = true;
        self.seats[seat].is_ending = true;
        let ask = self.ask(seat);
        self.going_on.spawn(async move {
            let mut answers = Vec::new();
            // Long enough for every bound; the judge says which was missed.
            let give_up = now() + 10 * MAX_STALENESS;
            while now() < give_up {
                answers.push(Answer { watching: true, ..ask.send().await });
                if answers.last().is_some_and(|answer| answer.status == 401) {
                    break;
                }
                tokio::time::sleep(WATCH).await;
            }
            Done::Watched(answers)
        });
    }

    fn log_out(&mut self, seat: usize, life: usize) {
        self.seats[seat].is_ending = true;
        let ask = self.ask(seat);
        self.going_on.spawn(async move {
            let span = ask.log_out().await;
            Done::LoggedOut { life, span, then: ask.send().await }
        });
    }

    fn walk_away(&mut self, seat: usize, life: usize) {
        let from = now();
        if self.emulator.act(self.users[seat].as_str(), Action::WalkAway).is_ok() {
            let left = Span { from, until: now() };
            self.story.lives[life].walks.push(Walk { left, told_at: None, back: None });
            self.seats[seat].comes_back_at = Some(now() + self.chance.between(500, 12_000));
        }
    }

    fn somebody_asks(&mut self) {
        if !self.dead.is_empty() && self.chance.per_mille(20) {
            let (life, credential) = self.dead[self.chance.index(self.dead.len())].clone();
            let ask = Ask { browser: self.browser.clone(), life, credential };
            self.going_on.spawn(async move { Done::Answered(ask.send().await) });
            return;
        }
        // Nearly all of them are there and awake.
        for _ in 0..100 {
            let seat = self.chance.index(SESSIONS);
            if self.living(seat).is_some() && self.seats[seat].rests_until <= now() {
                let ask = self.ask(seat);
                self.going_on.spawn(async move { Done::Answered(ask.send().await) });
                return;
            }
        }
    }

    fn ask(&self, seat: usize) -> Ask {
        let (life, credential) = self.seats[seat].session.clone().unwrap();
        Ask { browser: self.browser.clone(), life, credential }
    }

    /// When each session ended there: a user's sessions are in the order of their lives.
    fn ask_the_emulator(&mut self) {
        let sessions = self.emulator.state().sessions;
        for (user, token) in self.users.iter().enumerate() {
            let mut there = sessions.iter().filter(|session| session.user_id == token.as_str());
            for life in self.story.lives.iter_mut().filter(|life| life.user == user) {
                let session = there.next().unwrap();
                (life.ended_at, life.first_told_at) = (session.ended_at, session.first_told_at);
                if let Some(walk) = life.walks.last_mut().filter(|walk| walk.back.is_none()) {
                    walk.told_at = session.told_at;
                }
            }
            assert!(there.next().is_none(), "a login too many");
        }
    }
}

/// Says when the gate inside let the answer go.
async fn stamped(mut answer: Response) -> Response {
    answer.headers_mut().insert(LEFT, now().into());
    answer
}

fn name(seat: usize) -> String {
    format!("user-{seat}")
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

/// Asks for one session.
struct Ask {
    browser: Browser,
    life: usize,
    credential: Credential,
}

impl Ask {
    async fn send(&self) -> Answer {
        self.request(self.browser.http.get(format!("{}/", self.browser.site))).await
    }

    async fn log_out(&self) -> Span {
        let logout = self.browser.http.post(format!("{}/auth/logout", self.browser.site));
        let Answer { status, span, .. } = self.request(logout).await;
        assert!(status == 200 || status == 202, "logout: {status}");
        span
    }

    async fn request(&self, request: reqwest::RequestBuilder) -> Answer {
        let (name, value) = &self.credential;
        let from = now();
        let answered = async {
            let response = request.header(name, &**value).send().await?;
            let left = response.headers()[LEFT].to_str().unwrap().parse().unwrap();
            let status = response.status().as_u16();
            response.bytes().await?;
            Ok::<_, reqwest::Error>((status, left))
        };
        let (status, left) = answered.await.unwrap_or_else(|_| (CUT, now()));
        let span = Span { from, until: now() };
        Answer { life: self.life, span, left, status, watching: false }
    }
}
