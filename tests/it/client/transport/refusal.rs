//! Refused signatures: what the second try looks like, and when there is none.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tower_activeconnect::client::ClientErrorKind;
use tower_activeconnect::protocol::Dialect;

use crate::support::raw::{
    APPLICATION_SECRET, Raw, Received, STATUS_ACTIVE, Step, answer, authenticate, session,
};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn date(ahead: i64) -> String {
    httpdate::fmt_http_date(
        UNIX_EPOCH + Duration::from_secs(now().checked_add_signed(ahead).unwrap()),
    )
}

fn refusal(date: &str) -> Vec<u8> {
    let headers = [("content-type", "application/json"), ("date", date)];
    answer("401 Unauthorized", &headers, r#"{"status":false}"#)
}

/// Refuses so many times, with a `Date` that is so far ahead, and accepts from then on.
async fn refusing(times: usize, ahead: i64) -> Raw {
    let refused = AtomicUsize::new(0);
    Raw::start(move |request| {
        vec![Step::Send(if refused.fetch_add(1, SeqCst) < times {
            refusal(&date(ahead))
        } else if request.asks_for_a_session() {
            session(&format!("http://{}", request.header("host").unwrap()))
        } else {
            answer("200 OK", &[], STATUS_ACTIVE)
        })]
    })
    .await
}

fn signed_ahead(request: &Received) -> i64 {
    assert!(request.is_signed(Dialect::default(), APPLICATION_SECRET));
    request.timestamp(Dialect::default()).parse::<i64>().unwrap() - i64::try_from(now()).unwrap()
}

#[tokio::test]
async fn second_try_has_a_fresh_nonce_and_the_learned_time() {
    for ahead in [200, -200, 0] {
        let raw = refusing(1, ahead).await;
        authenticate(&raw.client()).await.unwrap();
        let requests = raw.requests();
        assert_eq!(requests.len(), 2);
        let (first, second) = (&requests[0], &requests[1]);
        assert_ne!(first.presented().nonce, second.presented().nonce);
        assert_eq!((&first.target, &first.body), (&second.target, &second.body));
        assert!((-3..=3).contains(&signed_ahead(first)));
        let learned = signed_ahead(second) - ahead;
        assert!((-3..=3).contains(&learned), "{learned} s off");
    }
}

#[tokio::test]
async fn learned_clock_offset_is_kept() {
    let raw = refusing(1, 200).await;
    let client = raw.client();
    authenticate(&client).await.unwrap();
    authenticate(&client.clone()).await.unwrap();
    let requests = raw.requests();
    assert_eq!(requests.len(), 3);
    assert!((197..=203).contains(&signed_ahead(&requests[2])));
}

#[tokio::test]
async fn clock_that_is_too_far_off_is_told_and_not_followed() {
    for ahead in [400, -400, 315_360_000] {
        let raw = refusing(1, ahead).await;
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
async fn second_refusal_is_the_last_word() {
    let raw = refusing(9, 0).await;
    let error = authenticate(&raw.client()).await.unwrap_err();
    assert_eq!(error.kind(), ClientErrorKind::SignatureRejected);
    assert_eq!(raw.requests().len(), 2);
}

#[tokio::test]
async fn refusal_without_a_usable_date_is_tried_once_more() {
    for date in ["", "yesterday", "Sun, 06 Nov 1994", "-1"] {
        let raw = Raw::start(move |_| vec![Step::Send(refusal(date))]).await;
        let error = authenticate(&raw.client()).await.unwrap_err();
        assert_eq!(error.kind(), ClientErrorKind::SignatureRejected, "{date}");
        let requests = raw.requests();
        assert_eq!(requests.len(), 2);
        assert!((-3..=3).contains(&signed_ahead(&requests[1])));
    }
}

/// The `Date` of any other answer teaches nothing.
#[tokio::test]
async fn only_a_refusal_moves_the_clock() {
    let tries = AtomicUsize::new(0);
    let raw = Raw::start(move |request| {
        let date = date(200);
        vec![Step::Send(match tries.fetch_add(1, SeqCst) {
            0 => answer("500 Internal Server Error", &[("date", &date)], "{}"),
            1 => answer("404 Not Found", &[("date", &date)], "{}"),
            2 => answer("200 OK", &[("date", &date)], r#"{"status":true}"#),
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
