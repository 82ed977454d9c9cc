//! Answers that take their time: 3 s for a status, 5 s for any other call.

use std::time::{Duration, Instant};

use tower_activeconnect::client::ClientErrorKind;

use crate::support::raw::{Raw, STATUS_ACTIVE, Step, alice, answer, authenticate, head, status_of};

const SLACK: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);

fn slow_headers() -> Vec<Step> {
    vec![Step::Drip(answer("200 OK", &[("content-type", "application/json")], "{}"), SECOND)]
}

fn slow_body() -> Vec<Step> {
    let mut bytes = answer("200 OK", &[], STATUS_ACTIVE);
    let body = bytes.split_off(bytes.len() - STATUS_ACTIVE.len());
    vec![Step::Send(bytes), Step::Drip(body, SECOND)]
}

fn silence() -> Vec<Step> {
    vec![Step::Rest(Duration::from_secs(60))]
}

fn informational() -> Vec<Step> {
    vec![Step::Drip(head("103 Early Hints", &[("link", "</x>")]).repeat(100), SECOND)]
}

/// A refusal that comes late, so that the second try has less than a whole call's time.
fn late_refusals() -> Vec<Step> {
    vec![
        Step::Rest(Duration::from_millis(2_500)),
        Step::Send(answer("401 Unauthorized", &[("content-type", "application/json")], "{}")),
    ]
}

async fn status_in_time(steps: Vec<Step>) {
    let raw = Raw::with_session(steps).await;
    let client = raw.client();
    let session = authenticate(&client).await.unwrap();
    let begun = Instant::now();
    let error = client.status(&session).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(3) + SLACK, "{:?}", begun.elapsed());
    assert_eq!(error.kind(), ClientErrorKind::TimedOut);
}

async fn call_in_time(steps: Vec<Step>) {
    let raw = Raw::start(move |_| steps.clone()).await;
    let client = raw.client();
    let begun = Instant::now();
    let error = client.has_registered_mobile_device(&alice()).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5) + SLACK, "{:?}", begun.elapsed());
    assert_eq!(error.kind(), ClientErrorKind::TimedOut);
}

#[tokio::test]
async fn status_call_ends_after_three_seconds() {
    tokio::join!(
        status_in_time(slow_headers()),
        status_in_time(slow_body()),
        status_in_time(silence()),
        status_in_time(informational()),
        status_in_time(late_refusals()),
    );
}

#[tokio::test]
async fn any_other_call_ends_after_five_seconds() {
    tokio::join!(
        call_in_time(slow_headers()),
        call_in_time(slow_body()),
        call_in_time(silence()),
        call_in_time(informational()),
        call_in_time(late_refusals()),
    );
}

#[tokio::test]
async fn slow_answer_within_the_deadline_is_read() {
    let bytes = answer("200 OK", &[], STATUS_ACTIVE);
    let pause = Duration::from_secs(1) / u32::try_from(bytes.len()).unwrap();
    let (read, _raw) = status_of(vec![Step::Drip(bytes, pause)]).await;
    assert!(read.is_ok(), "{read:?}");
}

/// A hundred thousand interim answers a second, for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_of_interim_answers_ends_with_the_deadline() {
    status_in_time(vec![Step::Endless(head("100 Continue", &[]))]).await;
}
