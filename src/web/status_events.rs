//! What a browser is told of its attempt or its session, at once or as it changes.

use std::convert::Infallible;
use std::sync::Arc;

use axum::response::sse::Event;
use futures_util::stream::{self, Stream};

use crate::engine::{Attempt, Engine, Session, SessionWatcher, Watcher};
use crate::protocol::SessionStatus;
use crate::verdict::Verdict;

/// What a request's cookies name.
pub(super) enum StatusSource {
    Attempt(Arc<Attempt>),
    Session(Arc<Session>),
    Nothing,
}

/// The word for a session: what the service states, as far as that is known.
pub(super) fn status_str(session: &Session) -> &'static str {
    match session.verdict() {
        Verdict::Unavailable => "unavailable",
        // Over by its age alone: the service may not know yet.
        Verdict::Ended if !session.lifecycle.status().is_terminal() => {
            SessionStatus::Closed.as_str()
        }
        Verdict::Allow => SessionStatus::Active.as_str(),
        _ => session.lifecycle.status().as_str(),
    }
}

/// The present word, then one for each change, until there will be no more: after a final word, or
/// when the engine is stopped.
pub(super) fn status_stream(
    engine: Arc<Engine>,
    subject: StatusSource,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    let source = match subject {
        StatusSource::Attempt(attempt) => WatchedSource::Attempt(Watcher::new(attempt)),
        StatusSource::Session(session) => WatchedSource::Session(session.watch()),
        StatusSource::Nothing => WatchedSource::Nothing,
    };
    let follower = StatusStream { engine, source, last_sent: "" };
    stream::unfold(follower, |mut follower| async move {
        let word = follower.next().await?;
        follower.last_sent = word;
        // A browser that connects again says which it got last.
        let event = Event::default().id(word).data(format!("{{\"status\":\"{word}\"}}"));
        Some((Ok(event), follower))
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
    /// The next word to tell. Once the engine is stopped, that is the last one: an attempt can't be
    /// approved or claimed any more, and no session goes on.
    async fn next(&mut self) -> Option<&'static str> {
        let engine = self.engine.clone();
        tokio::select! {
            biased;
            word = self.change() => word,
            () = engine.shutdown.wait() => Some(match self.source {
                WatchedSource::Nothing => "none",
                WatchedSource::Session(_) => SessionStatus::Closed.as_str(),
                WatchedSource::Attempt(_) => "timeout",
            }),
        }
    }

    async fn change(&mut self) -> Option<&'static str> {
        let told = self.last_sent;
        match &mut self.source {
            WatchedSource::Nothing => (told.is_empty()).then_some("none"),
            WatchedSource::Session(_) if is_final(told) => None,
            WatchedSource::Session(watch) => Some(
                watch
                    .wait_for(|session| Some(status_str(session)).filter(|word| *word != told))
                    .await,
            ),
            WatchedSource::Attempt(_) if told == "timeout" => None,
            WatchedSource::Attempt(watch) => {
                let engine = &self.engine;
                let (word, session) = watch
                    .wait_for(|attempt| {
                        let is_over = attempt.is_over(engine.now());
                        // One that was over before is not followed to its session. What was told of
                        // as pending is, though another tab has claimed it and gone on meanwhile.
                        let has_session = !is_over || told == "pending";
                        if let Some(session) = attempt.session().filter(|_| has_session) {
                            return Some((status_str(&session), Some(session)));
                        }
                        let word = if is_over { "timeout" } else { "pending" };
                        (word != told).then_some((word, None))
                    })
                    .await;
                if let Some(session) = session {
                    self.source = WatchedSource::Session(session.watch());
                }
                Some(word)
            }
        }
    }
}

/// Whether no other word follows this one.
pub(super) fn is_final(word: &str) -> bool {
    word == "none" || SessionStatus::from_wire(word).is_terminal()
}
