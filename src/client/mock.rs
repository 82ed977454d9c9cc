//! A service that a test scripts, without sockets: the test receives calls and responds to them, so
//! that time can be paused.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::error::{ClientError, ClientErrorKind};

/// The channel of a client's calls. Closed when the last client is gone.
#[derive(Clone, Debug)]
pub(crate) struct ScriptedUpstream(mpsc::UnboundedSender<ReceivedCall>);

/// A call that waits for its response.
#[derive(Debug)]
pub(crate) struct ReceivedCall {
    /// Path and query.
    pub(crate) path: String,
    answer: oneshot::Sender<Option<ScriptedReply>>,
}

/// Status, `Retry-After`, body.
type ScriptedReply = (u16, Option<Duration>, String);

impl ScriptedUpstream {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<ReceivedCall>) {
        let (script, heard) = mpsc::unbounded_channel();
        (Self(script), heard)
    }

    pub(super) async fn call(&self, path: &str) -> Result<ScriptedReply, ClientError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(ReceivedCall { path: path.to_owned(), answer }).ok();
        let answered = answered.await.ok().flatten();
        answered.ok_or_else(|| ClientError::new(ClientErrorKind::Unreachable))
    }
}

impl ReceivedCall {
    /// Responds; false if the caller has gone.
    pub(crate) fn answer(self, status: u16, body: impl Into<String>) -> bool {
        self.answer.send(Some((status, None, body.into()))).is_ok()
    }

    /// Rejects, with a `Retry-After`.
    pub(crate) fn reply_retry_after(self, status: u16, retry_after: Duration) -> bool {
        self.answer.send(Some((status, Some(retry_after), String::new()))).is_ok()
    }

    /// Breaks the connection; false if the caller has gone.
    pub(crate) fn reset(self) -> bool {
        self.answer.send(None).is_ok()
    }

    /// Whether the caller has gone.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.answer.is_closed()
    }

    /// Waits until the caller has gone.
    pub(crate) async fn cancelled(&mut self) {
        self.answer.closed().await;
    }
}
