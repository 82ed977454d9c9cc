//! How long what is in flight is held back: while the phone is away, and while the status is not
//! known. T180: each counts its own time.

use std::time::Duration;

use http::Request;
use tower_layer::Layer as _;
use tower_service::Service as _;

use super::harness::{App, Harness, reply_ok, reply_status};
use crate::layer::SessionRevoked;
use crate::protocol::SessionStatus::{Active, Walkaway};
use crate::verdict::Denial;

/// What the service says at a time, in seconds: a status, or something odd.
type Story = fn(u64) -> Option<crate::SessionStatus>;

const HOUR: Duration = Duration::from_secs(3_600);
const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// When a stream is cut, in seconds, and why, under these limits and this story.
async fn cut(away: Duration, unknown: Duration, story: Story) -> (u64, Denial) {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    let layer = stage.ac.layer().walkaway(crate::Walkaway::Hold(away)).hold_limit(unknown);
    let bearer = format!("Bearer {}", alice.expose());
    let request = Request::get("/stream").header("authorization", bearer).body(()).unwrap();
    let response = layer.layer(App).call(request).await.unwrap();
    assert_eq!(response.status(), 200);
    stage.respond_with(move |now, call| {
        if !call.path.starts_with("/s/") {
            reply_ok(call);
        } else if let Some(status) = story(now / 1_000) {
            reply_status(call, status);
        } else {
            let odd = r#"{"authentication_status":{"session_status":"resting"}}"#;
            call.answer(200, odd);
        }
    });
    let mut body = std::pin::pin!(response.into_body());
    loop {
        let frame = std::future::poll_fn(|cx| http_body::Body::poll_frame(body.as_mut(), cx)).await;
        if let Err(error) = frame.unwrap() {
            let denial = error.downcast::<SessionRevoked>().unwrap().denial();
            return (stage.now() / 1_000, denial);
        }
    }
}

/// A moment with an odd status neither cuts what waits for the phone, nor begins its hour anew.
#[tokio::test(start_paused = true)]
async fn odd_status_does_not_shorten_a_suspension() {
    let story: Story = |now| if (50..60).contains(&now) { None } else { Some(Walkaway) };
    let (at, denial) = cut(HOUR, HALF_A_MINUTE, story).await;
    assert_eq!(denial, Denial::Suspended);
    assert!((3_600..=3_606).contains(&at), "{at}");
}

/// However often the status is not known for a while, the phone is not away for longer.
#[tokio::test(start_paused = true)]
async fn odd_statuses_do_not_lengthen_a_suspension() {
    let story: Story = |now| if now % 40 < 20 { Some(Walkaway) } else { None };
    let (at, denial) = cut(Duration::from_secs(300), HALF_A_MINUTE, story).await;
    assert_eq!(denial, Denial::Suspended);
    assert!((300..=326).contains(&at), "{at}");
}

/// What is not known for longer than it may be is cut, although the phone might be away for longer.
#[tokio::test(start_paused = true)]
async fn unknown_status_counts_from_its_own_beginning() {
    let story: Story = |now| if now < 50 { Some(Walkaway) } else { None };
    let (at, denial) = cut(HOUR, HALF_A_MINUTE, story).await;
    assert_eq!(denial, Denial::Unavailable);
    assert!((80..=86).contains(&at), "{at}");
}

/// The phone is found to be away after the status was not known for longer than that may take.
#[tokio::test(start_paused = true)]
async fn suspension_counts_from_its_own_beginning() {
    let story: Story = |now| if now < 120 { None } else { Some(Walkaway) };
    let (at, denial) = cut(HALF_A_MINUTE, HOUR, story).await;
    assert_eq!(denial, Denial::Suspended);
    assert!((150..=156).contains(&at), "{at}");
}

/// A phone that comes back ends the suspension: the next one has all its time.
#[tokio::test(start_paused = true)]
async fn return_of_the_phone_begins_anew() {
    let story: Story = |now| match now {
        0..40 | 60..100 | 120.. => Some(Walkaway),
        _ => Some(Active),
    };
    let (at, denial) = cut(Duration::from_secs(50), HALF_A_MINUTE, story).await;
    assert_eq!(denial, Denial::Suspended);
    assert!((170..=176).contains(&at), "{at}");
}
