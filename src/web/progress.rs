//! What a browser is told of its attempt or its session, at once or as it changes.

use std::convert::Infallible;
use std::sync::Arc;

use axum::response::sse::Event;
use futures_util::stream::{self, Stream};

use crate::engine::{Attempt, Engine, Session, SessionWatcher, Watcher};
use crate::protocol::SessionStatus;
use crate::verdict::Verdict;

/// What a request's cookies name.
pub(super) enum Subject {
    Attempt(Arc<Attempt>),
    Session(Arc<Session>),
    Nothing,
}

/// The word for a session: what the service states, as far as that is known.
pub(super) fn word(session: &Session) -> &'static str {
    match session.verdict() {
        Verdict::Unavailable => "unavailable",
        // Over by its age alone: the service may not know yet.
        Verdict::Ended if !session.status().is_terminal() => SessionStatus::Closed.as_str(),
        Verdict::Allow => SessionStatus::Active.as_str(),
        _ => session.status().as_str(),
    }
}

/// The present word, then one for each change, until there will be no more: after a final word, or
/// when the engine is stopped.
pub(super) fn follow(
    engine: Arc<Engine>,
    subject: Subject,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    let source = match subject {
        Subject::Attempt(attempt) => Source::Attempt(Watcher::new(attempt)),
        Subject::Session(session) => Source::Session(session.watch()),
        Subject::Nothing => Source::Nothing,
    };
    let follower = Follower { engine, source, told: "" };
    stream::unfold(follower, |mut follower| async move {
        let word = follower.next().await?;
        follower.told = word;
        // A browser that connects again says which it got last.
        let event = Event::default().id(word).data(format!("{{\"status\":\"{word}\"}}"));
        Some((Ok(event), follower))
    })
}

struct Follower {
    engine: Arc<Engine>,
    source: Source,
    told: &'static str,
}

enum Source {
    Attempt(Watcher<Arc<Attempt>>),
    Session(SessionWatcher),
    Nothing,
}

impl Follower {
    /// The next word to tell. Once the engine is stopped, that is the last one: an attempt can't be
    /// approved or claimed any more, and no session goes on.
    async fn next(&mut self) -> Option<&'static str> {
        let engine = self.engine.clone();
        tokio::select! {
            biased;
            word = self.change() => word,
            () = engine.wait_shutdown() => Some(match self.source {
                Source::Nothing => "none",
                Source::Session(_) => SessionStatus::Closed.as_str(),
                Source::Attempt(_) => "timeout",
            }),
        }
    }

    async fn change(&mut self) -> Option<&'static str> {
        let told = self.told;
        match &mut self.source {
            Source::Nothing => (told.is_empty()).then_some("none"),
            Source::Session(_) if is_final(told) => None,
            Source::Session(watch) => Some(
                watch.wait_for(|session| Some(word(session)).filter(|word| *word != told)).await,
            ),
            Source::Attempt(_) if told == "timeout" => None,
            Source::Attempt(watch) => {
                let engine = &self.engine;
                let (word, session) = watch
                    .wait_for(|attempt| {
                        let is_over = attempt.is_over(engine.now());
                        // One that was over before is not followed to its session. What was told of
                        // as pending is, though another tab has claimed it and gone on meanwhile.
                        let has_session = !is_over || told == "pending";
                        if let Some(session) = attempt.session().filter(|_| has_session) {
                            return Some((word(&session), Some(session)));
                        }
                        let word = if is_over { "timeout" } else { "pending" };
                        (word != told).then_some((word, None))
                    })
                    .await;
                if let Some(session) = session {
                    self.source = Source::Session(session.watch());
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
