//! T137: what plays the service and the phone is in no program that did not ask for it.

use std::process::Command;

use serde_json::Value;
use tracing::Level;

use crate::support::trace::{Trace, hear};

fn package() -> Value {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--locked", "--format-version=1", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().find(|package| package["name"] == env!("CARGO_PKG_NAME")).unwrap().clone()
}

#[test]
fn library_contains_no_emulator() {
    let package = package();
    for target in package["targets"].as_array().unwrap() {
        assert_ne!(target["kind"][0], "bin", "{target}");
    }
    // What only tests and examples use is no part of what others compile.
    let dependencies = package["dependencies"].as_array().unwrap();
    let normal = dependencies.iter().filter(|dependency| dependency["kind"] != "dev");
    let normal: Vec<&str> = normal.map(|dependency| dependency["name"].as_str().unwrap()).collect();
    assert!(normal.contains(&"tower-layer"), "{normal:?}");
    for other in ["activeconnect-emulator", "tower-activeconnect-sqlx", "clap", "sqlx"] {
        assert!(!normal.contains(&other), "{other}");
    }
}

#[tokio::test]
async fn emulator_says_loudly_that_it_runs() {
    use std::sync::Mutex;
    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let record = |line: &str| LINES.lock().unwrap().push(line.to_owned());
    let _hearing = hear(Trace(Level::WARN, record));
    let _emulator = activeconnect_emulator::Emulator::start().await.unwrap();
    let lines = LINES.lock().unwrap();
    assert!(lines.iter().any(|line| line.contains("never in production")), "{lines:?}");
}
