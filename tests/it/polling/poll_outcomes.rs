//! The outcomes of a poll and their effect on requests: a status, an inconsistent status, no
//! response.

use std::time::{Duration, Instant};

use activeconnect_emulator::{Emulator, Endpoint, Fault, FaultKind, FaultRoute, SessionReport};
use axum::Router;
use axum::routing::get;
use reqwest::StatusCode;

use crate::support::{Browser, builder, enroll_users, poll_until, serve};

struct Site {
    emulator: Emulator,
    alice: Browser,
    session: SessionReport,
    bob: Browser,
}

impl Site {
    async fn new() -> Self {
        Self::stale_after(Duration::from_secs(15)).await
    }

    async fn stale_after(limit: Duration) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).max_staleness(limit).build().unwrap();
        enroll_users(&emulator, &ac, &["alice", "bob"]).await;
        let app = Router::new()
            .route("/", get(async || "in"))
            .layer(ac.layer())
            .nest("/auth", ac.routes());
        let url = serve(app).await;
        let (alice, bob) = (Browser::new(&url), Browser::new(&url));
        let session = alice.log_in(&emulator, "alice").await;
        bob.log_in(&emulator, "bob").await;
        Self { emulator, alice, session, bob }
    }

    fn strike(&self, status: u16) {
        let kind =
            FaultKind::Http { status: StatusCode::from_u16(status).unwrap(), retry_after_s: None };
        self.emulator
            .inject_fault(Fault::new(Endpoint::Status, kind).for_user(&self.session.user_id));
    }

    /// Waits for this many more status calls.
    async fn polls(&self, more: u64) {
        let before = self.emulator.state().calls.status;
        poll_until("polls", async || {
            self.bob.api("/").await;
            (self.emulator.state().calls.status >= before + more).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn session_rejected_twice_is_ended() {
    for status in [401, 403, 404, 410] {
        let site = Site::new().await;
        assert_eq!(site.alice.api("/").await.status(), 200);
        site.strike(status);
        poll_until("lost", async || (site.alice.api("/").await.status() == 401).then_some(()))
            .await;
        assert_eq!(site.alice.status().await, "closed", "{status}");
        // The service rejected at least twice, and the other session stays.
        assert_eq!(site.bob.api("/").await.status(), 200);
        // The engine logs the session out, in case the service still knows it.
        poll_until("ended there", async || {
            let sessions = site.emulator.state().sessions;
            let lost = sessions.iter().find(|s| s.session_token == site.session.session_token);
            (lost.unwrap().status.to_string() == "closed").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn single_rejection_changes_nothing() {
    let site = Site::new().await;
    let kind = FaultKind::Http { status: StatusCode::NOT_FOUND, retry_after_s: None };
    let fault = Fault::new(Endpoint::Status, kind).for_user(&site.session.user_id).times(1);
    site.emulator.inject_fault(fault);
    site.polls(8).await;
    assert_eq!(site.alice.api("/").await.status(), 200);
}

#[tokio::test]
async fn non_json_errors_keep_session() {
    let site = Site::new().await;
    for kind in [FaultKind::Garbage, FaultKind::Reset, FaultKind::Redirect, FaultKind::Truncate] {
        site.emulator.clear_faults();
        site.emulator
            .inject_fault(Fault::new(Endpoint::Status, kind).for_user(&site.session.user_id));
        site.polls(8).await;
        // The last good verdict stays.
        assert_eq!(site.alice.api("/").await.status(), 200, "{kind:?}");
    }
    site.strike(503);
    site.polls(8).await;
    assert_eq!(site.alice.api("/").await.status(), 200);
}

#[tokio::test]
async fn service_rejecting_all_ends_no_session() {
    let site = Site::new().await;
    let kind = FaultKind::Http { status: StatusCode::NOT_FOUND, retry_after_s: None };
    site.emulator.inject_fault(Fault::new(FaultRoute::All, kind));
    site.polls(12).await;
    site.emulator.clear_faults();
    site.polls(4).await;
    assert_eq!(site.alice.api("/").await.status(), 200);
    assert_eq!(site.bob.api("/").await.status(), 200);
}

#[tokio::test]
async fn inconsistent_status_is_unavailable_until_good() {
    let site = Site::new().await;
    site.emulator.inject_fault(
        Fault::new(Endpoint::Status, FaultKind::UnknownStatus).for_user(&site.session.user_id),
    );
    poll_until("odd", async || (site.alice.api("/").await.status() == 503).then_some(())).await;
    let rejected = site.alice.api("/").await;
    assert!(rejected.headers().contains_key("retry-after"));
    assert_eq!(site.alice.status().await, "unavailable");
    site.emulator.clear_faults();
    poll_until("good", async || (site.alice.api("/").await.status() == 200).then_some(())).await;
}

/// Invariant 2: a status is as old as the poll's send, not its response.
#[tokio::test]
async fn status_age_counts_from_the_send() {
    let site = Site::stale_after(Duration::from_millis(4_500)).await;
    assert_eq!(site.alice.api("/").await.status(), 200);
    let of_alice = |kind| Fault::new(Endpoint::Status, kind).for_user(&site.session.user_id);
    let late = Duration::from_millis(2_500);
    site.emulator.inject_fault(of_alice(FaultKind::Delay).with_delay(late).times(1));
    site.emulator.inject_fault(of_alice(FaultKind::Hang));
    let started_at = Instant::now();
    poll_until("stale", async || (site.alice.api("/").await.status() == 503).then_some(())).await;
    // The last good poll was sent within an interval. From its response it would be 7 s.
    assert!(
        started_at.elapsed() < Duration::from_secs(6),
        "allowed for {:?}",
        started_at.elapsed()
    );
}
