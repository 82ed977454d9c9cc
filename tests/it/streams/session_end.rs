//! Streams end with their session, within the promised bound.

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use activeconnect_emulator::{Action, Emulator, SessionReport};
use axum::Router;
use axum::body::Body;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::stream::{self, Stream, StreamExt as _};
use tower_activeconnect::{ActiveSession, Denial};

use crate::support::{self, Browser, builder, enroll_users, poll_until, serve};

const INTERVAL: Duration = Duration::from_millis(500);
/// The poll interval, the poll timeout and one second.
const BOUND: Duration = Duration::from_millis(500 + 3_000 + 1_000);

/// A tick every 10 ms, without end.
fn ticks() -> impl Stream<Item = u64> + Send {
    let clock = tokio::time::interval(Duration::from_millis(10));
    stream::unfold((clock, 0), |(mut clock, n)| async move {
        clock.tick().await;
        Some((n, (clock, n + 1)))
    })
}

fn event(n: u64) -> Result<Event, Infallible> {
    Ok(Event::default().data(n.to_string()))
}

async fn site() -> (Emulator, String) {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).poll_interval(INTERVAL).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let app = Router::new()
        .route("/sse", get(async || Sse::new(ticks().map(event))))
        .route("/quiet", get(async || Sse::new(stream::pending::<Result<Event, Infallible>>())))
        .route(
            "/download",
            get(async || Body::from_stream(ticks().map(|n| Ok::<_, Infallible>(n.to_string())))),
        )
        .route("/slow", get(async || std::future::pending::<()>().await))
        .route("/revoked", get(async |s: ActiveSession| s.revoked().await.as_str()))
        .layer(ac.layer())
        .nest("/auth", ac.routes());
    (emulator, serve(app).await)
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// Closes the session; returns the time of the end.
fn close(emulator: &Emulator, session: &SessionReport) -> u64 {
    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    let sessions = emulator.state().sessions;
    let closed = sessions.iter().find(|other| other.session_token == session.session_token);
    closed.unwrap().ended_at.unwrap()
}

fn assert_in_time(ended_at: u64) {
    let took = Duration::from_millis(unix_ms() - ended_at);
    assert!(took <= BOUND, "{took:?} after the end");
}

#[tokio::test]
async fn event_streams_end_with_a_last_event() {
    let (emulator, url) = site().await;
    // One browser: it is a known browser at its second login, so it does not wait for the
    // reservation.
    let browser = Browser::new(&url);
    for path in ["/sse", "/quiet"] {
        let session = browser.log_in(&emulator, "alice").await;
        let mut stream = browser.api(path).await;
        assert_eq!(stream.status(), 200);
        if path == "/sse" {
            assert!(stream.chunk().await.unwrap().unwrap().starts_with(b"data: 0\n\n"));
        }
        let ended_at = close(&emulator, &session);
        let rest = stream.text().await.unwrap();
        assert_in_time(ended_at);
        assert!(
            rest.ends_with("event: session-ended\ndata: {\"status\":\"closed\"}\n\n"),
            "{rest}"
        );
    }
}

#[tokio::test]
async fn walkaway_policy_ends_streams() {
    let (emulator, url) = site().await;
    let browser = Browser::new(&url);
    let session = browser.log_in(&emulator, "alice").await;
    let stream = browser.api("/sse").await;
    emulator.act_on_session(&session.session_token, Action::WalkAway).unwrap();
    let rest = stream.text().await.unwrap();
    assert!(rest.ends_with("event: session-suspended\ndata: {\"status\":\"walkaway\"}\n\n"));
}

#[tokio::test]
async fn cut_download_is_an_error() {
    let (emulator, url) = site().await;
    let browser = Browser::new(&url);
    let session = browser.log_in(&emulator, "alice").await;
    let download = browser.api("/download").await;
    assert_eq!(download.status(), 200);
    let ended_at = close(&emulator, &session);
    assert!(download.bytes().await.is_err());
    assert_in_time(ended_at);
}

#[tokio::test]
async fn handler_past_grace_is_denied() {
    let (emulator, url) = site().await;
    let browser = Browser::new(&url);
    let session = browser.log_in(&emulator, "alice").await;
    let slow = tokio::spawn(browser.get("/slow").header("cookie", browser.cookie_header()).send());
    let response = browser.get("/revoked").header("cookie", browser.cookie_header()).send();
    let revoked = tokio::spawn(response);
    // Both handlers run once the session is live; the next response shows that.
    assert_eq!(browser.status().await, "active");
    close(&emulator, &session);
    assert_eq!(slow.await.unwrap().unwrap().status(), 401);
    // A handler that finishes within the grace period: it completes, but its response is not sent.
    assert_eq!(revoked.await.unwrap().unwrap().status(), 401);
    assert_eq!(Denial::Ended.as_str(), "ended");
}

#[tokio::test]
async fn events_route_sends_each_change_and_ends() {
    let (emulator, url) = site().await;
    let browser = Browser::new(&url);
    assert_eq!(
        browser.api("/auth/events").await.text().await.unwrap(),
        "id: none\ndata: {\"status\":\"none\"}\n\n"
    );

    browser.json("/auth/login", &serde_json::json!({"username": "alice"})).await;
    let events = browser.api("/auth/events").await;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    assert_eq!(events.headers()["cache-control"], "no-store");
    let mut events = events.bytes_stream();
    let mut next = async || {
        let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await.unwrap();
        event.map(|event| String::from_utf8(event.unwrap().to_vec()).unwrap())
    };
    let actual =
        |status: &str| Some(format!("id: {status}\ndata: {{\"status\":\"{status}\"}}\n\n"));
    assert_eq!(next().await, actual("pending"));
    let session = support::approve(&emulator).await;
    assert_eq!(next().await, actual("active"));
    // The event stream claims nothing.
    assert!(browser.cookie("__Host-activeconnect").is_none());
    poll_until("taken", async || (browser.status().await == "active").then_some(())).await;
    for (action, status) in
        [(Action::WalkAway, "walkaway"), (Action::Return, "active"), (Action::Close, "closed")]
    {
        emulator.act_on_session(&session.session_token, action).unwrap();
        assert_eq!(next().await, actual(status));
    }
    assert_eq!(next().await, None);
}
