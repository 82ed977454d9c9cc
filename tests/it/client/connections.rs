//! A connection that passes nothing any more is not used for long, and thousands of calls find
//! connections enough.

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

use super::relay::{Relay, Treatment};
use super::service::Service;
use crate::support::raw::{self, Raw, STATUS_ACTIVE, Step, alice, answer, authenticate};
use crate::support::until;

const POLL_TIMEOUT: Duration = Duration::from_secs(3);
const SLACK: Duration = Duration::from_secs(1);

/// A client that has called the service once, through a relay.
struct Site {
    service: Service,
    relay: Relay,
    client: Client,
    session: RemoteSession,
}

impl Site {
    async fn new() -> Self {
        let service = Service::start().await;
        let relay = Relay::to(service.port()).await;
        let client = Client::new(service.credentials_at(relay.port())).unwrap();
        let session = authenticate(&client).await.unwrap();
        assert_eq!(relay.connections(), 1);
        Self { service, relay, client, session }
    }

    async fn status(&self) -> Result<(), ClientError> {
        self.client.status(&self.session).await.map(drop)
    }

    /// So many status calls at once; how each ended.
    async fn statuses(&self, count: usize) -> Vec<Result<(), ClientError>> {
        join_all((0..count).map(|_| self.status())).await
    }
}

