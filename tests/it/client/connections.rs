//! The client replaces dead connections soon, and opens enough connections for thousands of calls.

use std::pin::pin;
use std::process::Stdio;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use tower::ServiceExt as _;
use tower_activeconnect::client::{Client, ClientError, ClientErrorKind, RemoteSession};
use tower_activeconnect::protocol::Dialect;
use tower_activeconnect::{Activeconnect, MemoryTokenStore};

use super::relay::{Mode, Relay};
use super::service::Service;
use crate::support::poll_until;
use crate::support::raw_server::{
    self, RawServer, STATUS_ACTIVE, Step, alice, authenticate, response,
};

const POLL_TIMEOUT: Duration = Duration::from_secs(3);
const SLACK: Duration = Duration::from_secs(1);

/// A client with a session and one connection, through a relay.
struct Site {
    service: Service,
    relay: Relay,
    client: Client,
    session: RemoteSession,
}

impl Site {
    async fn new() -> Self {
        let service = Service::start().await;
        let relay = Relay::start(service.port()).await;
        let client = Client::new(service.credentials_at(relay.port())).unwrap();
        let session = authenticate(&client).await.unwrap();
        assert_eq!(relay.connections(), 1);
        Self { service, relay, client, session }
    }

    async fn status(&self) -> Result<(), ClientError> {
        self.client.status(&self.session).await.map(drop)
    }

    /// Sends `count` status calls concurrently; returns their results.
    async fn statuses(&self, count: usize) -> Vec<Result<(), ClientError>> {
        join_all((0..count).map(|_| self.status())).await
    }
}

#[tokio::test]
async fn each_call_replaces_dead_connection() {
    async fn second_call_succeeds(
        call: impl AsyncFn(&Site) -> Result<(), ClientError>,
        timeout: Duration,
    ) {
        let site = Site::new().await;
        call(&site).await.unwrap();
        site.relay.set_mode_of_all(Mode::Swallow);
        let started_at = Instant::now();
        let error = call(&site).await.unwrap_err();
        // The pings may detect the failure before the call's timeout.
        let kinds = [ClientErrorKind::TimedOut, ClientErrorKind::Unreachable];
        assert!(kinds.contains(&error.kind()), "{error:?}");
        assert!(started_at.elapsed() < timeout + SLACK, "{:?}", started_at.elapsed());
        call(&site).await.unwrap();
        assert_eq!(site.relay.connections(), 2);
    }
    let call_timeout = Duration::from_secs(5);
    tokio::join!(
        second_call_succeeds(Site::status, POLL_TIMEOUT),
        second_call_succeeds(async |site| site.client.logout(&site.session).await, call_timeout),
        second_call_succeeds(
            async |site| site.client.has_registered_mobile_device(&alice()).await.map(drop),
            call_timeout,
        ),
        second_call_succeeds(async |site| site.client.add_users(&[]).await.map(drop), call_timeout,),
    );
}

/// The caller drops each call before the client's own timeout.
#[tokio::test]
async fn abandoned_calls_replace_dead_connection() {
    let site = Site::new().await;
    site.relay.set_mode_of_all(Mode::Swallow);
    let patience = Duration::from_millis(1_500);
    tokio::time::timeout(patience, site.status()).await.unwrap_err();
    tokio::time::timeout(patience, site.status()).await.unwrap().unwrap();
}

#[tokio::test]
async fn pings_find_an_idle_dead_connection() {
    let site = Site::new().await;
    site.relay.set_mode_of_all(Mode::Swallow);
    let started_at = Instant::now();
    poll_until("the client closes the connection", async || {
        (site.relay.closed() == 1).then_some(())
    })
    .await;
    // A ping is sent after 2 s and times out after 2 s; an idle connection closes after 20 s.
    assert!(started_at.elapsed() < Duration::from_secs(10), "{:?}", started_at.elapsed());
    site.status().await.unwrap();
    assert_eq!(site.relay.connections(), 2);
}

