//! Headless Chromium, driven by its DevTools protocol.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;

const CHROMIUM: &str = "/usr/bin/chromium";
/// The time limit of each call and wait.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A browser process, killed when this is dropped.
pub(crate) struct Chromium {
    devtools: DevTools,
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Chromium {
    /// Starts the browser, which resolves every host name to the loopback. Returns `None` and prints
    /// a note if Chromium is not installed.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// Like [`start`](Self::start), with more arguments.
    pub(crate) async fn start_with(arguments: &[&str]) -> Option<Self> {
        if !std::path::Path::new(CHROMIUM).exists() {
            println!("{CHROMIUM} is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let process = Command::new(CHROMIUM)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
            .args(["--disable-component-update", "--no-proxy-server", "--remote-debugging-port=0"])
            .arg("--host-resolver-rules=MAP * 127.0.0.1")
            .arg(format!("--user-data-dir={}", folder.path().display()))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let port_file = folder.path().join("DevToolsActivePort");
        let address = poll_until("Chromium writes its DevTools port", async || {
            let text = std::fs::read_to_string(&port_file).ok()?;
            let (port, path) = text.trim().split_once('\n')?;
            Some(format!("ws://127.0.0.1:{port}{path}"))
        })
        .await;
        let devtools = DevTools::connect(&address).await;
        Some(Self { devtools, _process: process, _folder: folder })
    }

    /// Starts the browser with this page open.
    pub(crate) async fn open(url: &str) -> Option<Self> {
        let chromium = Self::start().await?;
        chromium.devtools.call("Target.createTarget", json!({ "url": url }), None).await.unwrap();
        Some(chromium)
    }

    /// A new profile, which shares no cookies with the others.
    pub(crate) async fn profile(&self) -> Profile {
        let created =
            self.devtools.call("Target.createBrowserContext", json!({}), None).await.unwrap();
        let id = created["browserContextId"].as_str().unwrap().to_owned();
        Profile { devtools: self.devtools.clone(), id }
    }
}

/// A browser profile: one user's cookies and tabs.
pub(crate) struct Profile {
    devtools: DevTools,
    id: String,
}

impl Profile {
    pub(crate) async fn tab(&self) -> Tab {
        let params = json!({ "url": "about:blank", "browserContextId": self.id });
        let created = self.devtools.call("Target.createTarget", params, None).await.unwrap();
        let target = json!({ "targetId": created["targetId"], "flatten": true });
        let attached = self.devtools.call("Target.attachToTarget", target, None).await.unwrap();
        let session = attached["sessionId"].as_str().unwrap().to_owned();
        Tab { devtools: self.devtools.clone(), session }
    }

    /// Waits for a tab that a page opened and whose URL contains `address`.
    pub(crate) async fn wait_for_tab(&self, address: &str) -> Tab {
        let target = poll_until(&format!("a tab opens {address}"), async || {
            let response = self.devtools.call("Target.getTargets", json!({}), None).await.unwrap();
            let targets = response["targetInfos"].as_array().unwrap().iter();
            let mut tabs = targets.filter(|target| {
                target["browserContextId"] == *self.id
                    && target["type"] == "page"
                    && target["url"].as_str().unwrap().contains(address)
            });
            tabs.next().map(|tab| tab["targetId"].clone())
        })
        .await;
        let target = json!({ "targetId": target, "flatten": true });
        let attached = self.devtools.call("Target.attachToTarget", target, None).await.unwrap();
        let session = attached["sessionId"].as_str().unwrap().to_owned();
        Tab { devtools: self.devtools.clone(), session }
    }

    /// Sets a `__Host-` cookie, as an attacker with access to the device could.
    pub(crate) async fn set_host_cookie(&self, site: &str, name: &str, value: &str) {
        let cookie =
            json!({ "url": site, "name": name, "value": value, "path": "/", "secure": true });
        let params = json!({ "browserContextId": self.id, "cookies": [cookie] });
        self.devtools.call("Storage.setCookies", params, None).await.unwrap();
    }

    /// Allows this site's pages to read and write the clipboard.
    pub(crate) async fn allow_clipboard(&self, site: &str) {
        let params = json!({
            "browserContextId": self.id, "origin": site,
            "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"],
        });
        self.devtools.call("Browser.grantPermissions", params, None).await.unwrap();
    }

    /// All cookies of the profile, in the form of the DevTools protocol.
    pub(crate) async fn cookies(&self) -> Vec<Value> {
        let params = json!({ "browserContextId": self.id });
        let response = self.devtools.call("Storage.getCookies", params, None).await.unwrap();
        response["cookies"].as_array().unwrap().clone()
    }

    /// The value of the cookie of this name; panics if there are several.
    pub(crate) async fn cookie(&self, name: &str) -> Option<String> {
        let cookies = self.cookies().await.into_iter();
        let mut named = cookies.filter(|cookie| cookie["name"] == name);
        let value = named.next().map(|cookie| cookie["value"].as_str().unwrap().to_owned());
        assert!(named.next().is_none(), "two cookies are named {name}");
        value
    }
}

/// A browser tab.
pub(crate) struct Tab {
    devtools: DevTools,
    session: String,
}

impl Tab {
    /// Disables the scripts of pages from now on; [`eval`](Self::eval) still works.
    pub(crate) async fn disable_scripts(&self) {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await.unwrap();
    }

    /// Adds a script that runs before the scripts of each new page.
    pub(crate) async fn add_init_script(&self, script: &str) {
        self.call("Page.enable", json!({})).await.unwrap();
        let params = json!({ "source": script });
        self.call("Page.addScriptToEvaluateOnNewDocument", params).await.unwrap();
    }

    /// Undoes [`disable_scripts`](Self::disable_scripts) for pages that load later.
    pub(crate) async fn enable_scripts(&self) {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": false })).await.unwrap();
    }

    /// Sets the preferred color scheme, `light` or `dark`.
    pub(crate) async fn prefer_color_scheme(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features })).await.unwrap();
    }

    /// Emulates a phone whose screen has this width in CSS pixels.
    pub(crate) async fn set_width(&self, width: u32) {
        let phone =
            json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": true });
        self.call("Emulation.setDeviceMetricsOverride", phone).await.unwrap();
    }

    /// A PNG screenshot.
    pub(crate) async fn screenshot(&self) -> Vec<u8> {
        let screenshot =
            self.call("Page.captureScreenshot", json!({ "format": "png" })).await.unwrap();
        STANDARD.decode(screenshot["data"].as_str().unwrap()).unwrap()
    }

    /// Brings the tab to the front, which hides the other tabs of its window.
    pub(crate) async fn bring_to_front(&self) {
        self.call("Page.bringToFront", json!({})).await.unwrap();
    }

    /// Presses a key: `Tab`, `Enter`, …
    pub(crate) async fn press(&self, key: &str) {
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let code = match key {
                "Enter" => 13,
                "Tab" => 9,
                "Escape" => 27,
                _ => panic!("add the code of the key {key}"),
            };
            let event = json!({
                "type": kind, "key": key, "code": key, "text": text,
                "windowsVirtualKeyCode": code,
            });
            self.call("Input.dispatchKeyEvent", event).await.unwrap();
        }
    }

    /// Loads a page, as a URL typed by the user does.
    pub(crate) async fn navigate(&self, url: &str) {
        self.call("Page.navigate", json!({ "url": url })).await.unwrap();
        self.wait_for_load().await;
    }

    /// Evaluates an expression and awaits its promise, if any; panics if it throws.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        self.try_eval(expression).await.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    async fn try_eval(&self, expression: &str) -> Result<Value, String> {
        let params = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
            "userGesture": true,
        });
        let result = self.call("Runtime.evaluate", params).await?;
        match result.get("exceptionDetails") {
            Some(thrown) => Err(thrown.to_string()),
            None => Ok(result["result"]["value"].clone()),
        }
    }

    /// Waits until an expression is true, also across navigations.
    pub(crate) async fn wait_for(&self, condition: &str) {
        let what = format!("{condition} in {:?}", self.try_eval("location.href").await);
        poll_until(&what, async || {
            (self.try_eval(condition).await == Ok(Value::Bool(true))).then_some(())
        })
        .await;
    }

    pub(crate) async fn wait_for_load(&self) {
        self.wait_for("document.readyState === 'complete'").await;
    }

    /// The URL of the current page.
    pub(crate) async fn url(&self) -> String {
        self.eval("location.href").await.as_str().unwrap().to_owned()
    }

    /// The visible text of the current page.
    pub(crate) async fn text(&self) -> String {
        self.eval("document.body?.innerText ?? ''").await.as_str().unwrap().to_owned()
    }

    /// The URLs of the page's frames.
    pub(crate) async fn frames(&self) -> Vec<String> {
        let tree = self.call("Page.getFrameTree", json!({})).await.unwrap();
        let children = tree["frameTree"]["childFrames"].as_array().cloned().unwrap_or_default();
        let url = |child: &Value| child["frame"]["url"].as_str().unwrap().to_owned();
        children.iter().map(url).collect()
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value, String> {
        self.devtools.call(method, params, Some(&self.session)).await
    }
}

