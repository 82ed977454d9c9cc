//! What a session costs in memory: a million of them, parked and in use, each in a process of its
//! own, and what the process resides in before and after.
//!
//! Prints a table, and `target/bench/engine.json`: rows of a name and resident bytes a session.
#![allow(clippy::unwrap_used, reason = "a bench may fail")]

use std::process::Command;

use serde_json::json;
use tower_activeconnect::{Activeconnect, Credentials, MemoryTokenStore};

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
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    let text = serde_json::to_string_pretty(&rows).unwrap();
    std::fs::write(folder.join("engine.json"), text + "\n").unwrap();
}

/// Makes the sessions; answers how many bytes each adds to what the process resides in.
#[tokio::main(flavor = "current_thread")]
async fn hold(sessions: u64, parked: bool) -> u64 {
    let hour = std::time::Duration::from_secs(3600);
    let credentials = Credentials::new("APPLICATION", "MXG9EDN581U33XTPLPFT75V2").unwrap();
    let ac = Activeconnect::builder(credentials)
        .token_store(MemoryTokenStore::new())
        .poll_interval(hour)
        .max_staleness(2 * hour)
        .max_sessions(usize::MAX)
        .build()
        .unwrap();
    let before = resident();
    for i in 0..sessions {
        // Twelve bytes, as the names of users may have.
        let user = format!("user-{i:07}").into();
        let _ = ac.bench_session(&user, parked);
    }
    let after = resident();
    assert_eq!(ac.health().sessions as u64, sessions);
    (after - before) / sessions
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
