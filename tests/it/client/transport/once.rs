//! A phone is rung once: no failure but a refused signature sends the request again.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tower_activeconnect::client::ClientErrorKind;

use crate::support::raw::{Raw, Received, Step, answer, authenticate, head, session};

async fn fails_once(steps: Vec<Step>) -> ClientErrorKind {
    let raw = Raw::start(move |_| steps.clone()).await;
    let kind = authenticate(&raw.client()).await.unwrap_err().kind();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(raw.requests().len(), 1, "{kind:?}");
    assert_eq!(raw.connections(), 1, "{kind:?}");
    kind
}

#[tokio::test]
async fn failed_call_is_sent_exactly_once() {
    use ClientErrorKind::*;
    let server_error = |status| vec![Step::Send(answer(status, &[("retry-after", "0")], "{}"))];
    let begun = Step::Send(head("202 Accepted", &[("content-length", "500")]));
    for (steps, expected) in [
        (vec![Step::Reset], Unreachable),
        (vec![Step::Close], Unreachable),
        (vec![begun.clone(), Step::Close], Unreachable),
        (vec![begun, Step::Reset], Unreachable),
        (vec![Step::Send(answer("202 Accepted", &[], "{"))], InvalidResponse),
        (server_error("408 Request Timeout"), InvalidResponse),
        (server_error("425 Too Early"), InvalidResponse),
        (server_error("429 Too Many Requests"), RateLimited(Some(Duration::from_secs(1)))),
        (server_error("500 Internal Server Error"), ServerError(500)),
        (server_error("502 Bad Gateway"), ServerError(502)),
        (server_error("503 Service Unavailable"), ServerError(503)),
    ] {
        assert_eq!(fails_once(steps).await, expected);
    }
}

#[tokio::test]
async fn call_without_an_answer_is_sent_exactly_once() {
    assert_eq!(fails_once(vec![Step::Rest(Duration::from_secs(60))]).await, TIMED_OUT);
}

const TIMED_OUT: ClientErrorKind = ClientErrorKind::TimedOut;

fn a_session(request: &Received) -> Step {
    Step::Send(session(&format!("http://{}", request.header("host").unwrap())))
}

/// The service closed the idle connection, and the client knows: the next call takes a new one.
#[tokio::test]
async fn connection_closed_between_calls_costs_nothing() {
    let raw = Raw::start(|request| vec![a_session(request), Step::Close]).await;
    let client = raw.client();
    for call in 1..=3 {
        authenticate(&client).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!((raw.requests().len(), raw.connections()), (call, call));
    }
}

/// The service closes the kept connection as the second call is on its way: what it made of that
/// call is unknown, so it is not repeated, over a new connection neither.
#[tokio::test]
async fn broken_kept_connection_repeats_no_call() {
    for end in [Step::Close, Step::Reset] {
        let calls = AtomicUsize::new(0);
        let raw = Raw::start(move |request| match calls.fetch_add(1, SeqCst) {
            0 => vec![a_session(request)],
            _ => vec![end.clone()],
        })
        .await;
        let client = raw.client();
        authenticate(&client).await.unwrap();
        let error = authenticate(&client).await.unwrap_err();
        assert_eq!(error.kind(), ClientErrorKind::Unreachable);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!((raw.requests().len(), raw.connections()), (2, 1));
    }
}

/// The end of the idle connection and the next call cross each other. Whether or not the call
/// succeeds, each nonce arrives once and no call twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_close_repeats_no_call() {
    for round in 0..80_u64 {
        let pause = Duration::from_micros(round * 12);
        let raw =
            Raw::start(move |request| vec![a_session(request), Step::Rest(pause), Step::Reset])
                .await;
        let client = raw.client();
        authenticate(&client).await.unwrap();
        tokio::time::sleep(pause).await;
        let second = authenticate(&client).await;
        let requests = raw.requests();
        let answered = 1 + usize::from(second.is_ok());
        assert!((answered..=2).contains(&requests.len()), "{} requests", requests.len());
        if let Err(error) = second {
            assert_eq!(error.kind(), ClientErrorKind::Unreachable);
        }
        let mut nonces: Vec<_> = requests.iter().map(|r| r.presented().nonce.to_owned()).collect();
        nonces.dedup();
        assert_eq!(nonces.len(), requests.len());
    }
}
