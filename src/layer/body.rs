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

/// Any error that can go between threads.
pub type BoxError = Box<dyn Error + Send + Sync>;

pin_project! {
    /// A response body that ends with the session that it was let through for.
    ///
    /// While the session is active it forwards the inner body. When the session's status is not
    /// known it holds frames back; when the session ends it is cut, in the way of its content:
    /// server-sent events end cleanly after a last event `session-ended`, gRPC ends between two
    /// messages with a status, anything else ends in [`SessionRevoked`] so that no half file looks
    /// whole. An `axum::body::Body` of at most 64 KiB that is all there with its head needs no
    /// session any more.
    pub struct GateBody<B> {
        #[pin]
        inner: Option<B>,
        state: State,
    }
}

enum State {
    /// Whatever it is, it needs no session.
    Passthrough,
    Guarded(Guarded),
    /// It was cut in the middle of a gRPC message, which may end, for a second.
    DrainingMessage(DrainingMessage),
    /// Our own answer, one that was whole at once, or what is left of a body that was cut.
    FinalFrame(FinalFrame),
}

/// The last frame, in less room than one that may be any takes.
enum FinalFrame {
    Data(Bytes),
    Trailers(Box<HeaderMap>),
    Both(Box<(Bytes, HeaderMap)>),
    /// It was given, or there is none.
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
    passage: StreamGuard,
    framing: Framing,
}

struct DrainingMessage {
    grpc: GrpcFraming,
    web: bool,
    session: Arc<Session>,
    denial: Denial,
    limit: Pin<Box<Sleep>>,
}

/// How long a message that is half sent may take to end.
const MESSAGE_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

impl<B> GateBody<B> {
    /// These bytes, which need no session.
    pub(super) fn buffered(bytes: Bytes) -> Self {
        let last = if bytes.is_empty() { FinalFrame::Done } else { FinalFrame::Data(bytes) };
        Self { inner: None, state: State::FinalFrame(last) }
    }

    /// These bytes and what comes after them, which need no session.
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

    /// Framed as the answer's content type says, if it has one.
    pub(super) fn guarded(inner: B, framing: Framing, passage: StreamGuard) -> Self
    where
        B: Body,
    {
        if inner.is_end_stream() {
            return Self::passthrough(inner);
        }
        Self { inner: Some(inner), state: State::Guarded(Guarded { passage, framing }) }
    }
}

/// An empty body, which needs no session: what layers outside the gate answer with, such as a
/// time limit or CORS.
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
                // In place, and each frame is moved once: this is what most of them pass.
                State::Guarded(Guarded { passage, framing }) => {
                    let Some(mut inner) = this.inner.as_mut().as_pin_mut() else {
                        return Poll::Ready(None);
                    };
                    let (mut registered, mut inner_waits) = (false, false);
                    let mut reaction = passage.check_cached();
                    loop {
                        match reaction {
                            // It has our waker already; asking it twice would tell nothing new.
                            Action::Forward if inner_waits => return Poll::Pending,
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
                                Poll::Pending => inner_waits = true,
                            },
                            // What was given whole is neither held back nor cut.
                            Action::Hold(..) | Action::Cut(_) if inner.is_end_stream() => {
                                *this.state = State::FinalFrame(FinalFrame::Done);
                                return Poll::Ready(None);
                            }
                            Action::Hold(limit, denial) => {
                                if passage.hold(limit, denial, cx).is_ready() {
                                    break denial;
                                }
                                if registered {
                                    return Poll::Pending;
                                }
                            }
                            Action::Cut(denial) => break denial,
                        }
                        // Now that there is something to wait for; then look once more.
                        reaction = passage.register_and_check(cx);
                        registered = true;
                    }
                }
                State::DrainingMessage(finishing) => {
                    match finishing.poll(this.inner.as_mut(), cx) {
                        DrainStep::Frame(given) => return given,
                        DrainStep::Terminate(denial) => denial,
                    }
                }
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

