//! WebKitGTK and Firefox, driven by WebDriver (W3C).

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::poll_until;

/// The browser of Debian's WebKitGTK package, in a folder named after the architecture.
const WEBKIT: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
    "/usr/lib/aarch64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
];
const WEBKIT_DRIVER: &str = "/usr/bin/WebKitWebDriver";
const SCREEN: &str = "/usr/bin/Xvfb";
const FIREFOX: &str = "/usr/bin/firefox-esr";
/// Debian does not package it; `scripts/test` installs it with cargo.
const FIREFOX_DRIVER: &str = "target/tools/bin/geckodriver";
/// The time limit of the screen's start.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One window; the browser and the driver are killed when it is dropped.
pub(crate) struct WebDriver {
    http: Client,
    session: String,
    /// The driver leads a process group that the browser belongs to.
    driver: Child,
    _screen: Option<Child>,
    /// The browser's home directory, empty at the start.
    _folder: TempDir,
}

impl WebDriver {
    /// Starts WebKitGTK on its own screen. Returns `None` and prints a note if it is not installed.
    pub(crate) async fn webkit() -> Option<Self> {
        let browser = WEBKIT.into_iter().find(|path| Path::new(path).exists());
        let (Some(browser), true, true) =
            (browser, Path::new(WEBKIT_DRIVER).exists(), Path::new(SCREEN).exists())
        else {
            println!("WebKitGTK with WebDriver or {SCREEN} is not installed");
            return None;
        };
        let mut screen = Command::new(SCREEN)
            .args(["-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut display = BufReader::new(screen.stdout.take().unwrap()).lines();
        let display = tokio::time::timeout(TIMEOUT, display.next_line()).await.unwrap();
        let display = display.unwrap().expect("Xvfb prints its display");

        let port = free_port();
        let mut driver = Command::new(WEBKIT_DRIVER);
        driver
            .arg(format!("--port={port}"))
            .env("DISPLAY", format!(":{display}"))
            // Rendering in software, for machines without a graphics card.
            .env("WEBKIT_DISABLE_COMPOSITING_MODE", "1")
            .env("WEBKIT_DISABLE_DMABUF_RENDERER", "1");
        let options = json!({ "binary": browser, "args": ["--automation"] });
        let capabilities = json!({ "webkitgtk:browserOptions": options });
        Some(Self::start(driver, port, capabilities, Some(screen)).await)
    }

    /// Starts headless Firefox. Returns `None` and prints a note if it is not installed.
    pub(crate) async fn firefox() -> Option<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(FIREFOX_DRIVER);
        if !Path::new(FIREFOX).exists() || !program.exists() {
            println!("{FIREFOX} or {} is not installed", program.display());
            return None;
        }
        let port = free_port();
        let mut driver = Command::new(program);
        driver.arg(format!("--port={port}"));
        // Firefox sends requests to the site only.
        let preferences = json!({
            "app.normandy.enabled": false,
            "datareporting.policy.dataSubmissionEnabled": false,
            "network.captive-portal-service.enabled": false,
            "network.connectivity-service.enabled": false,
            "services.settings.server": "data:,",
            "toolkit.telemetry.server": "data:,",
        });
        let options = json!({ "binary": FIREFOX, "args": ["-headless"], "prefs": preferences });
        let capabilities = json!({ "moz:firefoxOptions": options });
        Some(Self::start(driver, port, capabilities, None).await)
    }

    async fn start(
        mut driver: Command,
        port: u16,
        capabilities: Value,
        screen: Option<Child>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        let driver = driver
            .env("HOME", home)
            .env("TMPDIR", home)
            .env("XDG_DATA_HOME", home)
            .env("XDG_CACHE_HOME", home)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let http = Client::builder().no_proxy().build().unwrap();
        let base = format!("http://127.0.0.1:{port}/session");
        let params = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let created = poll_until("WebDriver listens", async || {
            let response = http.post(&base).json(&params).send().await.ok()?;
            Some(response.json::<Value>().await.unwrap())
        })
        .await;
        let id = created["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{created}"));
        let session = format!("{base}/{id}");
        Self { http, session, driver, _screen: screen, _folder: folder }
    }

    /// Loads a page; returns when it is loaded.
    pub(crate) async fn navigate(&self, url: &str) {
        let request = self.http.post(format!("{}/url", self.session)).json(&json!({ "url": url }));
        assert!(request.send().await.unwrap().status().is_success(), "{url}");
    }

    /// Evaluates an expression in the page; null during a navigation.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        let call = json!({ "script": format!("return ({expression})"), "args": [] });
        let request = self.http.post(format!("{}/execute/sync", self.session)).json(&call);
        let mut response: Value = request.send().await.unwrap().json().await.unwrap();
        match response["value"].get("error") {
            Some(_) => Value::Null,
            None => response["value"].take(),
        }
    }

    /// Waits until an expression is true.
    pub(crate) async fn wait_for(&self, expression: &str) {
        poll_until(expression, async || (self.eval(expression).await == true).then_some(())).await;
    }

    /// The visible text of the page.
    pub(crate) async fn text(&self) -> String {
        let text = self.eval("document.body.innerText").await;
        text.as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for WebDriver {
    fn drop(&mut self) {
        // Killing only the driver would leave the browser running.
        let Some(leader) = self.driver.id() else { return };
        let group = format!("-{leader}");
        std::process::Command::new("kill").args(["-KILL", "--", &group]).status().ok();
    }
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}
