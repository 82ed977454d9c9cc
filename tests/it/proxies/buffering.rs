//! T143: events arrive at once through proxies that buffer by default.

use std::time::{Duration, Instant};

use activeconnect_emulator::Action;
use axum::body::Bytes;
use reqwest::Response;
use reqwest::header::ACCEPT;
use tokio::time::timeout;

use super::Site;
use super::servers::Proxy;

const WITHIN: Duration = Duration::from_secs(1);
/// The time limit of each wait.
const TEST_TIMEOUT: Duration = Duration::from_secs(10);

async fn next_chunk(events: &mut Response) -> Bytes {
    timeout(TEST_TIMEOUT, events.chunk()).await.expect("an event").unwrap().unwrap()
}

/// A page behind this proxy receives a session's status and its end.
async fn events_arrive(site: &Site, proxy: &Proxy) {
    let (browser, session) = site.log_in(proxy).await;
    let started_at = Instant::now();
    let request = browser.get("/auth/events").header(ACCEPT, "text/event-stream");
    let mut events = timeout(TEST_TIMEOUT, browser.send(request)).await.expect("a head");
    assert_eq!(events.status(), 200);
    let first = next_chunk(&mut events).await;
    assert!(started_at.elapsed() < WITHIN, "{:?}", started_at.elapsed());
    assert!(first.starts_with(b"id: active\ndata: {\"status\":\"active\"}"), "{first:?}");
    let ended = Instant::now();
    site.emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    let second = next_chunk(&mut events).await;
    // The poll interval of 500 ms, and the bound.
    assert!(ended.elapsed() < WITHIN + Duration::from_millis(500), "{:?}", ended.elapsed());
    assert!(second.starts_with(b"id: closed\ndata: {\"status\":\"closed\"}"), "{second:?}");
}

#[tokio::test]
async fn nginx_delivers_events_at_once() {
    let site = Site::start(|builder| builder).await;
    let nginx = site.behind_nginx("").await;
    events_arrive(&site, &nginx).await;
    let nginx = site.behind_nginx("proxy_http_version 1.1;").await;
    events_arrive(&site, &nginx).await;
}

#[tokio::test]
async fn caddy_delivers_events_at_once() {
    let site = Site::start(|builder| builder).await;
    let caddy = Proxy::caddy(&format!("reverse_proxy {}", site.url)).await;
    events_arrive(&site, &caddy).await;
}
