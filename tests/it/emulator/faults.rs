//! The emulator's faults and its clock, over real sockets: what arrives, byte for byte, and what
//! the service did all the same.

use std::time::{Duration, Instant};

use activeconnect_emulator::{
    Action, Emulator, Endpoint, Fault, FaultKind, FaultRoute, StateReport,
};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower_activeconnect::protocol::{Dialect, SessionStatus};

use crate::support::caller::{Caller, Session};

const DIALECT: Dialect = Dialect::Activeconnect;
/// How long nothing must come for the connection to count as silent.
const SILENCE: Duration = Duration::from_millis(300);
const MIB: usize = 1024 * 1024;

/// An emulator with one user, who has a device and an active session.
struct World {
    emulator: Emulator,
    caller: Caller,
    session: Session,
}

impl World {
    async fn new() -> Self {
        let emulator = Emulator::start().await.expect("a free port");
        let caller = Caller::of(&emulator, DIALECT);
        caller.add_users(&["alice"]).await;
        emulator.register_device("alice").expect("alice exists");
        let session = caller.begin("alice", "").await;
        emulator.act("alice", Action::Approve).expect("it waits");
        Self { emulator, caller, session }
    }

    /// Who signs this call, and what is sent: it succeeds when nothing goes wrong.
    fn request(&self, call: Endpoint) -> (Caller, Method, Url, Value) {
        let of_application = || self.caller.url(&self.caller.of_application(call.as_str()));
        let of_user = || self.caller.url(&self.caller.of_user(call.as_str(), "alice"));
        let authenticate = || {
            let path = format!("/authentication/authenticate_user/{}/alice", self.caller.id);
            self.caller.url(&path)
        };
        let (method, url, body) = match call {
            Endpoint::AddUsers => (Method::POST, of_application(), json!({"users": ["bob"]})),
            Endpoint::DeleteUsers => (Method::POST, of_application(), json!({"users": ["alice"]})),
            Endpoint::SendRegistrationSms => {
                (Method::POST, of_user(), json!({"phone_number": "+15551234567"}))
            }
            Endpoint::AuthenticateUser => (Method::POST, authenticate(), json!({})),
            Endpoint::Status => (Method::GET, self.session.status_url.clone(), Value::Null),
            Endpoint::Logout => (Method::POST, self.session.logout_url.clone(), json!({})),
            _ => (Method::GET, of_user(), Value::Null),
        };
        let signer = match call {
            Endpoint::Status | Endpoint::Logout => self.session.caller(DIALECT),
            _ => self.caller.clone(),
        };
        (signer, method, url, body)
    }

    /// Makes the call on a connection of its own and listens until it ends or falls silent.
    async fn make(&self, call: Endpoint) -> Heard {
        let (signer, method, url, body) = self.request(call);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let address = format!("127.0.0.1:{}", url.port().expect("a port"));
        let mut request = format!(
            "{method} {} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
            url.path(),
            body.len()
        );
        for (name, value) in signer.signed(&url) {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        request += &body;
        let mut connection = TcpStream::connect(address).await.expect("a connection");
        let began = Instant::now();
        connection.write_all(request.as_bytes()).await.expect("it takes the request");
        Heard::listen(connection, began).await
    }
}

/// What came back.
struct Heard {
    bytes: Vec<u8>,
    /// Whether the service ended the connection.
    closed: bool,
    first_byte_after: Duration,
}

impl Heard {
    async fn listen(mut connection: TcpStream, began: Instant) -> Self {
        let mut heard = Self { bytes: vec![], closed: false, first_byte_after: Duration::MAX };
        let mut buffer = vec![0; 64 * 1024];
        while heard.bytes.len() <= 2 * MIB {
            match tokio::time::timeout(SILENCE, connection.read(&mut buffer)).await {
                Err(_) => break,
                Ok(Ok(0) | Err(_)) => {
                    heard.closed = true;
                    break;
                }
                Ok(Ok(read)) => heard.bytes.extend_from_slice(&buffer[..read]),
            }
            heard.first_byte_after = heard.first_byte_after.min(began.elapsed());
        }
        heard
    }

    fn split(&self) -> (String, &[u8]) {
        let at = self.bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8(self.bytes[..at].to_vec()).expect("a text");
        (head.to_lowercase(), &self.bytes[at + 4..])
    }

    fn status(&self) -> u16 {
        self.split().0.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status")
    }

