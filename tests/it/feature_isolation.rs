//! T137: what plays the service and the phone is in no program that did not ask for it.

use std::collections::BTreeSet;
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
    metadata["packages"][0].clone()
}

/// A feature and all that it brings along.
fn with(package: &Value, feature: &str, found: &mut BTreeSet<String>) {
    if found.insert(feature.to_owned()) {
        for other in package["features"][feature].as_array().into_iter().flatten() {
            with(package, other.as_str().unwrap(), found);
        }
    }
}

#[test]
fn the_emulator_is_in_no_feature_but_its_own_and_the_demos() {
    let package = package();
    let features = package["features"].as_object().unwrap();
    let bringing: Vec<&str> = features
        .keys()
        .filter(|feature| {
            let mut found = BTreeSet::new();
            with(&package, feature, &mut found);
            found.contains("emulator")
        })
        .map(String::as_str)
        .collect();
    assert_eq!(bringing, ["demo", "emulator"]);
    // Nor is the program built without it.
    for target in package["targets"].as_array().unwrap() {
        if target["kind"][0] == "bin" {
            assert_eq!(target["required-features"], serde_json::json!(["emulator"]), "{target}");
        }
    }
    // And of what the crate depends on when others use it, the crate itself is no part.
    for dependency in package["dependencies"].as_array().unwrap() {
        assert!(dependency["name"] != package["name"] || dependency["kind"] == "dev");
    }
}

#[tokio::test]
async fn the_emulator_says_loudly_that_it_runs() {
    use std::sync::Mutex;
    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let record = |line: &str| LINES.lock().unwrap().push(line.to_owned());
    let _hearing = hear(Trace(Level::WARN, record));
    let _emulator = activeconnect_emulator::Emulator::start().await.unwrap();
    let lines = LINES.lock().unwrap();
    assert!(lines.iter().any(|line| line.contains("never in production")), "{lines:?}");
}
