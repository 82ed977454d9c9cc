use std::fmt;
use std::time::Duration;

use axum::Error;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};

use crate::engine::{ActiveSession, SessionGuard};
use crate::layer::SessionEnded;
use crate::verdict::Denial;

/// How long a client may take to accept that the socket closes.
const GOODBYE: Duration = Duration::from_secs(1);

/// A WebSocket that closes with its session, by code 1008 (policy violation, RFC 6455).
///
/// While the session's status is not known nothing is received or sent; when it ends, the socket
/// is closed, [`GuardedSocket::recv`] gives `None` and [`GuardedSocket::send`] fails.
pub struct GuardedSocket {
    socket: WebSocket,
    guard: SessionGuard,
    over: bool,
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
        GuardedSocket { socket, guard: self.guard(), over: false }
    }
}

impl GuardedSocket {
    /// The next message; `None` when the client has closed, or the session is over.
    ///
    /// Cancel safe: no message is lost by dropping the future.
    pub async fn recv(&mut self) -> Option<Result<Message, Error>> {
        while !self.over {
            if let Err(denial) = self.guard.passing().await {
                self.close(denial).await;
                break;
            }
            tokio::select! {
                biased;
                _ = self.guard.revoked() => {}
                message = self.socket.recv() => return message,
            }
        }
        None
    }

    /// Sends a message.
    ///
    /// # Errors
    ///
    /// When the connection is gone, or the session is over; the source is then [`SessionEnded`].
    pub async fn send(&mut self, message: Message) -> Result<(), Error> {
        let ended = |denial| Error::new(SessionEnded::boxed(denial));
        if self.over {
            return Err(ended(Denial::Ended));
        }
        if let Err(denial) = self.guard.passing().await {
            self.close(denial).await;
            return Err(ended(denial));
        }
        let mut begun = false;
        let sending = async {
            begun = true;
            self.socket.send(message).await
        };
        let denial = tokio::select! {
            biased;
            denial = self.guard.cut() => denial,
            sent = sending => return sent,
        };
        // A client that does not read may have half a message; it gets no close frame then.
        if !begun {
            self.close(denial).await;
        }
        self.over = true;
        Err(ended(denial))
    }

    async fn close(&mut self, denial: Denial) {
        self.over = true;
        let reason = denial.name().into();
        let frame = Message::Close(Some(CloseFrame { code: close_code::POLICY, reason }));
        tokio::time::timeout(GOODBYE, self.socket.send(frame)).await.ok();
    }
}

impl fmt::Debug for GuardedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedSocket").finish_non_exhaustive()
    }
}
