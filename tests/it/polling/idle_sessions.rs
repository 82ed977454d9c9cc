//! The first requests after an idle time: all wait for one poll, independently.

use std::time::Duration;

use activeconnect_emulator::{Emulator, Endpoint, Fault, FaultKind};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use tower::ServiceExt as _;

use crate::support::{Browser, advance, builder, enroll_users, serve};

struct Site {
    emulator: Emulator,
    app: Router,
    cookie: String,
}

impl Site {
    /// A site with one parked session.
    async fn parked() -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).poll_interval(Duration::from_secs(5)).build().unwrap();
        enroll_users(&emulator, &ac, &["alice"]).await;
        let app = Router::new().route("/", get(async || "in")).layer(ac.layer());
        let app = app.nest("/auth", ac.routes()).with_state(());
        let browser = Browser::new(&serve(app.clone()).await);
        browser.log_in(&emulator, "alice").await;
        advance(Duration::from_secs(130), Duration::from_secs(5)).await;
        let calls = emulator.state().calls.status;
        advance(Duration::from_secs(60), Duration::from_secs(5)).await;
        assert_eq!(emulator.state().calls.status, calls, "parked sessions are not polled");
        let cookie = browser.cookie_header();
        Self { emulator, app, cookie }
    }

    async fn ask(&self) -> StatusCode {
        let request = Request::get("/").header("cookie", &self.cookie).body(Body::empty());
        self.app.clone().oneshot(request.unwrap()).await.unwrap().status()
    }
}

#[tokio::test]
async fn ten_thousand_requests_share_one_poll() {
    let site = Site::parked().await;
    let before = site.emulator.state().calls.status;
    let requests = (0..10_000).map(|_| site.ask());
    let responses = futures_util::future::join_all(requests).await;
    assert!(responses.iter().all(|status| *status == 200));
    assert_eq!(site.emulator.state().calls.status - before, 1);
}

#[tokio::test]
async fn dropped_requests_keep_shared_poll() {
    let site = Site::parked().await;
    let before = site.emulator.state().calls.status;
    let slow =
        Fault::new(Endpoint::Status, FaultKind::Delay).with_delay(Duration::from_millis(500));
    site.emulator.inject_fault(slow.times(1));
    for _ in 0..1_000 {
        let mut leader = std::pin::pin!(site.ask());
        // The future is polled once, so that it waits, and then dropped.
        let polled = futures_util::poll!(leader.as_mut());
        assert!(polled.is_pending());
    }
    let followers = futures_util::future::join_all((0..10).map(|_| site.ask())).await;
    assert!(followers.iter().all(|status| *status == 200));
    assert_eq!(site.emulator.state().calls.status - before, 1);
}
