use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use super::framing::{Framing, GrpcFraming};
use super::grpc;
use crate::engine::{Action, Session, StreamGuard};
use crate::protocol::SessionStatus;
use crate::verdict::Denial;

/// A boxed error that can be sent between threads.
pub type BoxError = Box<dyn Error + Send + Sync>;

pin_project! {
    /// A response body that ends with the session that allowed its request.
    ///
    /// While the session is allowed, the body forwards the frames of the inner body. While the
    /// session's status is unknown, it holds frames back. When the session ends, it drops the inner
    /// body and ends as the content type permits: server-sent events end cleanly after a last event
    /// `session-ended`, gRPC ends between two messages with a status, and any other body ends with
    /// [`SessionRevoked`], so that no partial file looks complete.
    ///
    /// An `axum::body::Body` of at most 64 KiB that is complete when the response head is sent is
    /// not guarded.
    pub struct GateBody<B> {
        #[pin]
        inner: Option<B>,
        state: State,
    }
}

enum State {
    /// Forwards the inner body without a guard.
    Passthrough,
    Guarded(Guarded),
    /// Was cut in the middle of a gRPC message, and forwards the rest of that message.
    DrainingMessage(DrainingMessage),
    /// The end of a denial, of a buffered response or of a body that was cut.
    FinalFrame(FinalFrame),
}

/// The last frame. Smaller than `Frame<Bytes>`.
enum FinalFrame {
    Data(Bytes),
    Trailers(Box<HeaderMap>),
    Both(Box<(Bytes, HeaderMap)>),
    /// The frame was taken, or there is none.
    Done,
}

impl FinalFrame {
    fn take(&mut self) -> Option<Frame<Bytes>> {
        match std::mem::replace(self, Self::Done) {
            Self::Data(data) => Some(Frame::data(data)),
            Self::Trailers(trailers) => Some(Frame::trailers(*trailers)),
            Self::Both(both) => {
                let (data, trailers) = *both;
                *self = Self::Trailers(Box::new(trailers));
                Some(Frame::data(data))
            }
            Self::Done => None,
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Both(both) => both.0.len(),
            Self::Trailers(_) | Self::Done => 0,
        }
    }
}

struct Guarded {
    guard: StreamGuard,
    framing: Framing,
}

struct DrainingMessage {
    grpc: GrpcFraming,
    web: bool,
    session: Arc<Session>,
    denial: Denial,
    limit: Pin<Box<Sleep>>,
}

/// Maximum duration in which a partially sent gRPC message may be completed.
const MESSAGE_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

impl<B> GateBody<B> {
    /// A body of these bytes, without a guard.
    pub(super) fn buffered(bytes: Bytes) -> Self {
        let last = if bytes.is_empty() { FinalFrame::Done } else { FinalFrame::Data(bytes) };
        Self { inner: None, state: State::FinalFrame(last) }
    }

    /// A body of these bytes and trailers, without a guard.
    pub(super) fn buffered_with_trailers(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        let last = match trailers {
            None => return Self::buffered(data),
            Some(trailers) if data.is_empty() => FinalFrame::Trailers(Box::new(trailers)),
            Some(trailers) => FinalFrame::Both(Box::new((data, trailers))),
        };
        Self { inner: None, state: State::FinalFrame(last) }
    }

    pub(super) fn passthrough(inner: B) -> Self {
        Self { inner: Some(inner), state: State::Passthrough }
    }

    /// A body that `guard` holds and cuts. `framing` tells where it can be cut.
    pub(super) fn guarded(inner: B, framing: Framing, guard: StreamGuard) -> Self
    where
        B: Body,
    {
        if inner.is_end_stream() {
            return Self::passthrough(inner);
        }
        Self { inner: Some(inner), state: State::Guarded(Guarded { guard, framing }) }
    }
}

/// An empty body without a guard, for the responses of layers outside the gate, such as a time
/// limit or CORS.
impl<B> Default for GateBody<B> {
    fn default() -> Self {
        Self::buffered(Bytes::new())
    }
}