    fn header(&self, name: &str) -> Option<String> {
        let (head, _) = self.split();
        let mut lines = head.lines();
        lines.find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned))
    }

    fn json(&self) -> Value {
        serde_json::from_slice(self.split().1).expect("JSON")
    }

    /// A whole answer of success, with no trace of a fault.
    fn assert_right(&self, call: Endpoint, context: &str) {
        let json = self.json();
        let wanted = match call {
            Endpoint::AddUsers => 201,
            Endpoint::AuthenticateUser => 202,
            _ => 200,
        };
        assert_eq!(self.status(), wanted, "{context}");
        assert!(self.closed, "{context}");
        match call {
            Endpoint::AuthenticateUser => assert_eq!(said(&json, "session_status"), "pending"),
            Endpoint::Status => assert_eq!(said(&json, "session_status"), "active", "{context}"),
            _ => assert_eq!(json["status"], true, "{context}"),
        }
    }
}

fn said<'a>(json: &'a Value, name: &str) -> &'a str {
    json["authentication_status"][name].as_str().expect("a text")
}

fn count(state: &StateReport, call: Endpoint) -> u64 {
    serde_json::to_value(state.calls).expect("JSON")[call.as_str()].as_u64().expect("a number")
}

/// What the call changes, as the state shows it; `None` for calls that change nothing there.
fn was_done(call: Endpoint, state: &StateReport) -> Option<bool> {
    let has = |user_id: &str| state.users.iter().any(|user| user.user_id == user_id);
    match call {
        Endpoint::AddUsers => Some(has("bob")),
        Endpoint::DeleteUsers => Some(!has("alice")),
        Endpoint::LostUserMobileDevice => Some(state.users[0].devices == 0),
        Endpoint::AuthenticateUser => Some(state.sessions.len() == 2),
        Endpoint::Logout => Some(state.sessions[0].status == SessionStatus::Closed),
        _ => None,
    }
}

fn kinds() -> [FaultKind; 10] {
    [
        FaultKind::Http { status: StatusCode::SERVICE_UNAVAILABLE, retry_after_s: Some(2) },
        FaultKind::Delay,
        FaultKind::Hang,
        FaultKind::Reset,
        FaultKind::Truncate,
        FaultKind::Garbage,
        FaultKind::Oversize,
        FaultKind::UnknownStatus,
        FaultKind::Redirect,
        FaultKind::ForeignUrls,
    ]
}

fn assert_struck(kind: FaultKind, call: Endpoint, heard: &Heard, port: u16) {
    let context = format!("{kind:?} {call}");
    let elsewhere = format!("http://127.0.0.2:{port}/");
    match kind {
        FaultKind::Http { .. } => {
            assert_eq!(heard.status(), 503, "{context}");
            assert_eq!(heard.header("retry-after").as_deref(), Some("2"), "{context}");
            assert_eq!(heard.json()["status"], false, "{context}");
        }
        FaultKind::Delay => heard.assert_right(call, &context),
        FaultKind::Hang => assert!(heard.bytes.is_empty() && !heard.closed, "{context}"),
        FaultKind::Reset => assert!(heard.bytes.is_empty() && heard.closed, "{context}"),
        FaultKind::Truncate => {
            let announced = heard.header("content-length").expect("a length");
            let sent = heard.split().1.len();
            assert!(sent > 0 && sent < announced.parse().expect("a number"), "{context}");
            assert!(heard.closed, "{context}");
        }
        FaultKind::Garbage => {
            assert_eq!(heard.status(), 200, "{context}");
            let body = heard.split().1;
            assert!(!body.is_empty(), "{context}");
            assert!(serde_json::from_slice::<Value>(body).is_err(), "{context}");
        }
        FaultKind::Oversize => {
            assert!(heard.bytes.len() > MIB && !heard.closed, "{context}");
            assert_eq!(heard.header("content-length"), None, "{context}");
            assert!((200..300).contains(&heard.status()), "{context}");
        }
        FaultKind::UnknownStatus => {
            let json = heard.json();
            let status = SessionStatus::from_wire(said(&json, "session_status"));
            assert_eq!(status, SessionStatus::Unknown, "{context}");
            // The rest is as it would be.
            let authenticated = &json["authentication_status"]["authenticated"];
            assert_eq!(*authenticated, true, "{context}");
        }
        FaultKind::Redirect => {
            assert_eq!(heard.status(), 302, "{context}");
            let location = heard.header("location").expect("somewhere else");
            assert!(location.starts_with(&elsewhere), "{context} {location}");
        }
        FaultKind::ForeignUrls => {
            let json = heard.json();
            let token = said(&json, "session_token");
            let status_url = format!("{elsewhere}authentication/session_status/{token}");
            assert_eq!(said(&json, "status_url"), status_url, "{context}");
            let logout_url = format!("{elsewhere}authentication/logout/{token}");
            assert_eq!(said(&json, "logout_url"), logout_url, "{context}");
        }
        _ => unreachable!(),
    }
}

