//! Event streams after the session's end: `EventSource` reconnects once, and stops.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use activeconnect_emulator::{Action, Emulator, SessionReport};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Html;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use crate::support::chromium::{Chromium, Tab};
use crate::support::{Browser, approve, builder, enroll_users, poll_until, serve};

/// Listens to `events`, and records the messages.
const LISTENING: &str = "<!doctype html><title>listening</title><script>
const reported = [];
const events = new EventSource('/auth/events');
events.onmessage = event => reported.push(JSON.parse(event.data).status);
</script>";
/// Counts what the documentation's recipe shows.
const NEWS: &str = "<!doctype html><title>news_status</title><script>
let shown = 0;
const show = () => shown++;
RECIPE
</script>";

/// The script in `docs/in-flight.md`.
fn recipe() -> &'static str {
    let (_, rest) = include_str!("../../../docs/in-flight.md").split_once("```js\n").unwrap();
    rest.split_once("```").unwrap().0
}

struct Site {
    emulator: Emulator,
    url: String,
    /// The requested paths.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Site {
    async fn new() -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).build().unwrap();
        enroll_users(&emulator, &ac, &["alice"]).await;
        let requests = Arc::new(Mutex::new(Vec::new()));
        let record = requests.clone();
        let record = from_fn(move |request: Request, next: Next| {
            record.lock().unwrap().push(request.uri().path().to_owned());
            next.run(request)
        });
        let news_status = || async {
            let tick = |()| async { tokio::time::sleep(Duration::from_millis(50)).await };
            let ticks = stream::repeat(()).then(tick);
            Sse::new(ticks.map(|()| Ok::<_, Infallible>(Event::default().data("tick"))))
        };
        let app = Router::new()
            .route("/news", get(news_status))
            .layer(ac.layer())
            .route("/", get(async || Html("<!doctype html><title>start</title>")))
            .route("/listening", get(async || Html(LISTENING)))
            .route("/page", get(async || Html(NEWS.replace("RECIPE", recipe()))))
            .nest("/auth", ac.routes())
            .layer(record);
        let url = serve(app).await;
        Self { emulator, url, requests }
    }

    fn requests_of(&self, path: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }

    /// Logs in in this tab and opens a page.
    async fn log_in(&self, tab: &Tab, page: &str) -> SessionReport {
        tab.navigate(&format!("{}/auth/login?next={page}", self.url)).await;
        tab.eval("document.querySelector('[name=username]').value = 'alice'").await;
        tab.eval("document.forms[0].submit()").await;
        tab.wait_for("location.pathname === '/auth/waiting'").await;
        let session = approve(&self.emulator).await;
        tab.wait_for(&format!("location.pathname === '{page}'")).await;
        tab.wait_for_load().await;
        session
    }

    fn act(&self, session: &SessionReport, action: Action) {
        self.emulator.act_on_session(&session.session_token, action).unwrap();
    }
}

/// Waits until the browser closed the stream for good.
async fn gives_up(tab: &Tab) {
    tab.wait_for("events.readyState === EventSource.CLOSED").await;
}

/// T151: at once if there is no event, or after the last one.
#[tokio::test]
async fn reconnect_after_the_last_event_gets_204() {
    let site = Site::new().await;
    let browser = Browser::new(&site.url);
    let connect = async |last: &str| {
        let request = browser.get("/auth/events").header("last-event-id", last);
        browser.send(request).await
    };
    let first = browser.api("/auth/events").await;
    assert_eq!(first.text().await.unwrap(), "id: none\ndata: {\"status\":\"none\"}\n\n");
    for last in ["none", "active", "something else"] {
        let response = connect(last).await;
        assert_eq!(response.status(), 204, "{last}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert!(response.text().await.unwrap().is_empty());
    }
    browser.json("/auth/login", &json!({ "username": "alice" })).await;
    for (last, status) in [("pending", 200), ("active", 200), ("timeout", 204)] {
        assert_eq!(connect(last).await.status(), status, "{last}");
    }
    let session = approve(&site.emulator).await;
    poll_until("in", async || (browser.status().await == "active").then_some(())).await;
    for last in ["pending", "active", "walkaway", "unavailable"] {
        let mut events = connect(last).await;
        assert_eq!(events.status(), 200, "{last}");
        let event = events.chunk().await.unwrap().unwrap();
        assert_eq!(event, "id: active\ndata: {\"status\":\"active\"}\n\n");
    }
    site.act(&session, Action::Close);
    poll_until("over", async || (browser.status().await == "closed").then_some(())).await;
    // An event that was not sent before is sent once.
    let last = connect("active").await.text().await.unwrap();
    assert_eq!(last, "id: closed\ndata: {\"status\":\"closed\"}\n\n");
    for last in ["closed", "timeout", "failed", "cancelled"] {
        assert_eq!(connect(last).await.status(), 204, "{last}");
    }
}

/// T151
#[tokio::test]
async fn event_source_stops_after_the_end() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new().await;
    let tab = chromium.profile().await.tab().await;
    let session = site.log_in(&tab, "/listening").await;
    tab.wait_for("reported.at(-1) === 'active'").await;
    // The waiting page listened, too.
    let before = site.requests_of("/auth/events");
    site.act(&session, Action::Close);
    gives_up(&tab).await;
    assert_eq!(tab.eval("reported").await, json!(["active", "closed"]));
    assert_eq!(site.requests_of("/auth/events"), before + 1);
}

/// T151
#[tokio::test]
async fn event_source_stops_without_a_session() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new().await;
    let tab = chromium.profile().await.tab().await;
    tab.navigate(&format!("{}/listening", site.url)).await;
    gives_up(&tab).await;
    assert_eq!(tab.eval("reported").await, json!(["none"]));
    assert_eq!(site.requests_of("/auth/events"), 2);
}

/// T151: the documentation's recipe for an application's own stream.
#[tokio::test]
async fn gated_stream_reconnects_or_stops() {
    let Some(chromium) = Chromium::start().await else { return };
    let site = Site::new().await;
    let tab = chromium.profile().await.tab().await;
    let session = site.log_in(&tab, "/page").await;
    tab.wait_for("shown > 3").await;
    site.act(&session, Action::WalkAway);
    poll_until("the page asks", async || (site.requests_of("/auth/status") > 0).then_some(()))
        .await;
    // The stream itself, and a denied one.
    assert_eq!(site.requests_of("/news"), 2);
    site.act(&session, Action::Return);
    poll_until("the stream is open", async || (site.requests_of("/news") == 3).then_some(())).await;
    tab.eval("shown = 0").await;
    tab.wait_for("shown > 3").await;
    site.act(&session, Action::Close);
    tab.wait_for("location.pathname === '/auth/login'").await;
    assert_eq!(site.requests_of("/news"), 4);
}