impl<B> Body for GateBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        loop {
            let denial = match this.state {
                State::FinalFrame(last) => return Poll::Ready(last.take().map(Ok)),
                State::Passthrough => {
                    let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(None) };
                    return inner.poll_frame(cx).map_err(Into::into);
                }
                // The most frequent case. In place, so that each frame is moved once.
                State::Guarded(Guarded { guard, framing }) => {
                    let Some(mut inner) = this.inner.as_mut().as_pin_mut() else {
                        return Poll::Ready(None);
                    };
                    let (mut registered, mut inner_is_pending) = (false, false);
                    let mut action = guard.check_cached();
                    loop {
                        match action {
                            // The inner body has the waker already; a second poll would return the
                            // same.
                            Action::Forward if inner_is_pending => return Poll::Pending,
                            Action::Forward => match inner.as_mut().poll_frame(cx) {
                                Poll::Ready(Some(Ok(frame))) => {
                                    framing.observe(&frame);
                                    return Poll::Ready(Some(Ok(frame)));
                                }
                                Poll::Ready(end) => {
                                    *this.state = State::FinalFrame(FinalFrame::Done);
                                    return Poll::Ready(end.map(|end| end.map_err(Into::into)));
                                }
                                Poll::Pending if registered => return Poll::Pending,
                                Poll::Pending => inner_is_pending = true,
                            },
                            // A body that has been forwarded completely is neither held nor cut.
                            Action::Hold(..) | Action::Cut(_) if inner.is_end_stream() => {
                                *this.state = State::FinalFrame(FinalFrame::Done);
                                return Poll::Ready(None);
                            }
                            Action::Hold(limit, denial) => {
                                if guard.hold(limit, denial, cx).is_ready() {
                                    break denial;
                                }
                                if registered {
                                    return Poll::Pending;
                                }
                            }
                            Action::Cut(denial) => break denial,
                        }
                        // Registers the waker now that there is something to wait for, then checks
                        // again.
                        action = guard.register_and_check(cx);
                        registered = true;
                    }
                }
                State::DrainingMessage(draining) => match draining.poll(this.inner.as_mut(), cx) {
                    DrainStep::Frame(polled) => return polled,
                    DrainStep::Terminate(denial) => denial,
                },
            };
            if let Some(error) = terminate(this.inner.as_mut(), this.state, denial) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::FinalFrame(last) => matches!(last, FinalFrame::Done),
            State::DrainingMessage(_) => false,
            State::Passthrough | State::Guarded(_) => {
                self.inner.as_ref().is_none_or(Body::is_end_stream)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.state, &self.inner) {
            (State::FinalFrame(last), _) => SizeHint::with_exact(last.length() as u64),
            (_, Some(inner)) => inner.size_hint(),
            (_, None) => SizeHint::with_exact(0),
        }
    }
}

/// Ends a body as its framing permits: by the frames that are left in `state`, or by the returned
/// error.
#[cold]
fn terminate<B>(
    mut inner: Pin<&mut Option<B>>,
    state: &mut State,
    denial: Denial,
) -> Option<BoxError> {
    tracing::debug!(%denial, "response cut");
    let previous = std::mem::replace(state, State::FinalFrame(FinalFrame::Done));
    let (termination, session) = match previous {
        State::Guarded(Guarded { framing, guard }) => {
            (framing.termination(), guard.session().clone())
        }
        State::DrainingMessage(DrainingMessage { grpc, web, session, .. }) => {
            // Otherwise the message took too long, or the body ended in the middle of it.
            let is_between_messages = grpc.is_between_messages();
            (
                if is_between_messages {
                    Termination::GrpcStatus { web }
                } else {
                    Termination::Error
                },
                session,
            )
        }
        State::Passthrough | State::FinalFrame(_) => {
            unreachable!("a body without a guard is not cut")
        }
    };
    let mut error = None;
    match termination {
        Termination::DrainMessage { grpc, web } => {
            let limit = Box::pin(sleep(MESSAGE_DRAIN_TIMEOUT));
            *state = State::DrainingMessage(DrainingMessage { grpc, web, session, denial, limit });
            // The inner body still produces the rest of a message.
            return None;
        }
        Termination::SseEvent => {
            *state = State::FinalFrame(FinalFrame::Data(session_ended_event(
                denial,
                session.lifecycle.status(),
            )));
        }
        Termination::GrpcStatus { web } => {
            let status = grpc_trailers(denial, session.retry_after(), web);
            *state = State::FinalFrame(status);
        }
        Termination::Clean => {}
        Termination::Error => error = Some(SessionRevoked::boxed(denial)),
    }
    // Dropped at once, so that the producer of the body notices.
    inner.set(None);
    error
}

/// The result of polling a body that completes a message.
enum DrainStep {
    Frame(Poll<Option<Result<Frame<Bytes>, BoxError>>>),
    Terminate(Denial),
}

