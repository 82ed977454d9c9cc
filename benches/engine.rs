//! What a session costs in memory: a million of them, parked and in use, each in a process of its
//! own, and what the process resides in before and after; and what it costs to have that many wait
//! for their next poll: to take one that is due from the schedule, and to plan its next.
//!
//! Prints tables, and `target/bench/engine.json`: rows of a name and resident bytes a session, or
//! nanoseconds.
#![allow(clippy::unwrap_used, reason = "a bench may fail")]

use std::process::Command;

use serde_json::json;
use tower_activeconnect::{Activeconnect, Credentials, MemoryTokenStore, UserId};

/// The last ones not in short runs, so that tests can try the bench.
const SESSIONS: [u64; 3] = [100_000, 300_000, 1_000_000];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let quick = !arguments.iter().any(|argument| argument == "--bench");
    if let Some(what) = arguments.iter().find_map(|argument| argument.strip_prefix("--hold=")) {
        let (which, sessions) = what.split_once(',').unwrap();
        println!("{}", hold(sessions.parse().unwrap(), which == "parked"));
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
        let said = child.output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let bytes: u64 = String::from_utf8(said.stdout).unwrap().trim().parse().unwrap();
        println!("{:<30}{bytes:>19}", format!("{sessions} {which}"));
        rows.push(json!({ "name": which, "sessions": sessions, "resident_bytes": bytes }));
    }
    println!("sessions that wait            ns to plan one anew");
    for &sessions in sizes {
        let ns = plan(sessions);
        println!("{sessions:<30}{ns:>19.0}");
        rows.push(json!({ "name": "timer", "sessions": sessions, "median_ns": ns }));
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    let text = serde_json::to_string_pretty(&rows).unwrap();
    std::fs::write(folder.join("engine.json"), text + "\n").unwrap();
}

/// Makes the sessions; answers how many bytes each adds to what the process resides in.
#[tokio::main(flavor = "current_thread")]
async fn hold(sessions: u64, parked: bool) -> u64 {
    let ac = engine();
    let before = resident();
    for i in 0..sessions {
        let _ = ac.bench_session(&user(i), parked);
    }
    let after = resident();
    assert_eq!(ac.health().sessions as u64, sessions);
    (after - before) / sessions
}

/// Nanoseconds to take a session that is due from the schedule and to plan its next poll: the
/// median of a few turns in which each is planned once.
#[tokio::main(flavor = "current_thread")]
async fn plan(sessions: u64) -> f64 {
    let ac = engine();
    for i in 0..sessions {
        let _ = ac.bench_session(&user(i), false);
    }
    let mut turns: Vec<_> = (0..5).map(|_| ac.bench_timers(sessions as usize)).collect();
    turns.sort_unstable();
    turns[2].as_nanos() as f64 / sessions as f64
}

/// Twelve bytes, as the names of users may have.
fn user(i: u64) -> UserId {
    format!("user-{i:07}").into()
}

/// One that polls nobody meanwhile.
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

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
