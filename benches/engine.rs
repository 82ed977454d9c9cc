//! What a session costs: the memory of a million sessions, parked and in use, measured as resident
//! bytes of a separate process each; and the time to take a due session from the schedule of that
//! many and to schedule its next poll.
//!
//! Prints tables and writes `target/bench/engine.json`: rows of a name and resident bytes a
//! session, or nanoseconds.
#![allow(clippy::unwrap_used, reason = "a bench may fail")]

use std::process::Command;

use serde_json::json;
use tower_activeconnect::{Activeconnect, Credentials, MemoryTokenStore, UserId};

/// Short runs skip the last ones, so that tests can run the bench.
const SESSIONS: [u64; 3] = [100_000, 300_000, 1_000_000];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let quick = !arguments.iter().any(|argument| argument == "--bench");
    if let Some(context) = arguments.iter().find_map(|argument| argument.strip_prefix("--hold=")) {
        let (which, sessions) = context.split_once(',').unwrap();
        println!("{}", measure_memory(sessions.parse().unwrap(), which == "parked"));
        return;
    }
    let sizes = if quick { &SESSIONS[..1] } else { &SESSIONS };
    let mut rows = Vec::new();
    println!("sessions                      resident bytes each");
    for (which, sessions) in ["parked", "active"]
        .into_iter()
        .flat_map(|which| sizes.iter().map(move |size| (which, size)))
    {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.arg(format!("--hold={which},{sessions}"));
        let actual = child.output().unwrap();
        assert!(actual.status.success(), "{}", String::from_utf8_lossy(&actual.stderr));
        let bytes: u64 = String::from_utf8(actual.stdout).unwrap().trim().parse().unwrap();
        println!("{:<30}{bytes:>19}", format!("{sessions} {which}"));
        rows.push(json!({ "name": which, "sessions": sessions, "resident_bytes": bytes }));
    }
    println!("sessions that wait            ns to plan one anew");
    for &sessions in sizes {
        let ns = measure_schedule(sessions);
        println!("{sessions:<30}{ns:>19.0}");
        rows.push(json!({ "name": "timer", "sessions": sessions, "median_ns": ns }));
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    let text = serde_json::to_string_pretty(&rows).unwrap();
    std::fs::write(folder.join("engine.json"), text + "\n").unwrap();
}

/// Creates the sessions; returns the resident bytes that each one adds.
#[tokio::main(flavor = "current_thread")]
async fn measure_memory(sessions: u64, parked: bool) -> u64 {
    let ac = engine();
    let before = resident_bytes();
    for i in 0..sessions {
        let _ = ac.bench_session(&user(i), parked);
    }
    let after = resident_bytes();
    assert_eq!(ac.health().sessions as u64, sessions);
    (after - before) / sessions
}

/// The nanoseconds to take a due session from the schedule and to schedule its next poll: the
/// median of several rounds, in each of which every session is scheduled once.
#[tokio::main(flavor = "current_thread")]
async fn measure_schedule(sessions: u64) -> f64 {
    let ac = engine();
    for i in 0..sessions {
        let _ = ac.bench_session(&user(i), false);
    }
    let mut turns: Vec<_> = (0..5).map(|_| ac.bench_timers(sessions as usize)).collect();
    turns.sort_unstable();
    turns[2].as_nanos() as f64 / sessions as f64
}

/// A user id of twelve bytes, a typical length.
fn user(i: u64) -> UserId {
    format!("user-{i:07}").into()
}

/// An engine that does not poll during the measurement.
fn engine() -> Activeconnect {
    let hour = std::time::Duration::from_secs(3600);
    let credentials = Credentials::new("APPLICATION", "MXG9EDN581U33XTPLPFT75V2").unwrap();
    Activeconnect::builder(credentials)
        .token_store(MemoryTokenStore::new())
        .poll_interval(hour)
        .max_staleness(2 * hour)
        .max_sessions(usize::MAX)
        .build()
        .unwrap()
}

/// The resident bytes of this process.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
