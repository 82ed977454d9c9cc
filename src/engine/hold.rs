use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// How long something has been held back, and may be.
#[derive(Debug)]
pub(crate) struct Hold {
    limit: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Hold {
    /// Held from now on, or since `held` began; ready when that is too long.
    pub(crate) fn poll(
        held: &mut Option<Box<Self>>,
        limit: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let hold =
            held.get_or_insert_with(|| Box::new(Self { limit, sleep: Box::pin(sleep(limit)) }));
        if hold.limit != limit {
            // For another reason now; since when, does not change.
            let begun = hold.sleep.deadline() - hold.limit;
            hold.limit = limit;
            hold.sleep.as_mut().reset(begun + limit);
        }
        hold.sleep.as_mut().poll(cx)
    }
}
