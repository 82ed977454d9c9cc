//! What polls cost: CPU time of one beside reqwest's bare call, and how long requests take while
//! 100,000 sessions are polled as often as may be.
//!
//! The service, and the site whose requests are timed, are processes of their own: this program with
//! another argument. Times move with whatever else runs, so that only ratios mean something.
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

/// This program in another process, until it is dropped.
struct Process {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(be: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(format!("--be={be}"))
            .args(support::in_full().then_some("--bench"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, said }
    }

    fn line(&mut self) -> String {
        self.said.next().unwrap().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// For calls to the service at this address.
fn credentials(service: &str) -> Credentials {
    let credentials = Credentials::new("APPLICATION", "MXG9EDN581U33XTPLPFT75V2").unwrap();
    credentials.with_server(&format!("http://{service}")).unwrap()
}
