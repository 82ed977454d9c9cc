//! A real browser: headless Chromium, driven by its DevTools protocol.
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
/// How long anything may take.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The browser; it is killed when this is dropped.
pub(crate) struct Chromium {
    tools: Tools,
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Chromium {
    /// Starts it; `None`, and a word, where there is none. Every host name is this machine.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// Starts it with more arguments.
    pub(crate) async fn start_with(arguments: &[&str]) -> Option<Self> {
        if !std::path::Path::new(CHROMIUM).exists() {
            println!("there is no {CHROMIUM}");
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
        let told = folder.path().join("DevToolsActivePort");
        let address = until("Chromium says where it is", async || {
            let text = std::fs::read_to_string(&told).ok()?;
            let (port, path) = text.trim().split_once('\n')?;
            Some(format!("ws://127.0.0.1:{port}{path}"))
        })
        .await;
        let tools = Tools::connect(&address).await;
        Some(Self { tools, _process: process, _folder: folder })
    }

    /// Starts it with a page that does the rest by itself.
    pub(crate) async fn open(url: &str) -> Option<Self> {
        let chromium = Self::start().await?;
        chromium.tools.call("Target.createTarget", json!({ "url": url }), None).await.unwrap();
        Some(chromium)
    }

    /// Another person's browser: it shares no cookies with the others.
    pub(crate) async fn profile(&self) -> Profile {
        let made = self.tools.call("Target.createBrowserContext", json!({}), None).await.unwrap();
        let id = made["browserContextId"].as_str().unwrap().to_owned();
        Profile { tools: self.tools.clone(), id }
    }
}

/// One person's browser.
pub(crate) struct Profile {
    tools: Tools,
    id: String,
}

impl Profile {
    pub(crate) async fn tab(&self) -> Tab {
        let wanted = json!({ "url": "about:blank", "browserContextId": self.id });
        let made = self.tools.call("Target.createTarget", wanted, None).await.unwrap();
        let target = json!({ "targetId": made["targetId"], "flatten": true });
        let attached = self.tools.call("Target.attachToTarget", target, None).await.unwrap();
        let session = attached["sessionId"].as_str().unwrap().to_owned();
        Tab { tools: self.tools.clone(), session }
    }

    /// The tab that a page has opened, once its address contains this.
    pub(crate) async fn opened(&self, address: &str) -> Tab {
        let target = until(&format!("a tab at {address}"), async || {
            let found = self.tools.call("Target.getTargets", json!({}), None).await.unwrap();
            let targets = found["targetInfos"].as_array().unwrap().iter();
            let mut tabs = targets.filter(|target| {
                target["browserContextId"] == *self.id
                    && target["type"] == "page"
                    && target["url"].as_str().unwrap().contains(address)
            });
            tabs.next().map(|tab| tab["targetId"].clone())
        })
        .await;
        let target = json!({ "targetId": target, "flatten": true });
        let attached = self.tools.call("Target.attachToTarget", target, None).await.unwrap();
        let session = attached["sessionId"].as_str().unwrap().to_owned();
        Tab { tools: self.tools.clone(), session }
    }

    /// Puts a `__Host-` cookie in, as somebody could who has the browser in their hands.
    pub(crate) async fn plant(&self, site: &str, name: &str, value: &str) {
        let cookie =
            json!({ "url": site, "name": name, "value": value, "path": "/", "secure": true });
        let wanted = json!({ "browserContextId": self.id, "cookies": [cookie] });
        self.tools.call("Storage.setCookies", wanted, None).await.unwrap();
    }

    /// Pages of this site may read and write the clipboard.
    pub(crate) async fn allow_clipboard(&self, site: &str) {
        let wanted = json!({
            "browserContextId": self.id, "origin": site,
            "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"],
        });
        self.tools.call("Browser.grantPermissions", wanted, None).await.unwrap();
    }

    /// Every cookie it keeps, as Chromium tells of them.
    pub(crate) async fn cookies(&self) -> Vec<Value> {
        let wanted = json!({ "browserContextId": self.id });
        let found = self.tools.call("Storage.getCookies", wanted, None).await.unwrap();
        found["cookies"].as_array().unwrap().clone()
    }

    /// The value of the only cookie of this name.
    pub(crate) async fn cookie(&self, name: &str) -> Option<String> {
        let cookies = self.cookies().await.into_iter();
        let mut named = cookies.filter(|cookie| cookie["name"] == name);
        let value = named.next().map(|cookie| cookie["value"].as_str().unwrap().to_owned());
        assert!(named.next().is_none(), "two cookies are named {name}");
        value
    }
}

/// A tab.
pub(crate) struct Tab {
    tools: Tools,
    session: String,
}

impl Tab {
    /// No page runs scripts in it from now on; [`eval`](Self::eval) does.
    pub(crate) async fn disable_scripts(&self) {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await.unwrap();
    }

    /// Runs this before the scripts of every page from now on.
    pub(crate) async fn run_first(&self, script: &str) {
        self.call("Page.enable", json!({})).await.unwrap();
        let wanted = json!({ "source": script });
        self.call("Page.addScriptToEvaluateOnNewDocument", wanted).await.unwrap();
    }

    /// Ends [`disable_scripts`](Self::disable_scripts). The page that is there stays as it was loaded.
    pub(crate) async fn enable_scripts(&self) {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": false })).await.unwrap();
    }

