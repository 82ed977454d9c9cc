//! A request is sent once: only a rejected signature is retried.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tower_activeconnect::client::ClientErrorKind;

use crate::support::raw_server::{
    RawServer, ReceivedRequest, Step, authenticate, head, response, session,
};

async fn assert_sent_once(steps: Vec<Step>) -> ClientErrorKind {
    let raw = RawServer::start(move |_| steps.clone()).await;
    let kind = authenticate(&raw.client()).await.unwrap_err().kind();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(raw.requests().len(), 1, "{kind:?}");
    assert_eq!(raw.connections(), 1, "{kind:?}");
    kind
}

#[tokio::test]
async fn failed_call_is_sent_once() {
    use ClientErrorKind::*;
    let server_error = |status| vec![Step::Send(response(status, &[("retry-after", "0")], "{}"))];
    let started_at = Step::Send(head("202 Accepted", &[("content-length", "500")]));
    for (steps, expected) in [
        (vec![Step::Reset], Unreachable),
        (vec![Step::Close], Unreachable),
        (vec![started_at.clone(), Step::Close], Unreachable),
        (vec![started_at, Step::Reset], Unreachable),
        (vec![Step::Send(response("202 Accepted", &[], "{"))], InvalidResponse),
        (server_error("408 Request Timeout"), InvalidResponse),
        (server_error("425 Too Early"), InvalidResponse),
        (server_error("429 Too Many Requests"), RateLimited(Some(Duration::from_secs(1)))),
        (server_error("500 Internal Server Error"), ServerError(500)),
        (server_error("502 Bad Gateway"), ServerError(502)),
        (server_error("503 Service Unavailable"), ServerError(503)),
    ] {
        assert_eq!(assert_sent_once(steps).await, expected);
    }
}

#[tokio::test]
async fn call_without_response_is_sent_once() {
    assert_eq!(assert_sent_once(vec![Step::Pause(Duration::from_secs(60))]).await, TIMED_OUT);
}

const TIMED_OUT: ClientErrorKind = ClientErrorKind::TimedOut;

fn new_session(request: &ReceivedRequest) -> Step {
    Step::Send(session(&format!("http://{}", request.header("host").unwrap())))
}

/// The service closed the idle connection, and the client knows it: the next call opens a new one.
#[tokio::test]
async fn connection_closed_between_calls_is_replaced() {
    let raw = RawServer::start(|request| vec![new_session(request), Step::Close]).await;
    let client = raw.client();
    for call in 1..=3 {
        authenticate(&client).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!((raw.requests().len(), raw.connections()), (call, call));
    }
}

/// The service closes the kept connection while the second call is in flight. Whether the service
/// processed the call is unknown, so the client does not resend it on a new connection.
#[tokio::test]
async fn broken_kept_connection_repeats_no_call() {
    for end in [Step::Close, Step::Reset] {
        let calls = AtomicUsize::new(0);
        let raw = RawServer::start(move |request| match calls.fetch_add(1, SeqCst) {
            0 => vec![new_session(request)],
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

/// The close of the idle connection and the next call cross. Whether or not the call succeeds, each
/// nonce arrives once and each call at most once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_close_repeats_no_call() {
    for round in 0..80_u64 {
        let pause = Duration::from_micros(round * 12);
        let raw = RawServer::start(move |request| {
            vec![new_session(request), Step::Pause(pause), Step::Reset]
        })
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
        let mut nonces: Vec<_> =
            requests.iter().map(|r| r.authentication_header().nonce.to_owned()).collect();
        nonces.dedup();
        assert_eq!(nonces.len(), requests.len());
    }
}