/// Ends a body in the way of its content: by what is left in `state`, or in an error.
#[cold]
fn terminate<B>(
    mut inner: Pin<&mut Option<B>>,
    state: &mut State,
    denial: Denial,
) -> Option<BoxError> {
    tracing::debug!(%denial, "cut what was in flight");
    let before = std::mem::replace(state, State::FinalFrame(FinalFrame::Done));
    let (ending, session) = match before {
        State::Guarded(Guarded { framing, passage }) => {
            (framing.termination(), passage.session().clone())
        }
        State::DrainingMessage(DrainingMessage { grpc, web, session, .. }) => {
            // Else it took too long, or it ended in the middle by itself.
            let between = grpc.is_between_messages();
            (if between { Termination::GrpcStatus { web } } else { Termination::Error }, session)
        }
        State::Passthrough | State::FinalFrame(_) => unreachable!("nothing cuts them"),
    };
    let mut error = None;
    match ending {
        Termination::DrainMessage { grpc, web } => {
            let limit = Box::pin(sleep(MESSAGE_DRAIN_TIMEOUT));
            *state = State::DrainingMessage(DrainingMessage { grpc, web, session, denial, limit });
            // It still gives the rest of a message.
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
    // Dropped at once, so that who produces it sees it.
    inner.set(None);
    error
}

/// What comes of a message that may end.
enum DrainStep {
    Frame(Poll<Option<Result<Frame<Bytes>, BoxError>>>),
    Terminate(Denial),
}

impl DrainingMessage {
    /// Gives the rest of the message, and nothing of the next; then it is over.
    fn poll<B>(&mut self, inner: Pin<&mut Option<B>>, cx: &mut Context<'_>) -> DrainStep
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        if self.grpc.is_between_messages() {
            return DrainStep::Terminate(self.denial);
        }
        // First, for what always has more to give would never be asked for the time.
        if self.limit.as_mut().poll(cx).is_ready() {
            return DrainStep::Terminate(self.denial);
        }
        let Some(inner) = inner.as_pin_mut() else { return DrainStep::Terminate(self.denial) };
        let given = match inner.poll_frame(cx).map_err(Into::into) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data(),
            Poll::Ready(_) => return DrainStep::Terminate(self.denial),
            Poll::Pending => return DrainStep::Frame(Poll::Pending),
        };
        let Ok(mut data) = given else { return DrainStep::Terminate(self.denial) };
        data.truncate(self.grpc.bytes_left_in_message(&data));
        self.grpc.observe(&data);
        DrainStep::Frame(Poll::Ready(Some(Ok(Frame::data(data)))))
    }
}

/// How a body ends that is cut.
enum Termination {
    /// With a last event.
    SseEvent,
    /// With a status, as trailers or as browsers read them.
    GrpcStatus { web: bool },
    /// After the message that is half sent.
    DrainMessage { grpc: GrpcFraming, web: bool },
    /// As if it were whole.
    Clean,
    /// In an error, so that no reader takes it for whole.
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

/// The status that a cut gRPC stream ends with.
fn grpc_trailers(denial: Denial, retry_after: Duration, web: bool) -> FinalFrame {
    let status = grpc::status(denial, retry_after, &[]);
    if !web {
        return FinalFrame::Trailers(Box::new(status.into_iter().collect()));
    }
    let mut text = Vec::new();
    for (name, value) in status {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    // Trailers are a message with the highest bit of the flag set (PROTOCOL-WEB of gRPC).
    let mut frame = vec![0x80];
    frame.extend_from_slice(&(text.len() as u32).to_be_bytes());
    frame.extend_from_slice(&text);
    FinalFrame::Data(frame.into())
}

/// The last event of a stream that is cut.
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

/// A response, an upload or a socket was cut because its session no longer allows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionRevoked {
    denial: Denial,
}

impl SessionRevoked {
    pub(crate) fn boxed(denial: Denial) -> BoxError {
        Box::new(Self { denial })
    }

    /// Why.
    #[must_use]
    pub fn denial(&self) -> Denial {
        self.denial
    }
}

crate::error_debug::debug_as_message!(SessionRevoked);

impl fmt::Display for SessionRevoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cut with the session: {}", self.denial)
    }
}

impl Error for SessionRevoked {}
