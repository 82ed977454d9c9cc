//! What polls cost: the CPU time of one poll compared with a bare reqwest call, and the latency of
//! requests while 100,000 sessions are polled at the maximum rate.
//!
//! The service and the site run in separate processes: this program with another argument. Times
//! vary with the load of the machine, so compare only ratios.
//!
//! ```text
//! cargo bench --features __bench,tonic --bench polls    # tables, and target/bench/polls.json
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench may fail, and measures"
)]

mod cost;
mod latency;
mod service;
#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use tower_activeconnect::Credentials;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let mut arguments = arguments.iter().map(String::as_str);
    match arguments.find_map(|argument| argument.strip_prefix("--be=")) {
        Some("service") => service::serve(),
        Some(site) => {
            let (which, service) = site.split_once(',').unwrap();
            latency::serve(which == "polled", service);
        }
        None => {}
    }
    let mut rows = cost::measure();
    rows.extend(latency::measure());
    support::write("polls", &rows);
}

/// This program in another process, killed on drop.
struct Process {
    child: Child,
    actual: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(be: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(format!("--be={be}"))
            .args(support::is_full_run().then_some("--bench"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let actual = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, actual }
    }

    fn line(&mut self) -> String {
        self.actual.next().unwrap().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Credentials for calls to the service at this address.
fn credentials(service: &str) -> Credentials {
    let credentials = Credentials::new("APPLICATION", "MXG9EDN581U33XTPLPFT75V2").unwrap();
    credentials.with_server(&format!("http://{service}")).unwrap()
}
