//! A subscriber of `tracing` that writes everything down.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::error::Error;
use std::fmt::{Debug, Write as _};

use tracing::dispatcher::DefaultGuard;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{NoSubscriber, set_default};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

/// Gives each event and span, down to this level, as a line.
pub(crate) struct Trace<F>(pub(crate) Level, pub(crate) F);

/// Hears this thread, until it is dropped. The second subscriber hears nothing: with one alone,
/// `tracing` asks whichever thread comes to an event first whether anybody ever wants it.
pub(crate) fn hear<F: Fn(&str) + Send + Sync + 'static>(
    trace: Trace<F>,
) -> (Dispatch, DefaultGuard) {
    (Dispatch::new(NoSubscriber::new()), set_default(trace))
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

impl<F: Fn(&str) + 'static> Subscriber for Trace<F> {
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