    /// Pages are shown as to a reader who prefers `light` or `dark` ones.
    pub(crate) async fn prefer_color_scheme(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features })).await.unwrap();
    }

    /// Pages are shown on a phone that is so many CSS pixels wide.
    pub(crate) async fn set_width(&self, width: u32) {
        let phone =
            json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": true });
        self.call("Emulation.setDeviceMetricsOverride", phone).await.unwrap();
    }

    /// A picture of what is shown, as PNG.
    pub(crate) async fn picture(&self) -> Vec<u8> {
        let taken = self.call("Page.captureScreenshot", json!({ "format": "png" })).await.unwrap();
        STANDARD.decode(taken["data"].as_str().unwrap()).unwrap()
    }

    /// Puts it in front of the other tabs of its window, which are hidden then.
    pub(crate) async fn bring_to_front(&self) {
        self.call("Page.bringToFront", json!({})).await.unwrap();
    }

    /// Types a key in the page: `Tab`, `Enter`, …
    pub(crate) async fn press(&self, key: &str) {
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let code = match key {
                "Enter" => 13,
                "Tab" => 9,
                "Escape" => 27,
                _ => panic!("{key} is not known here"),
            };
            let event = json!({
                "type": kind, "key": key, "code": key, "text": text,
                "windowsVirtualKeyCode": code,
            });
            self.call("Input.dispatchKeyEvent", event).await.unwrap();
        }
    }

    /// Loads a page, as if its address were typed.
    pub(crate) async fn go(&self, url: &str) {
        self.call("Page.navigate", json!({ "url": url })).await.unwrap();
        self.loaded().await;
    }

    /// The value of an expression, or what its promise comes to; panics when it throws.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        self.try_eval(expression).await.unwrap_or_else(|why| panic!("{expression}: {why}"))
    }

    async fn try_eval(&self, expression: &str) -> Result<Value, String> {
        let wanted = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
            "userGesture": true,
        });
        let done = self.call("Runtime.evaluate", wanted).await?;
        match done.get("exceptionDetails") {
            Some(thrown) => Err(thrown.to_string()),
            None => Ok(done["result"]["value"].clone()),
        }
    }

    /// Looks until an expression is true, over navigations too.
    pub(crate) async fn until(&self, condition: &str) {
        let what = format!("{condition} in {:?}", self.try_eval("location.href").await);
        until(&what, async || {
            (self.try_eval(condition).await == Ok(Value::Bool(true))).then_some(())
        })
        .await;
    }

    pub(crate) async fn loaded(&self) {
        self.until("document.readyState === 'complete'").await;
    }

    /// Where it is.
    pub(crate) async fn place(&self) -> String {
        self.eval("location.href").await.as_str().unwrap().to_owned()
    }

    /// What is to read there.
    pub(crate) async fn text(&self) -> String {
        self.eval("document.body?.innerText ?? ''").await.as_str().unwrap().to_owned()
    }

    /// What is shown in the page's frames.
    pub(crate) async fn frames(&self) -> Vec<String> {
        let tree = self.call("Page.getFrameTree", json!({})).await.unwrap();
        let children = tree["frameTree"]["childFrames"].as_array().cloned().unwrap_or_default();
        let url = |child: &Value| child["frame"]["url"].as_str().unwrap().to_owned();
        children.iter().map(url).collect()
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value, String> {
        self.tools.call(method, params, Some(&self.session)).await
    }
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// The connection to the browser: calls and their answers. What else it tells is not looked at.
#[derive(Clone)]
struct Tools {
    calls: mpsc::UnboundedSender<Message>,
    waiting: Waiting,
    last: Arc<AtomicU64>,
}

impl Tools {
    async fn connect(address: &str) -> Self {
        let (socket, _) = tokio_tungstenite::connect_async(address).await.unwrap();
        let (mut sink, mut stream) = socket.split();
        let (calls, mut queue) = mpsc::unbounded_channel();
        let waiting = Waiting::default();
        tokio::spawn(async move {
            while let Some(call) = queue.recv().await {
                sink.send(call).await.unwrap();
            }
        });
        let answered = waiting.clone();
        tokio::spawn(async move {
            while let Some(Ok(Message::Text(text))) = stream.next().await {
                let answer: Value = serde_json::from_str(&text).unwrap();
                let waits =
                    answer["id"].as_u64().and_then(|id| answered.lock().unwrap().remove(&id));
                if let Some(waits) = waits {
                    let _ = waits.send(answer);
                }
            }
        });
        Self { calls, waiting, last: Arc::default() }
    }

    async fn call(&self, method: &str, params: Value, tab: Option<&str>) -> Result<Value, String> {
        let id = self.last.fetch_add(1, Ordering::Relaxed);
        let mut call = json!({ "id": id, "method": method, "params": params });
        if let Some(tab) = tab {
            call["sessionId"] = tab.into();
        }
        let (answer, comes) = oneshot::channel();
        self.waiting.lock().unwrap().insert(id, answer);
        self.calls.send(Message::text(call.to_string())).unwrap();
        let answer = tokio::time::timeout(TEST_TIMEOUT, comes).await.expect("Chromium is silent");
        let mut answer = answer.expect("Chromium is gone");
        match answer.get("error") {
            Some(error) => Err(error.to_string()),
            None => Ok(answer["result"].take()),
        }
    }
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, looking).await.unwrap_or_else(|_| panic!("never: {what}"))
}
