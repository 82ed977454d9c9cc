//! The status of an attempt or a session, at once or as a stream of server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::response::sse::Event;
use futures_util::stream::{self, Stream};

use crate::engine::{Attempt, Engine, Session, SessionWatcher, Watcher};
use crate::protocol::SessionStatus;
use crate::verdict::Verdict;

/// The source of the status that a request reads.
pub(super) enum StatusSource {
    Attempt(Arc<Attempt>),
    Session(Arc<Session>),
    Nothing,
}

/// The status string of a session: the service's status, as far as it is known.
pub(super) fn status_str(session: &Session) -> &'static str {
    match session.verdict() {
        Verdict::Unavailable => "unavailable",
        // The session ended by its age: the service may not know yet.
        Verdict::Ended if !session.lifecycle.status().is_terminal() => {
            SessionStatus::Closed.as_str()
        }
        Verdict::Allow => SessionStatus::Active.as_str(),
        _ => session.lifecycle.status().as_str(),
    }
}

/// The current status, then one event for each change. The stream ends after a final status, or when
/// the engine shuts down.
pub(super) fn status_stream(
    engine: Arc<Engine>,
    source: StatusSource,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    let source = match source {
        StatusSource::Attempt(attempt) => WatchedSource::Attempt(Watcher::new(attempt)),
        StatusSource::Session(session) => WatchedSource::Session(session.watch()),
        StatusSource::Nothing => WatchedSource::Nothing,
    };
    let changes = StatusStream { engine, source, last_sent: "" };
    stream::unfold(changes, |mut changes| async move {
        let status = changes.next().await?;
        changes.last_sent = status;
        // A browser that reconnects sends the id of the last event.
        let event = Event::default().id(status).data(format!("{{\"status\":\"{status}\"}}"));
        Some((Ok(event), changes))
    })
}

struct StatusStream {
    engine: Arc<Engine>,
    source: WatchedSource,
    last_sent: &'static str,
}

enum WatchedSource {
    Attempt(Watcher<Arc<Attempt>>),
    Session(SessionWatcher),
    Nothing,
}

impl StatusStream {
    /// The next status to send. Once the engine shuts down, it is final: no attempt can be approved or
    /// claimed any more, and no session continues.
    async fn next(&mut self) -> Option<&'static str> {
        let engine = self.engine.clone();
        tokio::select! {
            biased;
            status = self.change() => status,
            () = engine.shutdown.wait() => Some(match self.source {
                WatchedSource::Nothing => "none",
                WatchedSource::Session(_) => SessionStatus::Closed.as_str(),
                WatchedSource::Attempt(_) => "timeout",
            }),
        }
    }

    async fn change(&mut self) -> Option<&'static str> {
        let last_sent = self.last_sent;
        match &mut self.source {
            WatchedSource::Nothing => last_sent.is_empty().then_some("none"),
            WatchedSource::Session(_) if is_final(last_sent) => None,
            WatchedSource::Session(watch) => Some(
                watch
                    .wait_for(|session| {
                        Some(status_str(session)).filter(|status| *status != last_sent)
                    })
                    .await,
            ),
            WatchedSource::Attempt(_) if last_sent == "timeout" => None,
            WatchedSource::Attempt(watch) => {
                let engine = &self.engine;
                let (status, session) = watch
                    .wait_for(|attempt| {
                        let has_ended = attempt.is_over(engine.now());
                        // The stream does not follow an ended attempt to its session, unless it has
                        // sent `pending`: another tab has claimed the session meanwhile.
                        let has_session = !has_ended || last_sent == "pending";
                        if let Some(session) = attempt.session().filter(|_| has_session) {
                            return Some((status_str(&session), Some(session)));
                        }
                        let status = if has_ended { "timeout" } else { "pending" };
                        (status != last_sent).then_some((status, None))
                    })
                    .await;
                if let Some(session) = session {
                    self.source = WatchedSource::Session(session.watch());
                }
                Some(status)
            }
        }
    }
}

/// Whether no other status follows this one.
pub(super) fn is_final(status: &str) -> bool {
    status == "none" || SessionStatus::from(status).is_terminal()
}
