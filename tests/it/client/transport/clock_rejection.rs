//! Rejected signatures: the retry with a corrected clock, and when there is none.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tower_activeconnect::client::ClientErrorKind;
use tower_activeconnect::protocol::Dialect;

use crate::support::raw_server::{
    APPLICATION_SECRET, RawServer, ReceivedRequest, STATUS_ACTIVE, Step, authenticate, response,
    session,
};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn date(ahead: i64) -> String {
    httpdate::fmt_http_date(
        UNIX_EPOCH + Duration::from_secs(now().checked_add_signed(ahead).unwrap()),
    )
}

fn rejection(date: &str) -> Vec<u8> {
    let headers = [("content-type", "application/json"), ("date", date)];
    response("401 Unauthorized", &headers, r#"{"status":false}"#)
}

/// Rejects this many requests, with a `Date` this far ahead, and accepts later ones.
async fn rejecting(times: usize, ahead: i64) -> RawServer {
    let rejected = AtomicUsize::new(0);
    RawServer::start(move |request| {
        vec![Step::Send(if rejected.fetch_add(1, SeqCst) < times {
            rejection(&date(ahead))
        } else if request.is_authenticate_user() {
            session(&format!("http://{}", request.header("host").unwrap()))
        } else {
            response("200 OK", &[], STATUS_ACTIVE)
        })]
    })
    .await
}

fn signed_ahead(request: &ReceivedRequest) -> i64 {
    assert!(request.is_signed(Dialect::default(), APPLICATION_SECRET));
    request.timestamp(Dialect::default()).parse::<i64>().unwrap() - i64::try_from(now()).unwrap()
}

#[tokio::test]
async fn retry_has_new_nonce_and_corrected_time() {
    for ahead in [200, -200, 0] {
        let raw = rejecting(1, ahead).await;
        authenticate(&raw.client()).await.unwrap();
        let requests = raw.requests();
        assert_eq!(requests.len(), 2);
        let (first, second) = (&requests[0], &requests[1]);
        assert_ne!(first.authentication_header().nonce, second.authentication_header().nonce);
        assert_eq!((&first.target, &first.body), (&second.target, &second.body));
        assert!((-3..=3).contains(&signed_ahead(first)));
        let learned = signed_ahead(second) - ahead;
        assert!((-3..=3).contains(&learned), "{learned} s off");
    }
}

#[tokio::test]
async fn learned_clock_offset_is_kept() {
    let raw = rejecting(1, 200).await;
    let client = raw.client();
    authenticate(&client).await.unwrap();
    authenticate(&client.clone()).await.unwrap();
    let requests = raw.requests();
    assert_eq!(requests.len(), 3);
    assert!((197..=203).contains(&signed_ahead(&requests[2])));
}

#[tokio::test]
async fn excessive_clock_offset_is_reported_only() {
    for ahead in [400, -400, 315_360_000] {
        let raw = rejecting(1, ahead).await;
        let client = raw.client();
        match authenticate(&client).await.unwrap_err().kind() {
            ClientErrorKind::ClockSkew(off) => assert!((ahead - 3..=ahead + 3).contains(&off)),
            other => panic!("{other:?}"),
        }
        assert_eq!(raw.requests().len(), 1, "no second try");
        authenticate(&client).await.unwrap();
        assert!((-3..=3).contains(&signed_ahead(&raw.requests()[1])));
    }
}

#[tokio::test]
async fn second_rejection_is_returned() {
    let raw = rejecting(9, 0).await;
    let error = authenticate(&raw.client()).await.unwrap_err();
    assert_eq!(error.kind(), ClientErrorKind::SignatureRejected);
    assert_eq!(raw.requests().len(), 2);
}

#[tokio::test]
async fn rejection_without_usable_date_is_retried_once() {
    for date in ["", "yesterday", "Sun, 06 Nov 1994", "-1"] {
        let raw = RawServer::start(move |_| vec![Step::Send(rejection(date))]).await;
        let error = authenticate(&raw.client()).await.unwrap_err();
        assert_eq!(error.kind(), ClientErrorKind::SignatureRejected, "{date}");
        let requests = raw.requests();
        assert_eq!(requests.len(), 2);
        assert!((-3..=3).contains(&signed_ahead(&requests[1])));
    }
}

/// The `Date` of other responses does not change the clock offset.
#[tokio::test]
async fn only_a_rejection_changes_clock_offset() {
    let tries = AtomicUsize::new(0);
    let raw = RawServer::start(move |request| {
        let date = date(200);
        vec![Step::Send(match tries.fetch_add(1, SeqCst) {
            0 => response("500 Internal Server Error", &[("date", &date)], "{}"),
            1 => response("404 Not Found", &[("date", &date)], "{}"),
            2 => response("200 OK", &[("date", &date)], r#"{"status":true}"#),
            _ => session(&format!("http://{}", request.header("host").unwrap())),
        })]
    })
    .await;
    let client = raw.client();
    let _ = client.add_users(&[]).await.unwrap_err();
    let _ = client.add_users(&[]).await.unwrap_err();
    client.add_users(&[]).await.unwrap();
    authenticate(&client).await.unwrap();
    for request in raw.requests() {
        assert!((-3..=3).contains(&signed_ahead(&request)));
    }
}
