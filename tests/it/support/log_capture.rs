//! A `tracing` subscriber that formats each event and span as a line.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::error::Error;
use std::fmt::{Debug, Write as _};

use tracing::dispatcher::DefaultGuard;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{NoSubscriber, set_default};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

/// Calls the function with a line for each event and span, down to the level.
pub(crate) struct LogCapture<F>(pub(crate) Level, pub(crate) F);

/// Captures this thread's events until the guard is dropped. The second subscriber receives
/// nothing: with a single subscriber, `tracing` caches the interest of the thread that first
/// reaches an event.
pub(crate) fn capture<F: Fn(&str) + Send + Sync + 'static>(
    subscriber: LogCapture<F>,
) -> (Dispatch, DefaultGuard) {
    (Dispatch::new(NoSubscriber::new()), set_default(subscriber))
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let _ = write!(self.0, " {field}=");
        let mut next = Some(value);
        while let Some(error) = next {
            let _ = write!(self.0, "{error} {error:?}: ");
            next = error.source();
        }
    }
}

impl<F: Fn(&str) + 'static> Subscriber for LogCapture<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.0
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(format!("span {}", span.metadata().name()));
        span.record(&mut line);
        self.1(&line.0);
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{} {}", event.metadata().level(), event.metadata().target()));
        event.record(&mut line);
        self.1(&line.0);
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line("values".to_owned());
        values.record(&mut line);
        self.1(&line.0);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
