//! The emulator's program: its first line, and its messages when it cannot start.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

use crate::support::emulator_program::emulator_program;

const APPLICATION: [&str; 4] = ["--application-id", "a4c1", "--application-secret", "MXG9"];

fn program() -> Command {
    Command::new(emulator_program())
}

fn start_error(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } =
        program().args(APPLICATION).args(arguments).output().expect("it runs");
    assert!(!status.success(), "{arguments:?}");
    assert!(stdout.is_empty(), "{arguments:?}");
    String::from_utf8(stderr).expect("a text")
}

/// A running program, killed on drop.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn start() -> Self {
        let mut command = program();
        command.args(APPLICATION).args(["--listen", "127.0.0.1:0", "--dialect", "any"]);
        command.args(["--clock-tolerance", "0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a first line");
        let address = line.strip_prefix("listening on http://").and_then(|l| l.strip_suffix('\n'));
        Self { address: address.expect("where it listens").to_owned(), child }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn emulator_prints_its_address() {
    let running = Running::start();
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let state = http.get(format!("http://{}/emulator/state", running.address)).send().await;
    assert_eq!(state.expect("the request gets a response").status(), 200);
}

#[test]
fn failed_start_explains_the_remedy() {
    let running = Running::start();
    assert!(start_error(&["--listen", &running.address]).contains("choose another port"));
    assert!(start_error(&["--listen", "0.0.0.0:0"]).contains("use a loopback address"));
    assert!(start_error(&["--listen", "nowhere"]).contains("use one such as 127.0.0.1:8099"));
    assert!(start_error(&["--dialect", "klingon"]).contains("activeconnect, iampass, documented"));
    assert!(start_error(&["--clock-tolerance", "x"]).contains("--clock-tolerance"));
    assert!(start_error(&["--pending-timeout", "0"]).contains("--pending-timeout"));
}
