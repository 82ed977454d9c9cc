//! T168: a service that requests one pause of five minutes, and would respond to all other calls.

use std::time::{Duration, Instant};

use activeconnect_emulator::{Endpoint, Fault, FaultKind};
use axum::http::StatusCode;
use tokio::time::sleep;

use super::fixture::Fixture;

const SESSIONS: usize = 60;

/// F31: with any status, all sessions stay allowed.
#[tokio::test]
async fn one_requested_pause_denies_no_session() {
    for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS] {
        let site = Fixture::new(SESSIONS, |builder| {
            builder.poll_interval(Duration::from_secs(1)).max_staleness(Duration::from_secs(7))
        })
        .await;
        let kind = FaultKind::Http { status, retry_after_s: Some(300) };
        site.emulator.inject_fault(Fault::new(Endpoint::Status, kind).times(1));
        let started_at = Instant::now();
        while started_at.elapsed() < Duration::from_secs(9) {
            assert_eq!(site.count(StatusCode::OK).await, SESSIONS, "{status}");
            sleep(Duration::from_millis(200)).await;
        }
        let before = site.emulator.state().calls.status;
        sleep(Duration::from_secs(2)).await;
        let polls = site.emulator.state().calls.status - before;
        assert!(polls >= SESSIONS as u64, "{status}: {polls} polls in two intervals");
        assert!(!site.ac.health().breaker_open);
    }
}
