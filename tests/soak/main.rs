//! Soak test: hundreds of sessions with random remote ends, walkaways, logouts and faults. The checker
//! knows the true statuses: no request is allowed past the bound, and none is denied without cause.
//! docs/quality.md describes how to run the test, and has results.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

#[path = "../it/support/mod.rs"]
mod support;

mod checker;
mod driver;
mod event_log;
mod fault_schedule;
mod overload_probe;
mod rng;
mod stats;

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use driver::Driver;
use stats::Stats;

/// A number from the environment.
fn from_env<T: FromStr<Err: Display>>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_has_no_wrong_verdict() {
    let length = Duration::from_secs(from_env("SOAK_SECONDS").unwrap_or(20));
    let seed = from_env("SOAK_SEED").unwrap_or_else(event_log::now);
    println!("SOAK_SEED={seed} SOAK_SECONDS={}", length.as_secs());
    let log = Driver::start(seed).await.run(length).await;
    let stats = Stats::compute(&log);
    println!("{stats}");
    let violations = checker::find_violations(&log);
    let first: Vec<_> = violations.iter().take(20).map(String::as_str).collect();
    assert!(
        first.is_empty(),
        "{} wrong responses, seed {seed}:\n{}",
        violations.len(),
        first.join("\n")
    );
    // A shorter run has too few events of each kind for the counts.
    if length >= Duration::from_secs(120) {
        stats.assert_enough_happened();
    }
}
