use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::verdict::Denial;

/// Since when something has been held back, and until when it may be. Each reason counts its own
/// time: how long the phone is away has nothing to do with how long the status is not known.
#[derive(Debug)]
pub(crate) struct HoldTimer {
    /// Since when the phone has been away, as far as is known: what is not known in between does
    /// not bring it back.
    suspended_since: Option<Instant>,
    /// Since when the status has not been known.
    unavailable_since: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
}

impl HoldTimer {
    /// Held for this reason from now on, or since that began; ready when that is longer than
    /// `limit`.
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
            // It is known again that the phone is away.
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