impl DrainingMessage {
    /// Forwards the rest of the message and nothing after it, then terminates.
    fn poll<B>(&mut self, inner: Pin<&mut Option<B>>, cx: &mut Context<'_>) -> DrainStep
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        if self.grpc.is_between_messages() {
            return DrainStep::Terminate(self.denial);
        }
        // Polled first: a body that is always ready would keep the timeout from being checked.
        if self.limit.as_mut().poll(cx).is_ready() {
            return DrainStep::Terminate(self.denial);
        }
        let Some(inner) = inner.as_pin_mut() else { return DrainStep::Terminate(self.denial) };
        let polled = match inner.poll_frame(cx).map_err(Into::into) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data(),
            Poll::Ready(_) => return DrainStep::Terminate(self.denial),
            Poll::Pending => return DrainStep::Frame(Poll::Pending),
        };
        let Ok(mut data) = polled else { return DrainStep::Terminate(self.denial) };
        data.truncate(self.grpc.bytes_left_in_message(&data));
        self.grpc.observe(&data);
        DrainStep::Frame(Poll::Ready(Some(Ok(Frame::data(data)))))
    }
}

/// How a body that is cut ends.
enum Termination {
    /// After a last event.
    SseEvent,
    /// With a gRPC status, in trailers or, for grpc-web, in a last message.
    GrpcStatus { web: bool },
    /// After the rest of the message that is partially sent.
    DrainMessage { grpc: GrpcFraming, web: bool },
    /// Without a marker, as if it were complete.
    Clean,
    /// With an error, so that no reader takes it for complete.
    Error,
}

impl Framing {
    fn termination(self) -> Termination {
        match self {
            Self::Sse(sse) if sse.is_between_events() => Termination::SseEvent,
            Self::Sse(_) | Self::EncodedSse => Termination::Clean,
            Self::Grpc(grpc) if grpc.is_between_messages() => {
                Termination::GrpcStatus { web: false }
            }
            Self::GrpcWeb(grpc) if grpc.is_between_messages() => {
                Termination::GrpcStatus { web: true }
            }
            Self::Grpc(grpc) => Termination::DrainMessage { grpc, web: false },
            Self::GrpcWeb(grpc) => Termination::DrainMessage { grpc, web: true },
            Self::Other => Termination::Error,
        }
    }
}

/// The frame with the gRPC status of a stream that is cut.
fn grpc_trailers(denial: Denial, retry_after: Duration, web: bool) -> FinalFrame {
    let status = grpc::status(denial, retry_after, &[]);
    if !web {
        return FinalFrame::Trailers(Box::new(status.into_iter().collect()));
    }
    let mut encoded = Vec::new();
    for (name, value) in status {
        encoded.extend_from_slice(name.as_str().as_bytes());
        encoded.extend_from_slice(b": ");
        encoded.extend_from_slice(value.as_bytes());
        encoded.extend_from_slice(b"\r\n");
    }
    // In grpc-web, trailers are a message whose flag byte has its highest bit set (gRPC,
    // PROTOCOL-WEB).
    let mut frame = vec![0x80];
    frame.extend_from_slice(&(encoded.len() as u32).to_be_bytes());
    frame.extend_from_slice(&encoded);
    FinalFrame::Data(frame.into())
}

/// The last event of an event stream that is cut.
fn session_ended_event(denial: Denial, status: SessionStatus) -> Bytes {
    let (event, status) = match denial {
        Denial::Suspended => ("suspended", "walkaway"),
        Denial::Unavailable => ("unavailable", "unavailable"),
        _ => ("ended", status.as_str()),
    };
    format!("event: session-{event}\ndata: {{\"status\":\"{status}\"}}\n\n").into()
}

impl<B> fmt::Debug for GateBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateBody").finish_non_exhaustive()
    }
}

/// The error that ends a response body, an upload or a socket whose session is no longer allowed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionRevoked {
    denial: Denial,
}

impl SessionRevoked {
    pub(crate) fn boxed(denial: Denial) -> BoxError {
        Box::new(Self { denial })
    }

    /// Why the session is no longer allowed.
    #[must_use]
    pub fn denial(&self) -> Denial {
        self.denial
    }
}

crate::error_debug::debug_as_message!(SessionRevoked);

impl fmt::Display for SessionRevoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the session is no longer allowed: {}", self.denial)
    }
}

impl Error for SessionRevoked {}
