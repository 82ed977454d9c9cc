//! Runs the examples as programs.

use std::process::Stdio;

use activeconnect_emulator::Emulator;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::support::{self, Browser, example};

const SECRET: &str = "ACTIVE_CONNECT_APPLICATION_SECRET";

#[tokio::test]
async fn grpc_status_has_client_details() {
    // The example must not send credentials to a proxy.
    let proxy = "http://127.0.0.1:9";
    let output = Command::new(example("grpc"))
        .envs(["http_proxy", "HTTP_PROXY", "ALL_PROXY"].map(|name| (name, proxy)))
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(
        lines,
        [
            "denied: UNAUTHENTICATED",
            "reason: NO_SESSION",
            "waiting for approval on the phone",
            "allowed: SERVING",
            "watching: SERVING",
            "stream ended: UNAUTHENTICATED",
            "reason: ENDED",
        ]
    );
}

#[tokio::test]
async fn quickstart_logs_in() {
    let emulator = Emulator::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(example("quickstart"))
        .arg("127.0.0.1:0")
        .current_dir(folder.path())
        .env("ACTIVE_CONNECT_APPLICATION_ID", emulator.application_id())
        .env(SECRET, emulator.application_secret().expose())
        .env("ACTIVE_CONNECT_SERVER", emulator.url())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for (found, subject) in
        [("ok", "service"), ("ok", "clock"), ("ok", "token store"), ("unknown", "routes")]
    {
        let line = lines.next_line().await.unwrap().unwrap();
        assert!(line.starts_with(found) && line.contains(&format!("{subject}: ")), "{line}");
    }
    let link = lines.next_line().await.unwrap().unwrap();
    let link = link.strip_prefix("alice registers her phone at ").unwrap();
    let listening = lines.next_line().await.unwrap().unwrap();
    let url = listening.strip_prefix("listening on ").unwrap();

    // Opening the link on the phone and confirming sends this request.
    assert!(reqwest::Client::new().post(link).send().await.unwrap().status().is_success());
    let browser = Browser::new(url);
    browser.log_in(&emulator, "alice").await;
    assert_eq!(browser.api("/").await.text().await.unwrap(), "Hello alice");
}

#[tokio::test]
async fn quickstart_names_missing_setup() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(example("quickstart"))
        .current_dir(folder.path())
        .env_remove("ACTIVE_CONNECT_APPLICATION_ID")
        .output()
        .await
        .unwrap();
    assert!(!output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("ACTIVE_CONNECT_APPLICATION_ID is not set"), "{stderr}");
}

#[tokio::test]
async fn quickstart_names_the_taken_address() {
    let emulator = Emulator::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let output = Command::new(example("quickstart"))
        .arg(&address)
        .current_dir(folder.path())
        .env("ACTIVE_CONNECT_APPLICATION_ID", emulator.application_id())
        .env(SECRET, emulator.application_secret().expose())
        .env("ACTIVE_CONNECT_SERVER", emulator.url())
        .output()
        .await
        .unwrap();
    assert!(!output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    let expected = format!("cannot listen on {address}: Address already in use");
    assert!(stderr.starts_with(&expected), "{stderr}");
}

#[tokio::test]
async fn sign_prints_headers_of_the_sdks() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../vectors/signing.json")).unwrap();
    let program = example("sign");
    for vector in vectors["vectors"].as_array().unwrap() {
        let text = |key: &str| vector[key].as_str().unwrap();
        for (dialect, headers) in [
            ("activeconnect", Some("activeconnect_sdk_headers")),
            ("iampass", Some("iampass_sdk_headers")),
            ("activeconnect-documented", None),
            ("iampass-documented", None),
        ] {
            let output = Command::new(&program)
                .args(["--dialect", dialect, "--client-id", text("client_id")])
                .args(["--url", text("request_uri"), "--nonce", text("nonce")])
                .args(["--timestamp", &vector["timestamp"].to_string()])
                .env(SECRET, text("shared_secret"))
                .output()
                .await
                .unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            assert_eq!(printed.lines().count(), 3, "{}", String::from_utf8_lossy(&output.stderr));
            match headers {
                Some(headers) => {
                    for (name, value) in vector[headers].as_object().unwrap() {
                        let line = format!("{name}: {}", value.as_str().unwrap());
                        assert!(
                            printed.lines().any(|printed| printed == line),
                            "{line}\n{printed}"
                        );
                    }
                }
                None => {
                    let line = format!("Authentication: {}", text("documented_authentication"));
                    assert_eq!(printed.lines().next(), Some(line.as_str()));
                }
            }
        }
    }
}

#[tokio::test]
async fn sign_explains_bad_arguments() {
    let program = example("sign");
    let url = "https://iam-api.com/management/add_users/id";
    for (arguments, secret, expected) in [
        (
            vec!["--client-id", "id", "--url", url, "--dialect", "klingon"],
            Some("s"),
            "activeconnect, iampass",
        ),
        (vec!["--client-id", "a:b", "--url", url], Some("s"), "split a header"),
        (vec!["--client-id", "id", "--url", "nonsense"], Some("s"), "--url"),
        (vec!["--client-id", "id", "--url", url, "--nonce", "x"], Some("s"), "--nonce"),
        (vec!["--client-id", "id", "--url", url], None, "is not set"),
        (vec!["--client-id", "id"], Some("s"), "--url"),
    ] {
        let mut command = Command::new(&program);
        command.args(&arguments).env_remove(SECRET);
        if let Some(secret) = secret {
            command.env(SECRET, secret);
        }
        let output = command.output().await.unwrap();
        assert!(!output.status.success());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.contains(expected) && !stderr.contains("panicked"),
            "{arguments:?}: {stderr}"
        );
    }
}

/// Starts the client example, registers its phone, and waits for the push.
async fn spawn_client_with_push(emulator: &Emulator) -> (tokio::process::Child, Lines) {
    let mut child = Command::new(example("client"))
        .env("ACTIVE_CONNECT_APPLICATION_ID", emulator.application_id())
        .env(SECRET, emulator.application_secret().expose())
        .env("ACTIVE_CONNECT_SERVER", emulator.url())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let link = lines.next_line().await.unwrap().unwrap();
    let link = link.strip_prefix("open on the phone: ").unwrap();
    assert!(reqwest::Client::new().post(link).send().await.unwrap().status().is_success());
    while lines.next_line().await.unwrap().unwrap() != "sent a push to the phone" {}
    (child, lines)
}

type Lines = tokio::io::Lines<BufReader<tokio::process::ChildStdout>>;

#[tokio::test]
async fn client_logs_in_and_out() {
    let emulator = Emulator::start().await.unwrap();
    let (mut child, mut lines) = spawn_client_with_push(&emulator).await;
    support::approve(&emulator).await;
    let mut printed = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        printed.push(line.trim_start_matches('.').to_owned());
    }
    assert_eq!(printed[printed.len() - 2..], ["active", "logged out"]);
    assert!(child.wait().await.unwrap().success());
    assert_eq!(emulator.state().calls.logout, 1);
}

#[tokio::test]
async fn ctrl_c_cancels_at_the_service() {
    let emulator = Emulator::start().await.unwrap();
    let (mut child, mut lines) = spawn_client_with_push(&emulator).await;
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    let mut printed = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        printed.push(line);
    }
    assert_eq!(printed[printed.len() - 2..], ["interrupted", "logged out"]);
    assert!(child.wait().await.unwrap().success());
    assert_eq!(emulator.state().calls.logout, 1);
}
