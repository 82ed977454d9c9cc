//! What the gate costs over sockets: CPU time of the server for each request, and latency under
//! load, for a bare axum server, a server behind the baseline gate of `benches/gate`, and a server
//! behind this crate's gate. Each is a process with one thread; wrk measures them in turns.
//!
//! ```text
//! cargo bench --features __bench,tonic --bench sockets    # table, and target/bench/sockets.json; needs wrk
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench may fail, and measures"
)]

#[path = "../gate/baseline.rs"]
mod baseline;
#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use serde_json::json;
use tower_activeconnect::{Activeconnect, Credentials, MemoryTokenStore};

const SERVERS: [&str; 3] = ["bare", "baseline", "gate"];
const ROUNDS: usize = 9;

fn main() {
    if let Some(which) =
        std::env::args().find_map(|arg| Some(arg.strip_prefix("--serve=")?.to_owned()))
    {
        serve(&which);
    }
    if Command::new("wrk").arg("-v").output().is_err() {
        println!("without wrk nothing is measured");
        return;
    }
    let (rounds, length) = if support::is_full_run() { (ROUNDS, "2s") } else { (1, "1s") };
    let servers = SERVERS.map(Server::start);
    let mut runs = SERVERS.map(|_| Vec::new());
    for _ in 0..rounds {
        for (server, runs) in servers.iter().zip(&mut runs) {
            runs.push(server.ask(length));
        }
    }
    println!(
        "{:<8}{:>16}{:>10}{:>10}{:>14}",
        "", "CPU us/request", "p50 us", "p99 us", "requests/s"
    );
    let mut rows = Vec::new();
    for (name, runs) in SERVERS.iter().zip(&mut runs) {
        let mut middle = |figure: fn(&Run) -> f64| {
            runs.sort_by(|a, b| figure(a).total_cmp(&figure(b)));
            figure(&runs[runs.len() / 2])
        };
        let (cpu, p50) = (middle(|run| run.cpu), middle(|run| run.p50));
        let (p99, rate) = (middle(|run| run.p99), middle(|run| run.rate));
        println!("{name:<8}{cpu:>16.2}{p50:>10.0}{p99:>10.0}{rate:>14.0}");
        rows.push(json!({ "name": name, "cpu_us": cpu, "p50_us": p50, "p99_us": p99, "requests_per_second": rate }));
    }
    let cpu = |at: usize| rows[at]["cpu_us"].as_f64().unwrap();
    println!(
        "CPU, gate against baseline {:.3}, against bare {:.3}",
        cpu(2) / cpu(1),
        cpu(2) / cpu(0)
    );
    support::write("sockets", &rows);
}

struct Server {
    process: Child,
    port: String,
    cookie: String,
}

/// Latency in microseconds, and requests a second.
struct Run {
    cpu: f64,
    p50: f64,
    p99: f64,
    rate: f64,
}

impl Server {
    fn start(which: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg(format!("--serve={which}"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut actual = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut line = || actual.next().unwrap().unwrap();
        Self { port: line(), cookie: line(), process }
    }

    fn ask(&self, length: &str) -> Run {
        let before = self.cpu();
        let wrk = Command::new("wrk")
            .args(["-t1", "-c32", "--latency", "-d", length, "-H"])
            .arg(format!("cookie: {}", self.cookie))
            .arg(format!("http://127.0.0.1:{}/", self.port))
            .output()
            .unwrap();
        let cpu = self.cpu() - before;
        let actual = String::from_utf8(wrk.stdout).unwrap();
        assert!(!actual.contains("Non-2xx"), "{actual}");
        let after = |label: &str| {
            let line = actual.lines().find_map(|line| line.trim().strip_prefix(label));
            line.unwrap_or_else(|| panic!("{label} in {actual}")).trim().to_owned()
        };
        let requests = actual.lines().find_map(|line| line.split_once(" requests in "));
        let requests: f64 = requests.unwrap().0.trim().parse().unwrap();
        Run {
            cpu: cpu.as_secs_f64() * 1e6 / requests,
            p50: micros(&after("50%")),
            p99: micros(&after("99%")),
            rate: after("Requests/sec:").parse().unwrap(),
        }
    }

    /// The CPU time of the process, user and system.
    fn cpu(&self) -> Duration {
        let path = format!("/proc/{}/schedstat", self.process.id());
        let text = std::fs::read_to_string(path).unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Parses a time as wrk prints it.
fn micros(time: &str) -> f64 {
    let unit = time.find(|c: char| c.is_ascii_alphabetic()).unwrap();
    let number: f64 = time[..unit].parse().unwrap();
    match &time[unit..] {
        "us" => number,
        "ms" => number * 1e3,
        _ => number * 1e6,
    }
}

/// Serves until the process is killed.
#[tokio::main(flavor = "current_thread")]
async fn serve(which: &str) -> ! {
    let hour = Duration::from_secs(3600);
    let credentials = Credentials::new("APPLICATION", "MXG9EDN581U33XTPLPFT75V2").unwrap();
    let ac = Activeconnect::builder(credentials)
        .token_store(MemoryTokenStore::new())
        .poll_interval(hour)
        .max_staleness(2 * hour)
        .build()
        .unwrap();
    let session = ac.bench_session(&"alice".into(), false);
    let router: Router = Router::new().route("/", get(async || "hello"));
    let router = match which {
        "gate" => router.layer(ac.layer()),
        "baseline" => router.layer(baseline::BaselineLayer::new(std::slice::from_ref(&session))),
        _ => router,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    println!("theme=dark; lang=en; __Host-activeconnect={}", session.expose());
    std::io::stdout().flush().unwrap();
    axum::serve(listener, router).await.unwrap();
    unreachable!("it serves for ever")
}
