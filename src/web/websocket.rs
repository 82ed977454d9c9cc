//! WebSockets that close with their session.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Error;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use axum::http::HeaderValue;
use futures_util::stream::FusedStream;
use futures_util::{Sink, SinkExt, Stream, StreamExt as _};
use tokio::time::{Sleep, sleep};

use crate::engine::{ActiveSession, GuardState, SessionGuard};
use crate::layer::SessionRevoked;
use crate::verdict::Denial;

/// How long the guard waits for a client to take the close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A WebSocket that closes with its session, by code 1008 (policy violation, RFC 6455).
///
/// While the session's status is not known, the socket receives and sends nothing. When the session
/// ends, the socket closes: [`GuardedSocket::recv`] returns `None` and [`GuardedSocket::send`] fails.
///
/// Like axum's socket it is a `Stream` and a `Sink` of messages, so `StreamExt::split` returns two
/// halves for two tasks. Each half closes the socket by itself. The sink queues one message, and
/// accepts the next one after a flush. The session stays open, and the poller polls it, until both
/// halves are dropped: end the sending task when the receiving task is done.
///
/// ```
/// use axum::extract::ws::WebSocketUpgrade;
/// use axum::response::Response;
/// use futures_util::StreamExt;
/// use tower_activeconnect::ActiveSession;
///
/// async fn echo(session: ActiveSession, upgrade: WebSocketUpgrade) -> Response {
///     upgrade.on_upgrade(|socket| async move {
///         let (sink, messages) = session.guard_socket(socket).split();
///         messages.forward(sink).await.ok();
///     })
/// }
/// ```
pub struct GuardedSocket {
    socket: WebSocket,
    receiver: GuardedSide,
    sender: GuardedSide,
    /// The message that waits to be sent.
    queued: Option<Message>,
    /// The client may have received a part of a message.
    flushing: bool,
    close_queued: bool,
    /// Why the socket has closed.
    closed: Option<Denial>,
}

/// The state of one half: the receiving and the sending task may differ.
struct GuardedSide {
    guard: SessionGuard,
    close_deadline: Option<Pin<Box<Sleep>>>,
}

impl GuardedSide {
    fn new(guard: SessionGuard) -> Self {
        Self { guard, close_deadline: None }
    }
}

impl ActiveSession {
    /// Binds a WebSocket to the session.
    ///
    /// ```
    /// use axum::extract::ws::{Message, WebSocketUpgrade};
    /// use axum::response::Response;
    /// use tower_activeconnect::ActiveSession;
    ///
    /// async fn echo(session: ActiveSession, upgrade: WebSocketUpgrade) -> Response {
    ///     upgrade.on_upgrade(|socket| async move {
    ///         let mut socket = session.guard_socket(socket);
    ///         while let Some(Ok(Message::Text(text))) = socket.recv().await {
    ///             if socket.send(Message::Text(text)).await.is_err() {
    ///                 return;
    ///             }
    ///         }
    ///     })
    /// }
    /// ```
    #[must_use]
    pub fn guard_socket(&self, socket: WebSocket) -> GuardedSocket {
        let guard = self.guard();
        GuardedSocket {
            socket,
            receiver: GuardedSide::new(guard.clone()),
            sender: GuardedSide::new(guard),
            queued: None,
            flushing: false,
            close_queued: false,
            closed: None,
        }
    }
}

impl GuardedSocket {
    /// Receives the next message; `None` when the client has closed or the session has ended.
    ///
    /// Cancel safe: dropping the future loses no message.
    pub async fn recv(&mut self) -> Option<Result<Message, Error>> {
        self.next().await
    }

    /// Sends a message.
    ///
    /// Not cancel safe: a message whose future is dropped may be sent with the next one.
    ///
    /// # Errors
    ///
    /// When the connection is closed or the session has ended. In the latter case the source is
    /// [`SessionRevoked`].
    pub async fn send(&mut self, message: Message) -> Result<(), Error> {
        SinkExt::send(self, message).await
    }

    /// The subprotocol that the server has chosen.
    #[must_use]
    pub fn protocol(&self) -> Option<&HeaderValue> {
        self.socket.protocol()
    }

    /// Sends and flushes the queued message, if the session allows it.
    fn poll_send_queued(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if let Some(denial) = self.closed {
            return Poll::Ready(Err(session_ended(denial)));
        }
        match self.sender.guard.poll_guard(cx) {
            GuardState::Cut(denial) => {
                ready!(self.poll_end(denial, |socket| &mut socket.sender, cx));
                return Poll::Ready(Err(session_ended(denial)));
            }
            GuardState::Hold if self.queued.is_some() => return Poll::Pending,
            GuardState::Hold | GuardState::Forward => {}
        }
        if self.queued.is_some() {
            ready!(self.socket.poll_ready_unpin(cx))?;
        }
        if let Some(message) = self.queued.take() {
            self.flushing = true;
            self.socket.start_send_unpin(message)?;
        }
        if self.flushing {
            ready!(self.socket.poll_flush_unpin(cx))?;
            self.flushing = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Closes the socket because of the session. Ready when the close frame is sent, or when
    /// [`CLOSE_TIMEOUT`] has elapsed.
    fn poll_end(
        &mut self,
        denial: Denial,
        half: fn(&mut Self) -> &mut GuardedSide,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        self.queued = None;
        // The rest of a partial message would precede the close frame: skip the frame then.
        if !self.flushing {
            let deadline =
                half(self).close_deadline.get_or_insert_with(|| Box::pin(sleep(CLOSE_TIMEOUT)));
            if deadline.as_mut().poll(cx).is_pending() {
                ready!(self.poll_close_frame(denial, cx));
            }
        }
        self.closed = Some(denial);
        Poll::Ready(())
    }

    /// Ready when the close frame is sent or the connection is closed.
    fn poll_close_frame(&mut self, denial: Denial, cx: &mut Context<'_>) -> Poll<()> {
        if !self.close_queued {
            if ready!(self.socket.poll_ready_unpin(cx)).is_err() {
                return Poll::Ready(());
            }
            let reason = denial.as_str().into();
            let frame = Message::Close(Some(CloseFrame { code: close_code::POLICY, reason }));
            self.close_queued = true;
            if self.socket.start_send_unpin(frame).is_err() {
                return Poll::Ready(());
            }
        }
        self.socket.poll_flush_unpin(cx).map(drop)
    }
}

impl Stream for GuardedSocket {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.closed.is_some() {
            return Poll::Ready(None);
        }
        match self.receiver.guard.poll_guard(cx) {
            GuardState::Forward => self.socket.poll_next_unpin(cx),
            GuardState::Hold => Poll::Pending,
            GuardState::Cut(denial) => {
                self.poll_end(denial, |socket| &mut socket.receiver, cx).map(|()| None)
            }
        }
    }
}

impl FusedStream for GuardedSocket {
    fn is_terminated(&self) -> bool {
        self.closed.is_some() || self.socket.is_terminated()
    }
}

impl Sink<Message> for GuardedSocket {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_send_queued(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        if let Some(denial) = self.closed {
            return Err(session_ended(denial));
        }
        self.queued = Some(message);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_send_queued(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.poll_send_queued(cx))?;
        self.socket.poll_close_unpin(cx)
    }
}

fn session_ended(denial: Denial) -> Error {
    Error::new(SessionRevoked::boxed(denial))
}

impl fmt::Debug for GuardedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedSocket").finish_non_exhaustive()
    }
}
