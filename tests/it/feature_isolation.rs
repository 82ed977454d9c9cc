//! T137: the emulator is only in programs that request it.

use std::process::Command;

use serde_json::Value;
use tracing::Level;

use crate::support::log_capture::{LogCapture, capture};

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
    // Test code is in no build of other packages.
    let dependencies = package["dependencies"].as_array().unwrap();
    let normal = dependencies.iter().filter(|dependency| dependency["kind"] != "dev");
    let normal: Vec<&str> = normal.map(|dependency| dependency["name"].as_str().unwrap()).collect();
    assert!(normal.contains(&"tower-layer"), "{normal:?}");
    for other in ["activeconnect-emulator", "tower-activeconnect-sqlx", "clap", "sqlx"] {
        assert!(!normal.contains(&other), "{other}");
    }
}

#[tokio::test]
async fn emulator_start_logs_a_warning() {
    use std::sync::Mutex;
    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let record = |line: &str| LINES.lock().unwrap().push(line.to_owned());
    let _capture = capture(LogCapture(Level::WARN, record));
    let _emulator = activeconnect_emulator::Emulator::start().await.unwrap();
    let lines = LINES.lock().unwrap();
    assert!(lines.iter().any(|line| line.contains("never use it in production")), "{lines:?}");
}
