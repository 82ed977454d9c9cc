//! How long the guard holds a stream: while the phone is away, and while the status is unknown.
//! T180: each limit counts separately.

use std::time::Duration;

use http::Request;
use tower_layer::Layer as _;
use tower_service::Service as _;

use super::harness::{App, Harness, reply_ok, reply_status};
use crate::layer::SessionRevoked;
use crate::protocol::SessionStatus::{Active, Walkaway};
use crate::verdict::Denial;

/// The status that the service reports at a time in seconds; `None` for an inconsistent one.
type StatusAt = fn(u64) -> Option<crate::protocol::SessionStatus>;

const HOUR: Duration = Duration::from_secs(3_600);
const THIRTY_SECONDS: Duration = Duration::from_secs(30);

/// The time in seconds when a stream is stream_end, and the denial.
async fn stream_end(
    walkaway_limit: Duration,
    hold_limit: Duration,
    status_at: StatusAt,
) -> (u64, Denial) {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    let layer = harness.ac.layer();
    let layer = layer.walkaway(crate::layer::Walkaway::Hold(walkaway_limit)).hold_limit(hold_limit);
    let bearer = format!("Bearer {}", alice.expose());
    let request = Request::get("/stream").header("authorization", bearer).body(()).unwrap();
    let response = layer.layer(App).call(request).await.unwrap();
    assert_eq!(response.status(), 200);
    harness.respond_with(move |now, call| {
        if !call.path.starts_with("/s/") {
            reply_ok(call);
        } else if let Some(status) = status_at(now / 1_000) {
            reply_status(call, status);
        } else {
            let inconsistent = r#"{"authentication_status":{"session_status":"resting"}}"#;
            call.answer(200, inconsistent);
        }
    });
    let mut body = std::pin::pin!(response.into_body());
    loop {
        let frame = std::future::poll_fn(|cx| http_body::Body::poll_frame(body.as_mut(), cx)).await;
        if let Err(error) = frame.unwrap() {
            let denial = error.downcast::<SessionRevoked>().unwrap().denial();
            return (harness.now() / 1_000, denial);
        }
    }
}

/// A short inconsistent status neither cuts a suspended stream nor restarts its limit.
#[tokio::test(start_paused = true)]
async fn inconsistent_status_does_not_shorten_suspension() {
    let status_at: StatusAt = |now| if (50..60).contains(&now) { None } else { Some(Walkaway) };
    let (at, denial) = stream_end(HOUR, THIRTY_SECONDS, status_at).await;
    assert_eq!(denial, Denial::Suspended);
    assert!((3_600..=3_606).contains(&at), "{at}");
}

/// Repeated inconsistent statuses do not extend the limit of a suspension.
#[tokio::test(start_paused = true)]
async fn inconsistent_statuses_do_not_extend_suspension() {
    let status_at: StatusAt = |now| if now % 40 < 20 { Some(Walkaway) } else { None };
    let (at, denial) = stream_end(Duration::from_secs(300), THIRTY_SECONDS, status_at).await;
    assert_eq!(denial, Denial::Suspended);
    assert!((300..=326).contains(&at), "{at}");
}

/// A stream is stream_end at the hold limit, although the walkaway limit is longer.
#[tokio::test(start_paused = true)]
async fn hold_limit_counts_from_first_unknown_status() {
    let status_at: StatusAt = |now| if now < 50 { Some(Walkaway) } else { None };
    let (at, denial) = stream_end(HOUR, THIRTY_SECONDS, status_at).await;
    assert_eq!(denial, Denial::Unavailable);
    assert!((80..=86).contains(&at), "{at}");
}

/// The walkaway limit starts with the first walkaway, although the status was unknown before for longer.
#[tokio::test(start_paused = true)]
async fn suspension_limit_counts_from_first_walkaway() {
    let status_at: StatusAt = |now| if now < 120 { None } else { Some(Walkaway) };
    let (at, denial) = stream_end(THIRTY_SECONDS, HOUR, status_at).await;
    assert_eq!(denial, Denial::Suspended);
    assert!((150..=156).contains(&at), "{at}");
}

/// When the phone returns, the next suspension gets the full limit.
#[tokio::test(start_paused = true)]
async fn phone_return_resets_suspension_limit() {
    let status_at: StatusAt = |now| match now {
        0..40 | 60..100 | 120.. => Some(Walkaway),
        _ => Some(Active),
    };
    let (at, denial) = stream_end(Duration::from_secs(50), THIRTY_SECONDS, status_at).await;
    assert_eq!(denial, Denial::Suspended);
    assert!((170..=176).contains(&at), "{at}");
}
