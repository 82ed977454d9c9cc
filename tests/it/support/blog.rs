//! The example blog as a child process.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;

use activeconnect_emulator::{Emulator, SessionReport};
use reqwest::Response;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{Browser, example};

const VARIABLES: [&str; 3] = ["SERVER", "APPLICATION_ID", "APPLICATION_SECRET"];

/// The program's command in a working directory, without the variables that the program reads.
pub(crate) fn blog_command(folder: &TempDir) -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(BUILT.get_or_init(|| example("microblog")));
    for name in VARIABLES {
        command.env_remove(format!("ACTIVE_CONNECT_{name}")).env_remove(format!("IAMPASS_{name}"));
    }
    command.current_dir(folder.path()).kill_on_drop(true);
    command
}

/// The program's command with the test's emulator as its service.
pub(crate) fn command_for_emulator(emulator: &Emulator, folder: &TempDir) -> Command {
    let secret = emulator.application_secret().expose();
    let values = [emulator.url(), emulator.application_id(), secret];
    command_for_service("ACTIVE_CONNECT", values, folder)
}

fn command_for_service(product: &str, values: [&str; 3], folder: &TempDir) -> Command {
    let mut command = blog_command(folder);
    for (name, value) in VARIABLES.iter().zip(values) {
        command.env(format!("{product}_{name}"), value);
    }
    command
}

/// A running blog, killed when it is dropped.
pub(crate) struct Blog {
    pub(crate) url: String,
    pub(crate) folder: TempDir,
    pub(crate) child: Child,
    pub(crate) stdout: Lines<BufReader<ChildStdout>>,
}

impl Blog {
    /// Starts a blog whose service is the test's emulator.
    pub(crate) async fn start(emulator: &Emulator) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::spawn(command_for_emulator(emulator, &folder), folder).await
    }

    pub(crate) async fn start_with_service(product: &str, values: [&str; 3]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::spawn(command_for_service(product, values, &folder), folder).await
    }

    /// Spawns the command on a free port.
    pub(crate) async fn spawn(mut command: Command, folder: TempDir) -> Self {
        command.args(["--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = stdout.next_line().await.unwrap().expect("the first line names the address");
        let url = first.strip_prefix("listening on ").unwrap().to_owned();
        Self { url, folder, child, stdout }
    }

    /// Sends the process a signal: `TERM`, `STOP`, …
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().await.unwrap();
        assert!(sent.success());
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.url)
    }

    /// The name of the session's cookie.
    pub(crate) fn session_cookie(&self) -> String {
        let (_, port) = self.url.rsplit_once(':').unwrap();
        format!("microblog-{port}")
    }

    /// Registers, opens the link on the phone, and returns the QR page.
    pub(crate) async fn register(&self, name: &str) -> String {
        let response = register(&self.browser(), name).await;
        assert_eq!(response.status(), 200);
        let page = response.text().await.unwrap();
        let phone = reqwest::Client::builder().no_proxy().build().unwrap();
        let opened = phone.post(registration_link(&page)).send().await.unwrap();
        assert!(opened.status().is_success());
        page
    }

    /// Registers and logs in; returns the emulator's session, too.
    pub(crate) async fn log_in(&self, emulator: &Emulator, name: &str) -> (Browser, SessionReport) {
        self.register(name).await;
        let browser = self.browser();
        let session = browser.log_in(emulator, name).await;
        (browser, session)
    }
}

pub(crate) async fn register(browser: &Browser, name: &str) -> Response {
    browser.form("/register", &[("username", name), ("email", "someone@example.org")]).await
}

/// The registration link on a QR page.
pub(crate) fn registration_link(page: &str) -> &str {
    let (_, rest) =
        page.split_once("<p class=\"link\"><a href=\"").expect("the page has a registration link");
    rest.split('"').next().unwrap()
}
