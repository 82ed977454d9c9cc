use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::verdict::Denial;

/// How long a response has been held, and when it is cut. Each reason counts its own time: how long
/// the phone is away is unrelated to how long the status is unknown.
#[derive(Debug)]
pub(crate) struct HoldTimer {
    /// When the phone walked away. An unknown status in between does not reset it.
    suspended_since: Option<Instant>,
    /// When the status became unknown.
    unavailable_since: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
}

impl HoldTimer {
    /// Holds for this reason; ready when the reason has lasted for `limit`.
    pub(crate) fn poll(
        held: &mut Option<Box<Self>>,
        limit: Duration,
        reason: Denial,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let hold = held.get_or_insert_with(|| {
            let sleep = Box::pin(sleep(limit));
            Box::new(Self { suspended_since: None, unavailable_since: None, sleep })
        });
        let since = if reason == Denial::Suspended {
            // The status is known again: the phone is away.
            hold.unavailable_since = None;
            &mut hold.suspended_since
        } else {
            &mut hold.unavailable_since
        };
        let ends = *since.get_or_insert_with(crate::clock::monotonic_now) + limit;
        if hold.sleep.deadline() != ends {
            hold.sleep.as_mut().reset(ends);
        }
        hold.sleep.as_mut().poll(cx)
    }
}
