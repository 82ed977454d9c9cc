//! A graceful shutdown over sockets ends within its time limit, whatever clients hold open, with or
//! without a session.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use activeconnect_emulator::{Emulator, Endpoint, Fault, FaultKind};
use axum::Router;
use axum::http::request::Parts;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::stream::{self, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower_activeconnect::{Activeconnect, UserId};

use crate::support::{Browser, approve, builder, enroll_users, pending_session, poll_until};

/// The shutdown timeout of 5 s and one second.
const BOUND: Duration = Duration::from_secs(6);
/// The time limit when no call to the service is needed, or the service responds at once.
const PROMPT: Duration = Duration::from_secs(1);

/// An application that shuts down as the documentation of `shutdown` shows.
struct Site {
    emulator: Arc<Emulator>,
    ac: Activeconnect,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Site {
    async fn start() -> Self {
        Self::start_with(|ac| ac).await
    }

    async fn start_with(configure: impl FnOnce(Activeconnect) -> Activeconnect) -> Self {
        let emulator = Arc::new(Emulator::start().await.unwrap());
        let deadline = Duration::from_secs(600);
        let ac = configure(builder(&emulator).login_timeout(deadline).build().unwrap());
        enroll_users(&emulator, &ac, &["alice", "bob"]).await;
        let silent = || async { Sse::new(stream::pending::<Result<Event, Infallible>>()) };
        let app = Router::new()
            .route("/", get(async || "Hello"))
            .route("/silent", get(silent))
            .layer(ac.layer())
            .nest("/auth", ac.routes());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopping = ac.clone();
        let graceful = axum::serve(listener, app).with_graceful_shutdown(async move {
            stopped.await.ok();
            stopping.shutdown().await;
        });
        let server = tokio::spawn(async move { graceful.await });
        Self { emulator, ac, address, stop, server }
    }

    fn browser(&self) -> Browser {
        Browser::new(&format!("http://{}", self.address))
    }

    /// Shuts down with these streams open. Returns the duration and the complete text of each
    /// stream. Streams end at once, independent of the shutdown's duration.
    async fn shut_down(self, open: Vec<Stream>) -> (Duration, Vec<String>) {
        let started_at = Instant::now();
        self.stop.send(()).unwrap();
        let reading = stream::iter(open).map(Stream::rest).buffered(9).collect::<Vec<_>>();
        let reading = async { (reading.await, started_at.elapsed()) };
        let server = async { (self.server.await, started_at.elapsed()) };
        let bound = Duration::from_secs(20);
        let ends = tokio::time::timeout(bound, async { tokio::join!(reading, server) }).await;
        let ((actual, read), (served, took)) = ends.expect("the server ends");
        served.unwrap().unwrap();
        assert!(read < PROMPT, "{read:?}");
        (took, actual)
    }
}

/// A response that is being read.
struct Stream {
    actual: String,
    body: stream::BoxStream<'static, reqwest::Result<axum::body::Bytes>>,
}

impl Stream {
    /// Opens a stream as the browser, and reads its first event.
    async fn open(browser: &Browser, path: &str) -> Self {
        let response = browser.api(path).await;
        assert_eq!(response.status(), 200);
        let mut body = response.bytes_stream().boxed();
        let mut actual = String::new();
        if path == "/auth/events" {
            actual = String::from_utf8(body.next().await.unwrap().unwrap().into()).unwrap();
        }
        Self { actual, body }
    }

    /// Reads until the text arrives.
    async fn read_until(&mut self, context: &str) {
        while !self.actual.contains(context) {
            let chunk = self.body.next().await.unwrap().unwrap();
            self.actual += std::str::from_utf8(&chunk).unwrap();
        }
    }

    async fn rest(mut self) -> String {
        while let Some(chunk) = self.body.next().await {
            self.actual += std::str::from_utf8(&chunk.unwrap()).unwrap();
        }
        self.actual
    }
}

fn events(words: &[&str]) -> String {
    words.iter().map(|word| format!("id: {word}\ndata: {{\"status\":\"{word}\"}}\n\n")).collect()
}

async fn start_login(browser: &Browser, user: &str) {
    let started = browser.json("/auth/login", &serde_json::json!({"username": user})).await;
    assert_eq!(started.status(), 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_attempts_do_not_delay_shutdown() {
    let site = Site::start().await;
    let (alice, anonymous) = (site.browser(), site.browser());
    start_login(&alice, "alice").await;
    pending_session(&site.emulator).await;
    start_login(&anonymous, "nobody").await;
    let open = vec![
        Stream::open(&alice, "/auth/events").await,
        Stream::open(&anonymous, "/auth/events").await,
    ];
    let (took, actual) = site.shut_down(open).await;
    // Both are alike: the end does not reveal which user exists.
    assert_eq!(actual, [events(&["pending", "timeout"]), events(&["pending", "timeout"])]);
    assert!(took < PROMPT, "{took:?}");
}

/// Another tab of the browser started again: the attempt is in no map any more, and its stream is
/// still open.
#[tokio::test(flavor = "multi_thread")]
async fn superseded_attempt_does_not_delay_shutdown() {
    let site = Site::start().await;
    let (alice, browser) = (site.browser(), site.browser());
    site.emulator.inject_fault(Fault::new(Endpoint::Logout, FaultKind::Hang));
    start_login(&alice, "alice").await;
    pending_session(&site.emulator).await;
    start_login(&browser, "nobody").await;
    let first = Stream::open(&browser, "/auth/events").await;
    start_login(&browser, "nobody").await;
    let second = Stream::open(&browser, "/auth/events").await;
    let (took, actual) = site.shut_down(vec![first, second]).await;
    assert_eq!(actual, [events(&["pending", "timeout"]), events(&["pending", "timeout"])]);
    assert!(took < BOUND, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn approved_attempt_does_not_delay_shutdown() {
    let site = Site::start().await;
    let browser = site.browser();
    start_login(&browser, "alice").await;
    let mut stream = Stream::open(&browser, "/auth/events").await;
    let session = approve(&site.emulator).await;
    stream.read_until("active").await;
    let emulator = site.emulator.clone();
    let (took, actual) = site.shut_down(vec![stream]).await;
    // Either the engine's shutdown or the session's end arrives first.
    let ends = ["timeout", "closed"].map(|end| events(&["pending", "active", end]));
    assert!(ends.contains(&actual[0]), "{actual:?}");
    assert!(took < PROMPT, "{took:?}");
    let reports = emulator.state().sessions;
    let withdrawn = reports.iter().find(|report| report.session_token == session.session_token);
    assert_eq!(withdrawn.unwrap().status.to_string(), "closed", "at the service too");
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmations_do_not_delay_shutdown() {
    let site = Site::start().await;
    let (alice, bob) = (site.browser(), site.browser());
    alice.log_in(&site.emulator, "alice").await;
    bob.log_in(&site.emulator, "bob").await;
    let session = Stream::open(&alice, "/auth/events").await;
    let gated = Stream::open(&alice, "/silent").await;
    let confirmed = bob.send(bob.post("/auth/confirm")).await;
    assert_eq!(confirmed.status(), 202);
    pending_session(&site.emulator).await;
    let confirming = Stream::open(&bob, "/auth/events").await;
    let (took, actual) = site.shut_down(vec![session, gated, confirming]).await;
    assert_eq!(actual[0], events(&["active", "closed"]));
    assert!(actual[1].starts_with("event: session-ended"), "{actual:?}");
    assert_eq!(actual[2], events(&["pending", "timeout"]));
    assert!(took < PROMPT, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn second_factor_does_not_delay_shutdown() {
    let named = |parts: &Parts| parts.headers.get("x-user")?.to_str().ok().map(UserId::from);
    let site = Site::start_with(|ac| ac.with_user_resolver(named)).await;
    let browser = site.browser();
    let start_login =
        browser.post("/auth/login").header("x-user", "alice").json(&serde_json::json!({}));
    assert_eq!(browser.send(start_login).await.status(), 202);
    pending_session(&site.emulator).await;
    let response = browser.send(browser.get("/auth/events").header("x-user", "alice")).await;
    let mut stream = Stream { actual: String::new(), body: response.bytes_stream().boxed() };
    stream.read_until("pending").await;
    let (took, actual) = site.shut_down(vec![stream]).await;
    assert_eq!(actual, [events(&["pending", "timeout"])]);
    assert!(took < PROMPT, "{took:?}");
}

/// An anonymous client announces a body and never sends it.
#[tokio::test(flavor = "multi_thread")]
async fn unsent_body_does_not_delay_shutdown() {
    let site = Site::start().await;
    let mut anonymous = TcpStream::connect(site.address).await.unwrap();
    let head = "POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                content-length: 40\r\nexpect: 100-continue\r\n\r\n";
    anonymous.write_all(head.as_bytes()).await.unwrap();
    // The server requests the body when it starts to read.
    let mut proceed = [0; 25];
    anonymous.read_exact(&mut proceed).await.unwrap();
    assert_eq!(&proceed, b"HTTP/1.1 100 Continue\r\n\r\n");
    anonymous.write_all(b"{\"username\":").await.unwrap();
    let (took, _) = site.shut_down(Vec::new()).await;
    assert!(took < PROMPT, "{took:?}");
    let mut response = String::new();
    anonymous.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
}

/// Streams of every kind, requests that wait for a poll, and a service that does not respond: the
/// shutdown takes only its timeout. Later requests get a response at once.
#[tokio::test(flavor = "multi_thread")]
async fn hanging_service_delays_shutdown_by_5_s() {
    let site = Site::start().await;
    let (alice, bob, anonymous) = (site.browser(), site.browser(), site.browser());
    alice.log_in(&site.emulator, "alice").await;
    for call in [Endpoint::Status, Endpoint::Logout] {
        site.emulator.inject_fault(Fault::new(call, FaultKind::Hang));
    }
    start_login(&bob, "bob").await;
    pending_session(&site.emulator).await;
    start_login(&anonymous, "nobody").await;
    let mut open = Vec::new();
    for browser in [&alice, &bob, &anonymous] {
        open.push(Stream::open(browser, "/auth/events").await);
    }
    open.push(Stream::open(&alice, "/silent").await);
    let (ac, waits) = (site.ac.clone(), site.ac.clone());
    let log_in = tokio::spawn(async move { waits.log_in(&"alice".into()).await });
    pending_session(&site.emulator).await;
    let late = async {
        poll_until("the engine is shut down", async || {
            ac.sessions(&"alice".into()).await.unwrap().is_empty().then_some(())
        })
        .await;
        let started_at = Instant::now();
        let again = Stream::open(&anonymous, "/auth/events").await.rest().await;
        let login = anonymous.json("/auth/login", &serde_json::json!({"username": "carol"})).await;
        (again, login.status().as_u16(), started_at.elapsed())
    };
    let ((took, actual), (again, login, answered)) = tokio::join!(site.shut_down(open), late);
    assert!(took < BOUND, "{took:?}");
    assert_eq!(actual[0], events(&["active", "closed"]));
    assert_eq!(actual[1], events(&["pending", "timeout"]));
    assert_eq!(actual[2], events(&["pending", "timeout"]));
    assert!(actual[3].starts_with("event: session-ended"), "{actual:?}");
    assert_eq!((again, login), (events(&["pending", "timeout"]), 503));
    assert!(answered < PROMPT, "{answered:?}");
    assert!(log_in.await.unwrap().is_err());
}
