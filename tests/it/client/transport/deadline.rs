//! Slow responses: 3 s for a status call, 5 s for any other call.

use std::time::{Duration, Instant};

use tower_activeconnect::client::ClientErrorKind;

use crate::support::raw_server::{
    RawServer, STATUS_ACTIVE, Step, alice, authenticate, head, response, status_after,
};

const SLACK: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);

fn slow_headers() -> Vec<Step> {
    vec![Step::Drip(response("200 OK", &[("content-type", "application/json")], "{}"), SECOND)]
}

fn slow_body() -> Vec<Step> {
    let mut bytes = response("200 OK", &[], STATUS_ACTIVE);
    let body = bytes.split_off(bytes.len() - STATUS_ACTIVE.len());
    vec![Step::Send(bytes), Step::Drip(body, SECOND)]
}

fn silence() -> Vec<Step> {
    vec![Step::Pause(Duration::from_secs(60))]
}

fn informational() -> Vec<Step> {
    vec![Step::Drip(head("103 Early Hints", &[("link", "</x>")]).repeat(100), SECOND)]
}

/// A late rejection, which leaves the retry less than a whole call's time.
fn late_rejections() -> Vec<Step> {
    vec![
        Step::Pause(Duration::from_millis(2_500)),
        Step::Send(response("401 Unauthorized", &[("content-type", "application/json")], "{}")),
    ]
}

async fn status_in_time(steps: Vec<Step>) {
    let raw = RawServer::with_session(steps).await;
    let client = raw.client();
    let session = authenticate(&client).await.unwrap();
    let started_at = Instant::now();
    let error = client.status(&session).await.unwrap_err();
    assert!(started_at.elapsed() < Duration::from_secs(3) + SLACK, "{:?}", started_at.elapsed());
    assert_eq!(error.kind(), ClientErrorKind::TimedOut);
}

async fn call_in_time(steps: Vec<Step>) {
    let raw = RawServer::start(move |_| steps.clone()).await;
    let client = raw.client();
    let started_at = Instant::now();
    let error = client.has_registered_mobile_device(&alice()).await.unwrap_err();
    assert!(started_at.elapsed() < Duration::from_secs(5) + SLACK, "{:?}", started_at.elapsed());
    assert_eq!(error.kind(), ClientErrorKind::TimedOut);
}

#[tokio::test]
async fn status_call_ends_after_three_seconds() {
    tokio::join!(
        status_in_time(slow_headers()),
        status_in_time(slow_body()),
        status_in_time(silence()),
        status_in_time(informational()),
        status_in_time(late_rejections()),
    );
}

#[tokio::test]
async fn any_other_call_ends_after_five_seconds() {
    tokio::join!(
        call_in_time(slow_headers()),
        call_in_time(slow_body()),
        call_in_time(silence()),
        call_in_time(informational()),
        call_in_time(late_rejections()),
    );
}

#[tokio::test]
async fn slow_response_within_deadline_is_read() {
    let bytes = response("200 OK", &[], STATUS_ACTIVE);
    let pause = Duration::from_secs(1) / u32::try_from(bytes.len()).unwrap();
    let (read, _raw) = status_after(vec![Step::Drip(bytes, pause)]).await;
    assert!(read.is_ok(), "{read:?}");
}

/// A hundred thousand interim responses a second, without end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_of_interim_responses_times_out() {
    status_in_time(vec![Step::Endless(head("100 Continue", &[]))]).await;
}
