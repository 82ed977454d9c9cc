//! How long requests through the gate take over sockets, with 100,000 live sessions: *idle*, with
//! no poll due, and *polled*, with more polls due than the default rate allows.
//!
//! Client, site and service share two cores. The bench measures how much polls delay requests, not
//! how long a queue grows, so each connection pauses after each response and the machine is mostly
//! idle. Sites take turns. Each site is a new process, because an unused session is polled only for
//! a minute.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use tower_activeconnect::identity::SessionCredential;
use tower_activeconnect::{Activeconnect, MemoryTokenStore};

use super::service::Service;
use super::{Process, credentials, support};

const SITES: [&str; 2] = ["idle", "polled"];
const SESSIONS: usize = 100_000;
const SESSIONS_QUICK: usize = 1_000;
const ROUNDS: usize = 11;
const ROUND: Duration = Duration::from_secs(5);
/// Each connection has its own session.
const CONNECTIONS: usize = 8;
const PAUSE: Duration = Duration::from_millis(4);
/// The time until the first polls of `polled` are due; from then on more are due than the rate
/// allows.
const INTERVAL: Duration = Duration::from_secs(1);

/// The result of one turn of a site: latency in microseconds, and requests a second.
struct Turn {
    p50: f64,
    p99: f64,
    requests: f64,
    polls: f64,
}

pub(crate) fn measure() -> Vec<Value> {
    let (rounds, round) =
        if support::is_full_run() { (ROUNDS, ROUND) } else { (1, Duration::from_millis(200)) };
    let mut service = Service::start();
    let mut turns = SITES.map(|_| Vec::new());
    for _ in 0..rounds {
        for (site, turns) in SITES.iter().zip(&mut turns) {
            turns.push(turn(site, &mut service, round));
        }
    }
    println!("{:<10}{:>10}{:>10}{:>14}{:>14}", "", "p50 us", "p99 us", "requests/s", "polls/s");
    let mut rows = Vec::new();
    for (site, turns) in SITES.iter().zip(&mut turns) {
        let mut middle = |figure: fn(&Turn) -> f64| {
            turns.sort_by(|a, b| figure(a).total_cmp(&figure(b)));
            figure(&turns[turns.len() / 2])
        };
        let (p50, p99) = (middle(|turn| turn.p50), middle(|turn| turn.p99));
        let (requests, polls) = (middle(|turn| turn.requests), middle(|turn| turn.polls));
        println!("{site:<10}{p50:>10.0}{p99:>10.0}{requests:>14.0}{polls:>14.0}");
        rows.push(json!({ "name": site, "p50_us": p50, "p99_us": p99, "requests_per_second": requests, "polls_per_second": polls }));
    }
    let p99 = |at: usize| rows[at]["p99_us"].as_f64().unwrap();
    println!("p99, polled against idle {:.2}", p99(1) / p99(0));
    rows
}

fn turn(site: &str, service: &mut Service, length: Duration) -> Turn {
    let mut process = Process::start(&format!("{site},{}", service.address));
    let port: u16 = process.line().parse().unwrap();
    let credentials: Vec<String> = (0..CONNECTIONS).map(|_| process.line()).collect();
    let (calls_before, started_at) = (service.status_calls(), Instant::now());
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let clients =
            credentials.iter().map(|bearer| scope.spawn(move || ask(port, bearer, length)));
        // Sends all requests before it waits for the first.
        let clients: Vec<_> = clients.collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let seconds = started_at.elapsed().as_secs_f64();
    let polls = (service.status_calls() - calls_before) as f64;
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1e6;
    Turn {
        p50: at(50),
        p99: at(99),
        requests: times.len() as f64 / seconds,
        polls: polls / seconds,
    }
}

/// Sends requests on one connection; returns the time of each.
fn ask(port: u16, bearer: &str, length: Duration) -> Vec<Duration> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: site\r\nauthorization: Bearer {bearer}\r\n\r\n");
    let mut buffer = [0; 1024];
    let mut times = Vec::new();
    let until = Instant::now() + length;
    while Instant::now() < until {
        let started_at = Instant::now();
        stream.write_all(request.as_bytes()).unwrap();
        let read = stream.read(&mut buffer).unwrap();
        times.push(started_at.elapsed());
        // A response this small arrives in one piece.
        let response = &buffer[..read];
        let is_good = response.starts_with(b"HTTP/1.1 200") && response.ends_with(b"hello");
        assert!(is_good, "{}", String::from_utf8_lossy(response));
        std::thread::sleep(PAUSE);
    }
    times
}

/// Serves until the process is killed.
#[tokio::main]
pub(crate) async fn serve(polled: bool, service: &str) -> ! {
    let hour = Duration::from_secs(3600);
    let (interval, staleness) =
        if polled { (INTERVAL, Duration::from_secs(120)) } else { (hour, 2 * hour) };
    let ac = Activeconnect::builder(credentials(service))
        .token_store(MemoryTokenStore::new())
        .poll_interval(interval)
        .max_staleness(staleness)
        .build()
        .unwrap();
    let sessions = if support::is_full_run() { SESSIONS } else { SESSIONS_QUICK };
    let credentials: Vec<SessionCredential> =
        (0..sessions).map(|i| ac.bench_session(&format!("user-{i:07}").into(), false)).collect();
    let router = Router::new().route("/", get(async || "hello")).layer(ac.layer());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    if support::is_full_run() {
        // Waits until all due polls are queued.
        tokio::time::sleep(2 * INTERVAL).await;
    }
    println!("{}", listener.local_addr().unwrap().port());
    for credential in credentials.iter().step_by(sessions / CONNECTIONS).take(CONNECTIONS) {
        println!("{}", credential.expose());
    }
    axum::serve(listener, router).await.unwrap();
    unreachable!("it serves for ever")
}
