//! The emulator's faults and its clock, over sockets: the bytes that arrive, and the effect in the
//! service.

use std::time::{Duration, Instant};

use activeconnect_emulator::{
    Action, Emulator, Endpoint, Fault, FaultKind, FaultRoute, StateReport,
};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower_activeconnect::protocol::{Dialect, SessionStatus};

use crate::support::signed_client::{Session, SignedClient};

const DIALECT: Dialect = Dialect::Activeconnect;
/// How long a connection must be silent to count as hanging.
const SILENCE: Duration = Duration::from_millis(300);
const MIB: usize = 1024 * 1024;

/// An emulator with one user, who has a phone and an active session.
struct Fixture {
    emulator: Emulator,
    caller: SignedClient,
    session: Session,
}

impl Fixture {
    async fn new() -> Self {
        let emulator = Emulator::start().await.expect("a free port");
        let caller = SignedClient::new(&emulator, DIALECT);
        caller.add_users(&["alice"]).await;
        emulator.register_device("alice").expect("alice exists");
        let session = caller.start_session("alice", "").await;
        emulator.act("alice", Action::Approve).expect("it waits");
        Self { emulator, caller, session }
    }

    /// The signing client and the request of this call, which succeeds without faults.
    fn request(&self, call: Endpoint) -> (SignedClient, Method, Url, Value) {
        let application_path = || self.caller.url(&self.caller.application_path(call.as_str()));
        let user_path = || self.caller.url(&self.caller.user_path(call.as_str(), "alice"));
        let authenticate = || {
            let path = format!("/authentication/authenticate_user/{}/alice", self.caller.id);
            self.caller.url(&path)
        };
        let (method, url, body) = match call {
            Endpoint::AddUsers => (Method::POST, application_path(), json!({"users": ["bob"]})),
            Endpoint::DeleteUsers => {
                (Method::POST, application_path(), json!({"users": ["alice"]}))
            }
            Endpoint::SendRegistrationSms => {
                (Method::POST, user_path(), json!({"phone_number": "+15551234567"}))
            }
            Endpoint::AuthenticateUser => (Method::POST, authenticate(), json!({})),
            Endpoint::Status => (Method::GET, self.session.status_url.clone(), Value::Null),
            Endpoint::Logout => (Method::POST, self.session.logout_url.clone(), json!({})),
            _ => (Method::GET, user_path(), Value::Null),
        };
        let signer = match call {
            Endpoint::Status | Endpoint::Logout => self.session.signed_client(DIALECT),
            _ => self.caller.clone(),
        };
        (signer, method, url, body)
    }

    /// Sends the call on its own connection, and reads until it ends or is silent.
    async fn make(&self, call: Endpoint) -> Received {
        let (signer, method, url, body) = self.request(call);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let address = format!("127.0.0.1:{}", url.port().expect("a port"));
        let mut request = format!(
            "{method} {} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
            url.path(),
            body.len()
        );
        for (name, value) in signer.signed_headers(&url) {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        request += &body;
        let mut connection = TcpStream::connect(address).await.expect("a connection");
        let began = Instant::now();
        connection.write_all(request.as_bytes()).await.expect("it takes the request");
        Received::receive(connection, began).await
    }
}

/// The received bytes.
struct Received {
    bytes: Vec<u8>,
    /// Whether the service closed the connection.
    closed: bool,
    first_byte_after: Duration,
}

impl Received {
    async fn receive(mut connection: TcpStream, began: Instant) -> Self {
        let mut received = Self { bytes: vec![], closed: false, first_byte_after: Duration::MAX };
        let mut buffer = vec![0; 64 * 1024];
        while received.bytes.len() <= 2 * MIB {
            match tokio::time::timeout(SILENCE, connection.read(&mut buffer)).await {
                Err(_) => break,
                Ok(Ok(0) | Err(_)) => {
                    received.closed = true;
                    break;
                }
                Ok(Ok(read)) => received.bytes.extend_from_slice(&buffer[..read]),
            }
            received.first_byte_after = received.first_byte_after.min(began.elapsed());
        }
        received
    }