#[tokio::test]
async fn any_call_leaves_a_dead_connection() {
    async fn second_call_succeeds(
        call: impl AsyncFn(&Site) -> Result<(), ClientError>,
        timeout: Duration,
    ) {
        let site = Site::new().await;
        call(&site).await.unwrap();
        site.relay.treat_all(Treatment::Swallow);
        let begun = Instant::now();
        let error = call(&site).await.unwrap_err();
        // The pings may find out before the call's own timeout.
        let kinds = [ClientErrorKind::TimedOut, ClientErrorKind::Unreachable];
        assert!(kinds.contains(&error.kind()), "{error:?}");
        assert!(begun.elapsed() < timeout + SLACK, "{:?}", begun.elapsed());
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

/// Its caller gives each call less time than the client does.
#[tokio::test]
async fn abandoned_calls_leave_a_dead_connection() {
    let site = Site::new().await;
    site.relay.treat_all(Treatment::Swallow);
    let patience = Duration::from_millis(1_500);
    tokio::time::timeout(patience, site.status()).await.unwrap_err();
    tokio::time::timeout(patience, site.status()).await.unwrap().unwrap();
}

#[tokio::test]
async fn pings_find_an_idle_dead_connection() {
    let site = Site::new().await;
    site.relay.treat_all(Treatment::Swallow);
    let begun = Instant::now();
    until("the client closes the connection", async || (site.relay.closed() == 1).then_some(()))
        .await;
    // A ping after 2 s without answer for 2 s; for want of use it would be closed after 20 s.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    site.status().await.unwrap();
    assert_eq!(site.relay.connections(), 2);
}

#[tokio::test]
async fn many_timeouts_open_one_connection() {
    let site = Site::new().await;
    site.relay.treat_all(Treatment::Swallow);
    assert!(site.statuses(60).await.iter().all(Result::is_err));
    assert!(site.statuses(60).await.iter().all(Result::is_ok));
    assert_eq!(site.relay.connections(), 2);
}

#[tokio::test]
async fn one_of_several_connections_dies() {
    let site = Site::new().await;
    site.service.set_latency(Duration::from_millis(500));
    assert!(site.statuses(120).await.iter().all(Result::is_ok));
    assert_eq!(site.relay.connections(), 2);
    site.relay.treat(0, Treatment::Swallow);
    let failed = site.statuses(120).await.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!(failed, 64, "those on the dead one");
    assert!(site.statuses(120).await.iter().all(Result::is_ok));
    assert_eq!(site.relay.connections(), 3);
}

/// One session's calls hang, others are answered: their connection is alive.
#[tokio::test]
async fn hanging_call_leaves_its_connection_alone() {
    let site = Site::new().await;
    site.service.set_latency(Duration::from_secs(60));
    let mut hanging = pin!(site.status());
    let arrived =
        until("the request has come", async || (site.service.waiting() == 1).then_some(()));
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
    let relay = Relay::to(service.port()).await;
    let client = Client::new(service.credentials_at(relay.port())).unwrap();
    relay.treat_new(Treatment::Swallow);
    let begun = Instant::now();
    let error = authenticate(&client).await.unwrap_err();
    assert_eq!(error.kind(), ClientErrorKind::TimedOut);
    assert!(begun.elapsed() < Duration::from_secs(2) + SLACK, "{:?}", begun.elapsed());
    relay.treat_new(Treatment::Pass);
    authenticate(&client).await.unwrap();
}

/// The first of several calls meets the silent handshake; the others do not wait for its end.
#[tokio::test]
async fn silent_handshake_holds_up_no_others() {
    let service = Service::start().await;
    let relay = Relay::to(service.port()).await;
    let client = Client::new(service.credentials_at(relay.port())).unwrap();
    relay.treat_new(Treatment::Swallow);
    let opens_again = async {
        until("the first connection is begun", async || (relay.connections() == 1).then_some(()))
            .await;
        relay.treat_new(Treatment::Pass);
    };
    let begun = Instant::now();
    let calls = join_all((0..10).map(|_| authenticate(&client)));
    let (outcomes, ()) = tokio::join!(calls, opens_again);
    assert!(outcomes.iter().all(Result::is_ok));
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    assert_eq!(relay.connections(), 2);
}

/// The service allows 100 streams a connection and takes a second for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_hundred_calls_run_at_once() {
    let service = Service::start().await;
    let client = Client::new(service.credentials()).unwrap();
    service.set_latency(Duration::from_secs(1));
    let begun = Instant::now();
    let calls = join_all((0..400).map(|_| client.add_users(&[]))).await;
    let took = begun.elapsed();
    assert!(calls.iter().all(Result::is_ok), "{calls:?}");
    println!("400 calls of 1 s in {took:?} over {} connections", service.connections());
    // No call has waited for the end of another.
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
    let begun = Instant::now();
    while site.service.open_connections() > 1 {
        assert!(begun.elapsed() < Duration::from_secs(45));
        site.status().await.unwrap();
        calls += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(calls > 10, "they were kept for a while");
    assert_eq!(site.relay.connections(), 4);
}

/// An engine with a session in use, whose only connection passes nothing any more.
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
        let relay = Relay::to(service.port()).await;
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

    /// Requests for this long; how long it took until all that came after were let in, and the
    /// longest time in which none was.
    async fn use_for(&self, duration: Duration) -> (Duration, Duration) {
        let begun = Instant::now();
        let (mut last_failure, mut last_success) = (Duration::ZERO, Duration::ZERO);
        let mut longest = Duration::ZERO;
        while begun.elapsed() < duration {
            match self.request().await {
                StatusCode::OK => last_success = begun.elapsed(),
                StatusCode::SERVICE_UNAVAILABLE => last_failure = begun.elapsed(),
                other => panic!("{other}"),
            }
            longest = longest.max(begun.elapsed().saturating_sub(last_success));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        (last_failure, longest)
    }
}

#[tokio::test]
async fn session_survives_a_dead_connection() {
    let application = Application::start().await;
    assert_eq!(application.request().await, StatusCode::OK);
    application.relay.treat_all(Treatment::Swallow);
    let bound = application.max_staleness + POLL_TIMEOUT;
    let (back_after, _) = application.use_for(bound + Duration::from_secs(4)).await;
    println!("all requests are let in {back_after:?} after the fault");
    assert!(back_after < bound + SLACK, "{back_after:?}");
    assert!(!application.ac.health().breaker_open);
}

/// Each connection passes nothing once it is 2 s old.
#[tokio::test]
async fn session_survives_short_lived_connections() {
    let application = Application::start().await;
    application.relay.limit_lifetime(Duration::from_secs(2));
    application.relay.treat_all(Treatment::Swallow);
    let (_, longest) = application.use_for(Duration::from_secs(25)).await;
    let connections = application.relay.connections();
    println!("never shut out for more than {longest:?}, over {connections} connections");
    assert!(longest < application.max_staleness + POLL_TIMEOUT, "{longest:?}");
    assert!(connections > 3, "{connections}");
}

/// The poller's half-open probes meet the dead connection as well as the polls of all sessions.
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
    application.relay.treat_all(Treatment::Swallow);
    let begun = Instant::now();
    let bound = application.max_staleness + POLL_TIMEOUT + SLACK;
    let mut last_failure = Duration::ZERO;
    while begun.elapsed() < bound + Duration::from_secs(3) {
        for bearer in &bearers {
            if application.request_with(bearer).await != StatusCode::OK {
                last_failure = begun.elapsed();
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("all sessions are let in {last_failure:?} after the fault");
    assert!(last_failure < bound, "{last_failure:?}");
}

/// A client that has eight idle HTTP/1.1 connections to a service, through a relay.
async fn eight_http1_connections() -> (Client, RemoteSession, Relay) {
    let answers = vec![
        Step::Rest(Duration::from_millis(300)),
        Step::Send(answer("200 OK", &[], STATUS_ACTIVE)),
    ];
    let raw = Raw::with_session(answers).await;
    let relay = Relay::to(raw.address().port()).await;
    let client = raw::client(&format!("http://127.0.0.1:{}", relay.port()), Dialect::default());
    let session = authenticate(&client).await.unwrap();
    let statuses = join_all((0..8).map(|_| client.status(&session))).await;
    assert!(statuses.iter().all(Result::is_ok));
    assert_eq!(relay.connections(), 8);
    (client, session, relay)
}

#[tokio::test]
async fn one_timeout_leaves_all_dead_http1_connections() {
    let (client, session, relay) = eight_http1_connections().await;
    relay.treat_all(Treatment::Swallow);
    assert_eq!(client.status(&session).await.unwrap_err().kind(), ClientErrorKind::TimedOut);
    client.status(&session).await.unwrap();
}

#[tokio::test]
async fn one_reset_leaves_all_dead_http1_connections() {
    let (client, session, relay) = eight_http1_connections().await;
    relay.treat_all(Treatment::Reset);
    assert_eq!(client.status(&session).await.unwrap_err().kind(), ClientErrorKind::Unreachable);
    client.status(&session).await.unwrap();
}

const CHILD_SERVER: &str = "CONNECTIONS_TEST_SERVER";

/// What the child process does, in which 400 files may be open; without its variable nothing.
#[tokio::test]
async fn child_makes_calls_over_http1() {
    let Ok(server) = std::env::var(CHILD_SERVER) else { return };
    let client = raw::client(&server, Dialect::default());
    let calls = join_all((0..180).map(|_| client.delete_users(&[]))).await;
    assert!(calls.iter().all(Result::is_ok), "{calls:?}");
    println!("all are answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_takes_a_quarter_of_the_files() {
    let raw = Raw::start(|_| {
        let answer = answer("200 OK", &[], r#"{"status":true}"#);
        vec![Step::Rest(Duration::from_millis(400)), Step::Send(answer)]
    })
    .await;
    let relay = Relay::to(raw.address().port()).await;
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
