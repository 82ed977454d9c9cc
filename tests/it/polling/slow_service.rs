//! T167: a service that takes a second for each poll, and more streams than 64 polls in flight can
//! keep fresh.

use std::time::{Duration, Instant};

use activeconnect_emulator::{Action, Endpoint, Fault, FaultKind};
use axum::http::StatusCode;
use futures_util::future::join_all;
use tokio::time::sleep;

use super::fixture::Fixture;

const SESSIONS: usize = 800;
const ENDED: usize = 40;
const SECOND: Duration = Duration::from_secs(1);
/// Poll interval, poll and margin, in milliseconds.
const BOUND: u64 = 9_000;

/// F30: measured from the first response of the emulator that reports the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_hundred_streams_end_in_time() {
    let site = Fixture::new(SESSIONS, |builder| builder).await;
    let streams = join_all(site.sessions.iter().map(|session| site.stream(session))).await;
    site.emulator.inject_fault(Fault::new(Endpoint::Status, FaultKind::Delay).with_delay(SECOND));
    let (ended, live) = site.sessions.split_at(ENDED);
    // In each phase of the polls.
    let started_at = Instant::now();
    for (which, session) in ended.iter().enumerate() {
        for one in live.iter().skip(which % 10).step_by(10) {
            assert_eq!(site.ask(one).await, StatusCode::OK, "after {:?}", started_at.elapsed());
        }
        sleep(Duration::from_millis(125)).await;
        site.emulator.act(session.token.as_str(), Action::Close).unwrap();
    }
    let last = Instant::now();
    while last.elapsed() < Duration::from_millis(BOUND + 500) {
        for one in live {
            assert_eq!(site.ask(one).await, StatusCode::OK, "after {:?}", started_at.elapsed());
        }
        sleep(SECOND).await;
    }
    let health = site.ac.health();
    assert!(health.poll_latency >= SECOND, "{health:?}");
    assert!(health.effective_interval < Duration::from_secs(7), "{health:?}");
    assert!(health.capacity >= SESSIONS as u64, "{health:?}");
    let (cut, open) = streams.split_at(ENDED);
    let reports = site.emulator.state().sessions;
    for (stream, session) in cut.iter().zip(ended) {
        let report = reports.iter().find(|report| report.user_id == session.token.as_str());
        let ended_at = report.unwrap().ended_at.unwrap();
        let last_byte = stream.ended_at().expect("an ended session's stream is cut");
        let late = last_byte.saturating_sub(ended_at);
        assert!(late <= BOUND, "the last byte left {late} ms after the end");
    }
    assert!(open.iter().all(|stream| stream.ended_at().is_none()), "a live stream was cut");
}