async fn every_call_is_struck_by(kind: FaultKind) {
    for call in Endpoint::ALL {
        let world = World::new().await;
        let port = world.caller.url("/").port().expect("a port");
        let before = count(&world.emulator.state(), call);
        world.emulator.inject_fault(Fault::new(call, kind).times(1));
        let heard = world.make(call).await;

        let can_strike = match kind {
            FaultKind::UnknownStatus => {
                matches!(call, Endpoint::AuthenticateUser | Endpoint::Status)
            }
            FaultKind::ForeignUrls => call == Endpoint::AuthenticateUser,
            _ => true,
        };
        if can_strike {
            assert_struck(kind, call, &heard, port);
        } else {
            heard.assert_right(call, &format!("{kind:?}"));
        }
        let state = world.emulator.state();
        assert_eq!(count(&state, call), before + 1, "{kind:?} {call}");
        let is_answer = matches!(kind, FaultKind::Http { .. } | FaultKind::Redirect);
        if let Some(done) = was_done(call, &state) {
            assert_eq!(done, !is_answer, "{kind:?} {call}");
        }
        if is_answer {
            // Used up: now the same call is right.
            world.make(call).await.assert_right(call, &format!("after {kind:?}"));
        }
    }
}

#[tokio::test]
async fn every_kind_strikes_every_call() {
    let mut kinds = tokio::task::JoinSet::from_iter(kinds().map(every_call_is_struck_by));
    while let Some(done) = kinds.join_next().await {
        done.expect("as written down");
    }
}

#[tokio::test]
async fn any_kind_can_be_late() {
    let world = World::new().await;
    let delay = Duration::from_millis(150);
    for kind in [
        FaultKind::Delay,
        FaultKind::Garbage,
        FaultKind::Http { status: StatusCode::TOO_MANY_REQUESTS, retry_after_s: None },
    ] {
        world.emulator.inject_fault(Fault::new(Endpoint::Status, kind).times(1).with_delay(delay));
        let heard = world.make(Endpoint::Status).await;
        assert!(heard.first_byte_after >= delay, "{kind:?}");
        assert!(heard.closed, "{kind:?}");
    }
}

#[tokio::test]
async fn late_response_has_status_at_arrival() {
    let World { emulator, caller: _, session } = World::new().await;
    let fault =
        Fault::new(Endpoint::Status, FaultKind::Delay).with_delay(Duration::from_millis(400));
    emulator.inject_fault(fault.times(1));
    let asking = tokio::spawn({
        let session = session.clone();
        async move { session.status(DIALECT).await }
    });
    while emulator.state().calls.status == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    emulator.act("alice", Action::Close).expect("it is active");
    assert_eq!(asking.await.expect("an answer"), "active");
    let kept = &emulator.state().sessions[0];
    assert_eq!((kept.told_at, kept.first_told_at), (None, None), "the end was not told");
}

#[tokio::test]
async fn end_counts_as_told_only_when_it_arrives() {
    let world = World::new().await;
    world.emulator.act("alice", Action::Close).expect("it is active");
    for kind in [FaultKind::Reset, FaultKind::Garbage, FaultKind::UnknownStatus] {
        world.emulator.inject_fault(Fault::new(Endpoint::Status, kind).times(1));
        world.make(Endpoint::Status).await;
        assert_eq!(world.emulator.state().sessions[0].first_told_at, None, "{kind:?}");
    }
    world.make(Endpoint::Status).await;
    assert!(world.emulator.state().sessions[0].first_told_at.is_some());
}