    fn split(&self) -> (String, &[u8]) {
        let at = self
            .bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("the head is complete");
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

    /// Asserts a complete successful response, without a trace of a fault.
    fn assert_success(&self, call: Endpoint, context: &str) {
        let json = self.json();
        let expected = match call {
            Endpoint::AddUsers => 201,
            Endpoint::AuthenticateUser => 202,
            _ => 200,
        };
        assert_eq!(self.status(), expected, "{context}");
        assert!(self.closed, "{context}");
        match call {
            Endpoint::AuthenticateUser => {
                assert_eq!(status_field(&json, "session_status"), "pending");
            }
            Endpoint::Status => {
                assert_eq!(status_field(&json, "session_status"), "active", "{context}");
            }
            _ => assert_eq!(json["status"], true, "{context}"),
        }
    }
}

fn status_field<'a>(json: &'a Value, name: &str) -> &'a str {
    json["authentication_status"][name].as_str().expect("a text")
}

fn count(state: &StateReport, call: Endpoint) -> u64 {
    serde_json::to_value(state.calls).expect("JSON")[call.as_str()].as_u64().expect("a number")
}

/// The state that the call changes; `None` for calls that change no state.
fn assert_effect(call: Endpoint, state: &StateReport) -> Option<bool> {
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

fn assert_fault_effect(kind: FaultKind, call: Endpoint, received: &Received, port: u16) {
    let context = format!("{kind:?} {call}");
    let elsewhere = format!("http://127.0.0.2:{port}/");
    match kind {
        FaultKind::Http { .. } => {
            assert_eq!(received.status(), 503, "{context}");
            assert_eq!(received.header("retry-after").as_deref(), Some("2"), "{context}");
            assert_eq!(received.json()["status"], false, "{context}");
        }
        FaultKind::Delay => received.assert_success(call, &context),
        FaultKind::Hang => assert!(received.bytes.is_empty() && !received.closed, "{context}"),
        FaultKind::Reset => assert!(received.bytes.is_empty() && received.closed, "{context}"),
        FaultKind::Truncate => {
            let announced = received.header("content-length").expect("a length");
            let sent = received.split().1.len();
            assert!(sent > 0 && sent < announced.parse().expect("a number"), "{context}");
            assert!(received.closed, "{context}");
        }
        FaultKind::Garbage => {
            assert_eq!(received.status(), 200, "{context}");
            let body = received.split().1;
            assert!(!body.is_empty(), "{context}");
            assert!(serde_json::from_slice::<Value>(body).is_err(), "{context}");
        }
        FaultKind::Oversize => {
            assert!(received.bytes.len() > MIB && !received.closed, "{context}");
            assert_eq!(received.header("content-length"), None, "{context}");
            assert!((200..300).contains(&received.status()), "{context}");
        }
        FaultKind::UnknownStatus => {
            let json = received.json();
            let status = SessionStatus::from(status_field(&json, "session_status"));
            assert_eq!(status, SessionStatus::Unknown, "{context}");
            // The rest is as without the fault.
            let authenticated = &json["authentication_status"]["authenticated"];
            assert_eq!(*authenticated, true, "{context}");
        }
        FaultKind::Redirect => {
            assert_eq!(received.status(), 302, "{context}");
            let location = received.header("location").expect("somewhere else");
            assert!(location.starts_with(&elsewhere), "{context} {location}");
        }
        FaultKind::ForeignUrls => {
            let json = received.json();
            let token = status_field(&json, "session_token");
            let status_url = format!("{elsewhere}authentication/session_status/{token}");
            assert_eq!(status_field(&json, "status_url"), status_url, "{context}");
            let logout_url = format!("{elsewhere}authentication/logout/{token}");
            assert_eq!(status_field(&json, "logout_url"), logout_url, "{context}");
        }
        _ => unreachable!(),
    }
}

async fn assert_affects_every_call(kind: FaultKind) {
    for call in Endpoint::ALL {
        let world = Fixture::new().await;
        let port = world.caller.url("/").port().expect("a port");
        let before = count(&world.emulator.state(), call);
        world.emulator.inject_fault(Fault::new(call, kind).times(1));
        let received = world.make(call).await;

        let can_strike = match kind {
            FaultKind::UnknownStatus => {
                matches!(call, Endpoint::AuthenticateUser | Endpoint::Status)
            }
            FaultKind::ForeignUrls => call == Endpoint::AuthenticateUser,
            _ => true,
        };
        if can_strike {
            assert_fault_effect(kind, call, &received, port);
        } else {
            received.assert_success(call, &format!("{kind:?}"));
        }
        let state = world.emulator.state();
        assert_eq!(count(&state, call), before + 1, "{kind:?} {call}");
        let is_answer = matches!(kind, FaultKind::Http { .. } | FaultKind::Redirect);
        if let Some(done) = assert_effect(call, &state) {
            assert_eq!(done, !is_answer, "{kind:?} {call}");
        }
        if is_answer {
            // The fault is used up: the same call succeeds.
            world.make(call).await.assert_success(call, &format!("after {kind:?}"));
        }
    }
}

#[tokio::test]
async fn every_fault_kind_affects_every_call() {
    let mut kinds = tokio::task::JoinSet::from_iter(kinds().map(assert_affects_every_call));
    while let Some(done) = kinds.join_next().await {
        done.expect("as written down");
    }
}

#[tokio::test]
async fn every_fault_kind_can_be_delayed() {
    let world = Fixture::new().await;
    let delay = Duration::from_millis(150);
    for kind in [
        FaultKind::Delay,
        FaultKind::Garbage,
        FaultKind::Http { status: StatusCode::TOO_MANY_REQUESTS, retry_after_s: None },
    ] {
        world.emulator.inject_fault(Fault::new(Endpoint::Status, kind).times(1).with_delay(delay));
        let received = world.make(Endpoint::Status).await;
        assert!(received.first_byte_after >= delay, "{kind:?}");
        assert!(received.closed, "{kind:?}");
    }
}

#[tokio::test]
async fn late_response_has_status_at_arrival() {
    let Fixture { emulator, caller: _, session } = Fixture::new().await;
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
    emulator.act("alice", Action::Close).expect("the session is active");
    assert_eq!(asking.await.expect("the request gets a response"), "active");
    let session = &emulator.state().sessions[0];
    assert_eq!((session.told_at, session.first_told_at), (None, None), "the end was not reported");
}

#[tokio::test]
async fn end_counts_as_reported_when_delivered() {
    let world = Fixture::new().await;
    world.emulator.act("alice", Action::Close).expect("the session is active");
    for kind in [FaultKind::Reset, FaultKind::Garbage, FaultKind::UnknownStatus] {
        world.emulator.inject_fault(Fault::new(Endpoint::Status, kind).times(1));
        world.make(Endpoint::Status).await;
        assert_eq!(world.emulator.state().sessions[0].first_told_at, None, "{kind:?}");
    }
    world.make(Endpoint::Status).await;
    assert!(world.emulator.state().sessions[0].first_told_at.is_some());
}

#[tokio::test]
async fn fault_for_user_affects_only_that_user() {
    let Fixture { emulator, caller, session: of_alice } = Fixture::new().await;
    caller.add_users(&["b/ob"]).await;
    emulator.register_device("b/ob").expect("bob exists");
    let of_bob = caller.start_session("b/ob", "").await;
    let kind = FaultKind::Http { status: StatusCode::GONE, retry_after_s: None };
    emulator.inject_fault(Fault::new(FaultRoute::All, kind).for_user("b/ob"));

    assert_eq!(of_alice.get_status(DIALECT).await.status, StatusCode::OK);
    assert_eq!(of_bob.get_status(DIALECT).await.status, StatusCode::GONE);
    assert_eq!(of_bob.logout(DIALECT).await.status, StatusCode::GONE);
    assert_eq!(caller.authenticate("alice", "").await.status, StatusCode::ACCEPTED);
    assert_eq!(caller.authenticate("b/ob", "").await.status, StatusCode::GONE);
    assert_eq!(caller.add_users(&["carol"]).await.status, StatusCode::CREATED);
    assert_eq!(caller.add_users(&["dave", "b/ob"]).await.status, StatusCode::GONE);
    let has = |user_id| caller.user_path("has_registered_mobile_device", user_id);
    assert_eq!(caller.get(&has("alice")).await.status, StatusCode::OK);
    assert_eq!(caller.get(&has("b/ob")).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn faults_affect_only_authorized_calls() {
    let Fixture { emulator, caller, session } = Fixture::new().await;
    let kind = FaultKind::Http { status: StatusCode::BAD_GATEWAY, retry_after_s: None };
    emulator.inject_fault(Fault::new(FaultRoute::All, kind).times(1));
    let mut anonymous = caller.clone();
    anonymous.secret = session.secret.clone();
    assert_eq!(anonymous.add_users(&["bob"]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(caller.add_users(&["bob"]).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(caller.add_users(&["bob"]).await.status, StatusCode::CREATED);
}

/// Sends `POST` or `DELETE` to the control interface, with this body.
async fn control(
    caller: &SignedClient,
    method: Method,
    path: &str,
    body: &str,
) -> (StatusCode, Value) {
    let request = caller.http.request(method, caller.url(path)).body(body.to_owned());
    let response = request.send().await.expect("the request gets a response");
    (response.status(), response.json().await.expect("JSON"))
}

#[tokio::test]
async fn faults_are_added_and_cleared_by_script() {
    let Fixture { emulator: _emulator, caller, session } = Fixture::new().await;
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
    for expected in [503, 503, 502, 200, 200] {
        assert_eq!(status().await, expected);
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
async fn invalid_fault_bodies_are_rejected() {
    let Fixture { emulator: _emulator, caller, session } = Fixture::new().await;
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
    let foreign = foreign
        .body(r#"{"route":"*","kind":"hang"}"#)
        .send()
        .await
        .expect("the request gets a response");
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
}

/// The offset of the response's `Date` from real time, in seconds.
async fn date_offset(caller: &SignedClient, path: &str) -> i64 {
    let response =
        caller.http.get(caller.url(path)).send().await.expect("the request gets a response");
    let date = response.headers()["date"].to_str().expect("a text").to_owned();
    let date = httpdate::parse_http_date(&date).expect("a date");
    let now = std::time::SystemTime::now();
    date.duration_since(now).map_or_else(
        |behind| -(behind.duration().as_secs_f64().round() as i64),
        |ahead| ahead.as_secs_f64().round() as i64,
    )
}

#[tokio::test]
async fn clock_shift_moves_dates_and_checks() {
    let Fixture { emulator, caller, session } = Fixture::new().await;
    let set = async |offset_s: i64| {
        let body = json!({"offset_s": offset_s}).to_string();
        let response = control(&caller, Method::POST, "/emulator/clock", &body).await;
        assert_eq!(response, (StatusCode::OK, json!({"status": true})));
    };
    for offset_s in [600, -600, 86_400] {
        set(offset_s).await;
        for path in ["/emulator/state", "/emulator", "/nowhere", "/authentication/session_status/-"]
        {
            assert!(date_offset(&caller, path).await.abs_diff(offset_s) <= 2, "{path} {offset_s}");
        }
        let rejected = session.get_status(DIALECT).await;
        assert_eq!(rejected.status, StatusCode::UNAUTHORIZED);
        assert!(rejected.json["reason"].as_str().expect("a reason").contains("timestamp"));
    }
    assert_eq!(emulator.state().rejected.timestamp, 3);
    for offset_s in [290, -290, 0] {
        set(offset_s).await;
        assert_eq!(session.status(DIALECT).await, "active", "{offset_s}");
    }

    // Times in the report stay real, and any offset is reported.
    let before = emulator.state().sessions[0].changed_at.expect("the session was approved");
    emulator.set_clock_offset(i64::MAX);
    emulator.act("alice", Action::Close).expect("the session is active");
    let closed = emulator.state().sessions[0].ended_at.expect("the session ended");
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
    let caller = SignedClient::new(&emulator, DIALECT);
    emulator.set_clock_offset(20);
    assert_eq!(caller.add_users(&["bob"]).await.status, StatusCode::UNAUTHORIZED);
    emulator.set_clock_offset(-20);
    assert_eq!(caller.add_users(&["bob"]).await.status, StatusCode::UNAUTHORIZED);
    emulator.set_clock_offset(2);
    assert_eq!(caller.add_users(&["bob"]).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn dropping_emulator_ends_hanging_calls() {
    let Fixture { emulator, caller, session } = Fixture::new().await;
    emulator.inject_fault(Fault::new(Endpoint::Status, FaultKind::Hang));
    let signer = session.signed_client(DIALECT);
    let mut request = caller.http.get(session.status_url.clone());
    for (name, value) in signer.signed_headers(&session.status_url) {
        request = request.header(name, value);
    }
    let asking = tokio::spawn(request.send());
    while emulator.state().calls.status == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(emulator);
    let result = tokio::time::timeout(Duration::from_secs(5), asking).await.expect("in time");
    assert!(result.expect("it ran").is_err());
}
