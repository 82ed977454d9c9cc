//! `Retry-After` in errors.

use std::time::{Duration, SystemTime};

use tower_activeconnect::client::ClientErrorKind;

use crate::support::raw_server::{RawServer, Step, authenticate, response};

async fn retry_after_seconds(retry_after: &str) -> Option<u64> {
    let headers = [("retry-after", retry_after), ("content-type", "application/json")];
    let rejection = response("429 Too Many Requests", &headers, "{}");
    let raw = RawServer::start(move |_| vec![Step::Send(rejection.clone())]).await;
    let error = authenticate(&raw.client()).await.unwrap_err();
    assert_eq!(raw.requests().len(), 1, "no second try");
    match error.kind() {
        ClientErrorKind::RateLimited(after) => after.map(|after| after.as_secs()),
        other => panic!("{retry_after}: {other:?}"),
    }
}

#[tokio::test]
async fn retry_after_is_clamped_to_1_s_to_5_min() {
    for (seconds, expected) in [
        ("0", Some(1)),
        ("1", Some(1)),
        ("17", Some(17)),
        ("300", Some(300)),
        ("301", Some(300)),
        ("18446744073709551615", Some(300)),
        ("18446744073709551616", None),
        ("-1", None),
        ("1e20", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Thu, 99 Foo 2099 00:00:00 GMT", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", Some(1)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(1)),
        ("Thu, 31 Dec 2099 23:59:59 GMT", Some(300)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some(300)),
    ] {
        assert_eq!(retry_after_seconds(seconds).await, expected, "{seconds:?}");
    }
}

#[tokio::test]
async fn retry_after_date_is_relative_to_now() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
    let pause = retry_after_seconds(&date).await.unwrap();
    assert!((97..=100).contains(&pause), "{pause}");
}