type PendingCalls = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// The connection to the browser: calls and their responses. Events are ignored.
#[derive(Clone)]
struct DevTools {
    calls: mpsc::UnboundedSender<Message>,
    pending: PendingCalls,
    last: Arc<AtomicU64>,
}

impl DevTools {
    async fn connect(address: &str) -> Self {
        let (socket, _) = tokio_tungstenite::connect_async(address).await.unwrap();
        let (mut sink, mut stream) = socket.split();
        let (calls, mut queue) = mpsc::unbounded_channel();
        let pending = PendingCalls::default();
        tokio::spawn(async move {
            while let Some(call) = queue.recv().await {
                sink.send(call).await.unwrap();
            }
        });
        let responses = pending.clone();
        tokio::spawn(async move {
            while let Some(Ok(Message::Text(text))) = stream.next().await {
                let response: Value = serde_json::from_str(&text).unwrap();
                let sender =
                    response["id"].as_u64().and_then(|id| responses.lock().unwrap().remove(&id));
                if let Some(sender) = sender {
                    let _ = sender.send(response);
                }
            }
        });
        Self { calls, pending, last: Arc::default() }
    }

    async fn call(&self, method: &str, params: Value, tab: Option<&str>) -> Result<Value, String> {
        let id = self.last.fetch_add(1, Ordering::Relaxed);
        let mut call = json!({ "id": id, "method": method, "params": params });
        if let Some(tab) = tab {
            call["sessionId"] = tab.into();
        }
        let (response, receiver) = oneshot::channel();
        self.pending.lock().unwrap().insert(id, response);
        self.calls.send(Message::text(call.to_string())).unwrap();
        let response =
            tokio::time::timeout(TEST_TIMEOUT, receiver).await.expect("Chromium responds in time");
        let mut response = response.expect("Chromium still runs");
        match response.get("error") {
            Some(error) => Err(error.to_string()),
            None => Ok(response["result"].take()),
        }
    }
}

async fn poll_until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, polling)
        .await
        .unwrap_or_else(|_| panic!("timed out: {what}"))
}
