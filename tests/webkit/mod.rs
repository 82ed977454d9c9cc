//! WebKitGTK on a screen of its own (Xvfb), driven by WebDriver (W3C).

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::support::until;

/// Debian's package of WebKitGTK has this browser, in a folder named after the machine.
const BROWSERS: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
    "/usr/lib/aarch64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
];
const DRIVER: &str = "/usr/bin/WebKitWebDriver";
const SCREEN: &str = "/usr/bin/Xvfb";
/// How long the screen may take to begin.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One window; browser, driver and screen are killed when it is dropped.
pub(crate) struct WebKit {
    http: Client,
    session: String,
    _driver: Child,
    _screen: Child,
    /// The browser's home, so that it finds and leaves nothing.
    _folder: tempfile::TempDir,
}

impl WebKit {
    /// Starts it; `None`, and a word, where it is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let exists = |path: &&str| std::path::Path::new(path).exists();
        let browser = BROWSERS.into_iter().find(exists);
        let (Some(browser), true, true) = (browser, exists(&DRIVER), exists(&SCREEN)) else {
            println!("there is no WebKitGTK with WebDriver, or no {SCREEN}");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let mut screen = Command::new(SCREEN)
            .args(["-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut display = BufReader::new(screen.stdout.take().unwrap()).lines();
        let display = tokio::time::timeout(TIMEOUT, display.next_line()).await.unwrap();
        let display = display.unwrap().expect("Xvfb says which display it is");

        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let driver = Command::new(DRIVER)
            .arg(format!("--port={port}"))
            .env("DISPLAY", format!(":{display}"))
            .env("HOME", folder.path())
            .env("XDG_DATA_HOME", folder.path())
            .env("XDG_CACHE_HOME", folder.path())
            // A machine without a graphics card draws by itself.
            .env("WEBKIT_DISABLE_COMPOSITING_MODE", "1")
            .env("WEBKIT_DISABLE_DMABUF_RENDERER", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let http = Client::builder().no_proxy().build().unwrap();
        let base = format!("http://127.0.0.1:{port}/session");
        let options = json!({ "binary": browser, "args": ["--automation"] });
        let wanted = json!({
            "capabilities": { "alwaysMatch": { "webkitgtk:browserOptions": options } }
        });
        let made = until("WebDriver listens", async || {
            let answer = http.post(&base).json(&wanted).send().await.ok()?;
            Some(answer.json::<Value>().await.unwrap())
        })
        .await;
        let id = made["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{made}"));
        let session = format!("{base}/{id}");
        Some(Self { http, session, _driver: driver, _screen: screen, _folder: folder })
    }

    /// Loads a page; returns when it is there.
    pub(crate) async fn go(&self, url: &str) {
        let answer = self.http.post(format!("{}/url", self.session)).json(&json!({ "url": url }));
        assert!(answer.send().await.unwrap().status().is_success(), "{url}");
    }

    /// The value of an expression in the page; null while one page gives way to the next.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        let call = json!({ "script": format!("return ({expression})"), "args": [] });
        let request = self.http.post(format!("{}/execute/sync", self.session)).json(&call);
        let mut answer: Value = request.send().await.unwrap().json().await.unwrap();
        match answer["value"].get("error") {
            Some(_) => Value::Null,
            None => answer["value"].take(),
        }
    }

    /// Waits until an expression holds.
    pub(crate) async fn until(&self, expression: &str) {
        until(expression, async || (self.eval(expression).await == true).then_some(())).await;
    }

    /// What the page says.
    pub(crate) async fn text(&self) -> String {
        let text = self.eval("document.body.innerText").await;
        text.as_str().unwrap_or_default().to_owned()
    }
}
