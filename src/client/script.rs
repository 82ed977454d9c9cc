//! A service that does what a test says, without sockets: calls are heard, and answered when the
//! test answers them, so that time can be paused.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::error::{ClientError, ClientErrorKind};

/// Where a client's calls go. Closed when the last client is gone.
#[derive(Clone, Debug)]
pub(crate) struct Script(mpsc::UnboundedSender<Heard>);

/// A call that waits for its answer.
#[derive(Debug)]
pub(crate) struct Heard {
    /// Path and query.
    pub(crate) path: String,
    answer: oneshot::Sender<Option<Answer>>,
}

/// Status, `Retry-After`, body.
type Answer = (u16, Option<Duration>, String);

impl Script {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Heard>) {
        let (script, heard) = mpsc::unbounded_channel();
        (Self(script), heard)
    }

    pub(super) async fn call(&self, path: &str) -> Result<Answer, ClientError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Heard { path: path.to_owned(), answer }).ok();
        let answered = answered.await.ok().flatten();
        answered.ok_or_else(|| ClientError::new(ClientErrorKind::Unreachable))
    }
}

impl Heard {
    /// Answers; false if the caller has gone.
    pub(crate) fn answer(self, status: u16, body: impl Into<String>) -> bool {
        self.answer.send(Some((status, None, body.into()))).is_ok()
    }

    /// Refuses, and says when to come again.
    pub(crate) fn answer_later(self, status: u16, retry_after: Duration) -> bool {
        self.answer.send(Some((status, Some(retry_after), String::new()))).is_ok()
    }

    /// Breaks the connection; false if the caller has gone.
    pub(crate) fn reset(self) -> bool {
        self.answer.send(None).is_ok()
    }

    /// Whether the caller has gone.
    pub(crate) fn is_given_up(&self) -> bool {
        self.answer.is_closed()
    }

    /// Waits until the caller has gone.
    pub(crate) async fn given_up(&mut self) {
        self.answer.closed().await;
    }
}
