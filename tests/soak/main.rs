//! Hundreds of sessions, remote ends, walks, logouts and faults at random, by somebody who knows
//! the truth: nobody is let in past the bound, and nobody turned away without cause.
//! docs/quality.md says how to run it and what it measured.
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
use stats::Figures;

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
    let story = Driver::start(seed).await.run(length).await;
    let figures = Figures::of(&story);
    println!("{figures}");
    let wrongs = checker::wrongs(&story);
    let some: Vec<_> = wrongs.iter().take(20).map(String::as_str).collect();
    assert!(some.is_empty(), "{} wrong answers, seed {seed}:\n{}", wrongs.len(), some.join("\n"));
    // Less than this and there is too little of each to count; no answer may be wrong all the same.
    if length >= Duration::from_secs(120) {
        figures.assert_enough_happened();
    }
}