#[tokio::test]
async fn user_s_fault_strikes_that_user_s_calls_alone() {
    let World { emulator, caller, session: of_alice } = World::new().await;
    caller.add_users(&["b/ob"]).await;
    emulator.register_device("b/ob").expect("bob exists");
    let of_bob = caller.begin("b/ob", "").await;
    let kind = FaultKind::Http { status: StatusCode::GONE, retry_after_s: None };
    emulator.inject_fault(Fault::new(FaultRoute::All, kind).for_user("b/ob"));

    assert_eq!(of_alice.get_status(DIALECT).await.status, StatusCode::OK);
    assert_eq!(of_bob.get_status(DIALECT).await.status, StatusCode::GONE);
    assert_eq!(of_bob.logout(DIALECT).await.status, StatusCode::GONE);
    assert_eq!(caller.authenticate("alice", "").await.status, StatusCode::ACCEPTED);
    assert_eq!(caller.authenticate("b/ob", "").await.status, StatusCode::GONE);
    assert_eq!(caller.add_users(&["carol"]).await.status, StatusCode::CREATED);
    assert_eq!(caller.add_users(&["dave", "b/ob"]).await.status, StatusCode::GONE);
    let has = |user_id| caller.of_user("has_registered_mobile_device", user_id);
    assert_eq!(caller.get(&has("alice")).await.status, StatusCode::OK);
    assert_eq!(caller.get(&has("b/ob")).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn only_calls_that_are_let_in_are_struck() {
    let World { emulator, caller, session } = World::new().await;
    let kind = FaultKind::Http { status: StatusCode::BAD_GATEWAY, retry_after_s: None };
    emulator.inject_fault(Fault::new(FaultRoute::All, kind).times(1));
    let mut stranger = caller.clone();
    stranger.secret = session.secret.clone();
    assert_eq!(stranger.add_users(&["bob"]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(caller.add_users(&["bob"]).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(caller.add_users(&["bob"]).await.status, StatusCode::CREATED);
}

/// `POST` or `DELETE` of the control interface, with the body as it is.
async fn control(caller: &Caller, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
    let request = caller.http.request(method, caller.url(path)).body(body.to_owned());
    let answer = request.send().await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn faults_are_added_and_cleared_by_script() {
    let World { emulator: _emulator, caller, session } = World::new().await;
    let done = (StatusCode::OK, json!({"status": true}));
    let add = async |body: Value| {
        assert_eq!(
            control(&caller, Method::POST, "/emulator/faults", &body.to_string()).await,
            done
        );
    };
    let status = async || session.get_status(DIALECT).await.status.as_u16();

    add(json!({"route": "status", "kind": "http", "status": 503, "retry_after_s": 2, "delay_ms": 0, "times": 2})).await;
    add(json!({"route": "*", "kind": "http", "status": 502, "times": 1})).await;
    add(json!({"route": "management", "kind": "http", "status": 500, "times": null})).await;
    add(json!({"route": "status", "kind": "http", "status": 404, "user_id": "nobody"})).await;
    for wanted in [503, 503, 502, 200, 200] {
        assert_eq!(status().await, wanted);
    }
    for _ in 0..3 {
        assert_eq!(caller.add_users(&["bob"]).await.status.as_u16(), 500);
    }
    add(json!({"route": "status", "kind": "http", "status": 410})).await;
    assert_eq!(status().await, 410);
    assert_eq!(control(&caller, Method::DELETE, "/emulator/faults", "").await, done);
    assert_eq!(status().await, 200);
    assert_eq!(caller.add_users(&["bob"]).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn bodies_that_cannot_be_meant_are_refused() {
    let World { emulator: _emulator, caller, session } = World::new().await;
    for (path, body) in [
        ("/emulator/faults", ""),
        ("/emulator/faults", "{"),
        ("/emulator/faults", "[]"),
        ("/emulator/faults", r#"["*","hang"]"#),
        ("/emulator/faults", r#"{"route":"*"}"#),
        ("/emulator/faults", r#"{"route":"session_status","kind":"hang"}"#),
        ("/emulator/faults", r#"{"route":"*","kind":"explode"}"#),
        ("/emulator/faults", r#"{"route":"*","kind":"http"}"#),
        ("/emulator/faults", r#"{"route":"*","kind":"http","status":"503"}"#),
        ("/emulator/faults", r#"{"route":"*","kind":"hang","times":0}"#),
        ("/emulator/faults", r#"{"route":"*","kind":"hang","user":"alice"}"#),
        ("/emulator/clock", "{}"),
        ("/emulator/clock", r#"{"offset_s":"600"}"#),
        ("/emulator/clock", r#"{"offset_s":1.5}"#),
        ("/emulator/clock", r#"{"offset":600}"#),
    ] {
        let (status, json) = control(&caller, Method::POST, path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(json["status"], false, "{body}");
        assert!(json["reason"].as_str().is_some_and(|reason| reason.len() > 10), "{body}");
    }
    assert_eq!(session.status(DIALECT).await, "active", "none of them had an effect");

    let foreign =
        caller.http.post(caller.url("/emulator/faults")).header("origin", "http://evil.example");
    let foreign = foreign.body(r#"{"route":"*","kind":"hang"}"#).send().await.expect("an answer");
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
}

/// How far the `Date` of an answer is ahead of the real time, in seconds.
async fn date_offset(caller: &Caller, path: &str) -> i64 {
    let answer = caller.http.get(caller.url(path)).send().await.expect("an answer");
    let date = answer.headers()["date"].to_str().expect("a text").to_owned();
    let date = httpdate::parse_http_date(&date).expect("a date");
    let now = std::time::SystemTime::now();
    date.duration_since(now).map_or_else(
        |behind| -(behind.duration().as_secs_f64().round() as i64),
        |ahead| ahead.as_secs_f64().round() as i64,
    )
}

#[tokio::test]
async fn clock_moves_dates_and_the_judgement_of_timestamps() {
    let World { emulator, caller, session } = World::new().await;
    let set = async |offset_s: i64| {
        let body = json!({"offset_s": offset_s}).to_string();
        let answer = control(&caller, Method::POST, "/emulator/clock", &body).await;
        assert_eq!(answer, (StatusCode::OK, json!({"status": true})));
    };
    for offset_s in [600, -600, 86_400] {
        set(offset_s).await;
        for path in ["/emulator/state", "/emulator", "/nowhere", "/authentication/session_status/-"]
        {
            assert!(date_offset(&caller, path).await.abs_diff(offset_s) <= 2, "{path} {offset_s}");
        }
        let refused = session.get_status(DIALECT).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert!(refused.json["reason"].as_str().expect("a reason").contains("timestamp"));
    }
    assert_eq!(emulator.state().rejected.timestamp, 3);
    for offset_s in [290, -290, 0] {
        set(offset_s).await;
        assert_eq!(session.status(DIALECT).await, "active", "{offset_s}");
    }

    // Moments of the report stay real, and no clock is too far off to be told.
    let before = emulator.state().sessions[0].changed_at.expect("it was approved");
    emulator.set_clock_offset(i64::MAX);
    emulator.act("alice", Action::Close).expect("it is active");
    let closed = emulator.state().sessions[0].ended_at.expect("it is over");
    assert!(closed.abs_diff(before) < 60_000);
    assert!(date_offset(&caller, "/emulator/state").await > 0);
    emulator.set_clock_offset(i64::MIN);
    assert!(date_offset(&caller, "/emulator/state").await < 0);
}

#[tokio::test]
async fn tolerance_can_be_set() {
    let tolerance = Duration::from_secs(5);
    let emulator = Emulator::builder().clock_tolerance(tolerance).start().await;
    let emulator = emulator.expect("a free port");
    let caller = Caller::of(&emulator, DIALECT);
    emulator.set_clock_offset(20);
    assert_eq!(caller.add_users(&["bob"]).await.status, StatusCode::UNAUTHORIZED);
    emulator.set_clock_offset(-20);
    assert_eq!(caller.add_users(&["bob"]).await.status, StatusCode::UNAUTHORIZED);
    emulator.set_clock_offset(2);
    assert_eq!(caller.add_users(&["bob"]).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn dropping_emulator_ends_hanging_calls() {
    let World { emulator, caller, session } = World::new().await;
    emulator.inject_fault(Fault::new(Endpoint::Status, FaultKind::Hang));
    let signer = session.caller(DIALECT);
    let mut request = caller.http.get(session.status_url.clone());
    for (name, value) in signer.signed(&session.status_url) {
        request = request.header(name, value);
    }
    let asking = tokio::spawn(request.send());
    while emulator.state().calls.status == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(emulator);
    let asked = tokio::time::timeout(Duration::from_secs(5), asking).await.expect("in time");
    assert!(asked.expect("it ran").is_err());
}