#[tokio::test]
async fn many_timeouts_open_one_connection() {
    let site = Site::new().await;
    site.relay.set_mode_of_all(Mode::Swallow);
    assert!(site.statuses(60).await.iter().all(Result::is_err));
    assert!(site.statuses(60).await.iter().all(Result::is_ok));
    assert_eq!(site.relay.connections(), 2);
}

#[tokio::test]
async fn one_dead_connection_spares_others() {
    let site = Site::new().await;
    site.service.set_latency(Duration::from_millis(500));
    assert!(site.statuses(120).await.iter().all(Result::is_ok));
    assert_eq!(site.relay.connections(), 2);
    site.relay.set_mode(0, Mode::Swallow);
    let failed = site.statuses(120).await.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!(failed, 64, "those on the dead one");
    assert!(site.statuses(120).await.iter().all(Result::is_ok));
    assert_eq!(site.relay.connections(), 3);
}

/// One session's calls hang and others get responses: their connection is alive.
#[tokio::test]
async fn hanging_call_keeps_its_connection() {
    let site = Site::new().await;
    site.service.set_latency(Duration::from_secs(60));
    let mut hanging = pin!(site.status());
    let arrived =
        poll_until("the request has come", async || (site.service.waiting() == 1).then_some(()));
    tokio::select! {
        outcome = &mut hanging => panic!("{outcome:?}"),
        () = arrived => site.service.set_latency(Duration::ZERO),
    }
    let others = async {
        loop {
            site.status().await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let error = tokio::select! {
        outcome = hanging => outcome.unwrap_err(),
        () = others => unreachable!(),
    };
    assert_eq!(error.kind(), ClientErrorKind::TimedOut);
    site.status().await.unwrap();
    assert_eq!(site.relay.connections(), 1);
}

#[tokio::test]
async fn silent_handshake_ends_in_two_seconds() {
    let service = Service::start().await;
    let relay = Relay::start(service.port()).await;
    let client = Client::new(service.credentials_at(relay.port())).unwrap();
    relay.set_mode_of_new(Mode::Swallow);
    let started_at = Instant::now();
    let error = authenticate(&client).await.unwrap_err();
    assert_eq!(error.kind(), ClientErrorKind::TimedOut);
    assert!(started_at.elapsed() < Duration::from_secs(2) + SLACK, "{:?}", started_at.elapsed());
    relay.set_mode_of_new(Mode::Pass);
    authenticate(&client).await.unwrap();
}

/// The first of several calls gets the silent handshake; the others do not wait for its timeout.
#[tokio::test]
async fn silent_handshake_delays_no_other_call() {
    let service = Service::start().await;
    let relay = Relay::start(service.port()).await;
    let client = Client::new(service.credentials_at(relay.port())).unwrap();
    relay.set_mode_of_new(Mode::Swallow);
    let opens_again = async {
        poll_until("the first connection is open", async || {
            (relay.connections() == 1).then_some(())
        })
        .await;
        relay.set_mode_of_new(Mode::Pass);
    };
    let started_at = Instant::now();
    let calls = join_all((0..10).map(|_| authenticate(&client)));
    let (outcomes, ()) = tokio::join!(calls, opens_again);
    assert!(outcomes.iter().all(Result::is_ok));
    assert!(started_at.elapsed() < Duration::from_millis(1_500), "{:?}", started_at.elapsed());
    assert_eq!(relay.connections(), 2);
}

/// The service allows 100 streams per connection and responds after one second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_hundred_calls_run_at_once() {
    let service = Service::start().await;
    let client = Client::new(service.credentials()).unwrap();
    service.set_latency(Duration::from_secs(1));
    let started_at = Instant::now();
    let calls = join_all((0..400).map(|_| client.add_users(&[]))).await;
    let took = started_at.elapsed();
    assert!(calls.iter().all(Result::is_ok), "{calls:?}");
    println!("400 calls of 1 s in {took:?} over {} connections", service.connections());
    // No call waits for another.
    assert!(took < Duration::from_millis(1_900), "{took:?}");
    assert!(service.connections() <= 8, "{}", service.connections());
    assert!(service.most_streams() <= 64, "{}", service.most_streams());
}

#[tokio::test]
async fn connections_for_a_burst_close_after_it() {
    let site = Site::new().await;
    site.service.set_latency(Duration::from_millis(500));
    assert!(site.statuses(200).await.iter().all(Result::is_ok));
    site.service.set_latency(Duration::ZERO);
    assert_eq!(site.service.open_connections(), 4);
    let mut calls = 0;
    let started_at = Instant::now();
    while site.service.open_connections() > 1 {
        assert!(started_at.elapsed() < Duration::from_secs(45));
        site.status().await.unwrap();
        calls += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(calls > 10, "the connections were kept for a while");
    assert_eq!(site.relay.connections(), 4);
}

/// An engine with a session in use, whose only connection becomes dead.
struct Application {
    relay: Relay,
    _service: Service,
    ac: Activeconnect,
    app: Router,
    bearer: String,
    max_staleness: Duration,
}

impl Application {
    async fn start() -> Self {
        let service = Service::start().await;
        let relay = Relay::start(service.port()).await;
        let max_staleness = Duration::from_secs(5);
        let ac = Activeconnect::builder(service.credentials_at(relay.port()))
            .token_store(MemoryTokenStore::new())
            .poll_interval(Duration::from_secs(1))
            .max_staleness(max_staleness)
            .build()
            .unwrap();
        ac.enroll(&"alice".into()).await.unwrap();
        let credential = ac.log_in(&"alice".into()).await.unwrap();
        let bearer = format!("Bearer {}", credential.expose());
        let app = Router::new().route("/", get(async || "in")).layer(ac.layer());
        Self { relay, _service: service, ac, app, bearer, max_staleness }
    }

    async fn request(&self) -> StatusCode {
        self.request_with(&self.bearer).await
    }

    async fn request_with(&self, bearer: &str) -> StatusCode {
        let request = Request::get("/").header("authorization", bearer);
        let request = request.body(Body::empty()).unwrap();
        self.app.clone().oneshot(request).await.unwrap().status()
    }

    /// Sends requests for this duration. Returns the time of the last failure, and the longest time
    /// without a success.
    async fn send_requests_for(&self, duration: Duration) -> (Duration, Duration) {
        let started_at = Instant::now();
        let (mut last_failure, mut last_success) = (Duration::ZERO, Duration::ZERO);
        let mut longest = Duration::ZERO;
        while started_at.elapsed() < duration {
            match self.request().await {
                StatusCode::OK => last_success = started_at.elapsed(),
                StatusCode::SERVICE_UNAVAILABLE => last_failure = started_at.elapsed(),
                other => panic!("{other}"),
            }
            longest = longest.max(started_at.elapsed().saturating_sub(last_success));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        (last_failure, longest)
    }
}

#[tokio::test]
async fn session_survives_a_dead_connection() {
    let application = Application::start().await;
    assert_eq!(application.request().await, StatusCode::OK);
    application.relay.set_mode_of_all(Mode::Swallow);
    let bound = application.max_staleness + POLL_TIMEOUT;
    let (back_after, _) = application.send_requests_for(bound + Duration::from_secs(4)).await;
    println!("all requests are allowed {back_after:?} after the fault");
    assert!(back_after < bound + SLACK, "{back_after:?}");
    assert!(!application.ac.health().breaker_open);
}

/// Each connection becomes dead after 2 s.
#[tokio::test]
async fn session_survives_short_lived_connections() {
    let application = Application::start().await;
    application.relay.limit_lifetime(Duration::from_secs(2));
    application.relay.set_mode_of_all(Mode::Swallow);
    let (_, longest) = application.send_requests_for(Duration::from_secs(25)).await;
    let connections = application.relay.connections();
    println!("denied for at most {longest:?}, over {connections} connections");
    assert!(longest < application.max_staleness + POLL_TIMEOUT, "{longest:?}");
    assert!(connections > 3, "{connections}");
}

/// The poller's half-open probes and the polls of all sessions use the dead connection.
#[tokio::test]
async fn many_sessions_survive_a_dead_connection() {
    let application = Application::start().await;
    let mut bearers = Vec::new();
    for n in 0..20 {
        let user = format!("user-{n}").as_str().into();
        application.ac.enroll(&user).await.unwrap();
        let credential = application.ac.log_in(&user).await.unwrap();
        bearers.push(format!("Bearer {}", credential.expose()));
    }
    application.relay.set_mode_of_all(Mode::Swallow);
    let started_at = Instant::now();
    let bound = application.max_staleness + POLL_TIMEOUT + SLACK;
    let mut last_failure = Duration::ZERO;
    while started_at.elapsed() < bound + Duration::from_secs(3) {
        for bearer in &bearers {
            if application.request_with(bearer).await != StatusCode::OK {
                last_failure = started_at.elapsed();
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("all sessions are allowed {last_failure:?} after the fault");
    assert!(last_failure < bound, "{last_failure:?}");
}

/// A client with eight idle HTTP/1.1 connections, through a relay.
async fn eight_http1_connections() -> (Client, RemoteSession, Relay) {
    let responses = vec![
        Step::Pause(Duration::from_millis(300)),
        Step::Send(response("200 OK", &[], STATUS_ACTIVE)),
    ];
    let raw = RawServer::with_session(responses).await;
    let relay = Relay::start(raw.address().port()).await;
    let client =
        raw_server::client(&format!("http://127.0.0.1:{}", relay.port()), Dialect::default());
    let session = authenticate(&client).await.unwrap();
    let statuses = join_all((0..8).map(|_| client.status(&session))).await;
    assert!(statuses.iter().all(Result::is_ok));
    assert_eq!(relay.connections(), 8);
    (client, session, relay)
}

#[tokio::test]
async fn one_timeout_replaces_dead_http1_connections() {
    let (client, session, relay) = eight_http1_connections().await;
    relay.set_mode_of_all(Mode::Swallow);
    assert_eq!(client.status(&session).await.unwrap_err().kind(), ClientErrorKind::TimedOut);
    client.status(&session).await.unwrap();
}

#[tokio::test]
async fn one_reset_replaces_dead_http1_connections() {
    let (client, session, relay) = eight_http1_connections().await;
    relay.set_mode_of_all(Mode::Reset);
    assert_eq!(client.status(&session).await.unwrap_err().kind(), ClientErrorKind::Unreachable);
    client.status(&session).await.unwrap();
}

const CHILD_SERVER: &str = "CONNECTIONS_TEST_SERVER";

/// The body of the child process, whose limit is 400 open files; returns at once without its
/// variable.
#[tokio::test]
async fn child_makes_calls_over_http1() {
    let Ok(server) = std::env::var(CHILD_SERVER) else { return };
    let client = raw_server::client(&server, Dialect::default());
    let calls = join_all((0..180).map(|_| client.delete_users(&[]))).await;
    assert!(calls.iter().all(Result::is_ok), "{calls:?}");
    println!("all are answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_uses_at_most_a_quarter_of_files() {
    let raw = RawServer::start(|_| {
        let response = response("200 OK", &[], r#"{"status":true}"#);
        vec![Step::Pause(Duration::from_millis(400)), Step::Send(response)]
    })
    .await;
    let relay = Relay::start(raw.address().port()).await;
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", "ulimit -n 400 && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "client::connections::child_makes_calls_over_http1", "--nocapture"])
        .env(CHILD_SERVER, format!("http://127.0.0.1:{}", relay.port()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut most_open = 0;
    while child.try_wait().unwrap().is_none() {
        most_open = most_open.max(relay.connections() - relay.closed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let output = child.wait_with_output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("all are answered"), "{text}");
    assert!((65..=100).contains(&most_open), "{most_open}");
}
