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
use crate::engine::{Passage, Reaction, Session};
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
    /// messages with a status, anything else ends in [`SessionEnded`] so that no half file looks
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
    Open,
    Guarded(Guarded),
    /// It was cut in the middle of a gRPC message, which may end, for a second.
    Finishing(Finishing),
    /// Our own answer, one that was whole at once, or what is left of a body that was cut.
    Last(Last),
}

/// The last frame, in less room than one that may be any takes.
enum Last {
    Data(Bytes),
    Trailers(Box<HeaderMap>),
    Both(Box<(Bytes, HeaderMap)>),
    /// It was given, or there is none.
    Given,
}

impl Last {
    fn take(&mut self) -> Option<Frame<Bytes>> {
        match std::mem::replace(self, Self::Given) {
            Self::Data(data) => Some(Frame::data(data)),
            Self::Trailers(trailers) => Some(Frame::trailers(*trailers)),
            Self::Both(both) => {
                let (data, trailers) = *both;
                *self = Self::Trailers(Box::new(trailers));
                Some(Frame::data(data))
            }
            Self::Given => None,
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Both(both) => both.0.len(),
            Self::Trailers(_) | Self::Given => 0,
        }
    }
}

struct Guarded {
    passage: Passage,
    framing: Framing,
}

struct Finishing {
    grpc: GrpcFraming,
    web: bool,
    session: Arc<Session>,
    denial: Denial,
    limit: Pin<Box<Sleep>>,
}

/// How long a message that is half sent may take to end.
const FINISH: Duration = Duration::from_secs(1);

impl<B> GateBody<B> {
    /// These bytes, which need no session.
    pub(super) fn whole(bytes: Bytes) -> Self {
        let last = if bytes.is_empty() { Last::Given } else { Last::Data(bytes) };
        Self { inner: None, state: State::Last(last) }
    }

    /// These bytes and what comes after them, which need no session.
    pub(super) fn collected(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        let last = match trailers {
            None => return Self::whole(data),
            Some(trailers) if data.is_empty() => Last::Trailers(Box::new(trailers)),
            Some(trailers) => Last::Both(Box::new((data, trailers))),
        };
        Self { inner: None, state: State::Last(last) }
    }

    pub(super) fn open(inner: B) -> Self {
        Self { inner: Some(inner), state: State::Open }
    }

    /// Framed as the answer's content type says, if it has one.
    pub(super) fn guarded(inner: B, framing: Framing, passage: Passage) -> Self
    where
        B: Body,
    {
        if inner.is_end_stream() {
            return Self::open(inner);
        }
        Self { inner: Some(inner), state: State::Guarded(Guarded { passage, framing }) }
    }
}

/// An empty body, which needs no session: what layers outside the gate answer with, such as a
/// time limit or CORS.
impl<B> Default for GateBody<B> {
    fn default() -> Self {
        Self::whole(Bytes::new())
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
                State::Last(last) => return Poll::Ready(last.take().map(Ok)),
                State::Open => {
                    let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(None) };
                    return inner.poll_frame(cx).map_err(Into::into);
                }
                // In place, and each frame is moved once: this is what most of them pass.
                State::Guarded(Guarded { passage, framing }) => {
                    let Some(mut inner) = this.inner.as_mut().as_pin_mut() else {
                        return Poll::Ready(None);
                    };
                    let (mut registered, mut inner_waits) = (false, false);
                    let mut reaction = passage.next();
                    loop {
                        match reaction {
                            // It has our waker already; asking it twice would tell nothing new.
                            Reaction::Forward if inner_waits => return Poll::Pending,
                            Reaction::Forward => match inner.as_mut().poll_frame(cx) {
                                Poll::Ready(Some(Ok(frame))) => {
                                    framing.passes(&frame);
                                    return Poll::Ready(Some(Ok(frame)));
                                }
                                Poll::Ready(end) => {
                                    *this.state = State::Last(Last::Given);
                                    return Poll::Ready(end.map(|end| end.map_err(Into::into)));
                                }
                                Poll::Pending if registered => return Poll::Pending,
                                Poll::Pending => inner_waits = true,
                            },
                            // What was given whole is neither held back nor cut.
                            Reaction::Hold(..) | Reaction::Cut(_) if inner.is_end_stream() => {
                                *this.state = State::Last(Last::Given);
                                return Poll::Ready(None);
                            }
                            Reaction::Hold(limit, denial) => {
                                if passage.hold(limit, denial, cx).is_ready() {
                                    break denial;
                                }
                                if registered {
                                    return Poll::Pending;
                                }
                            }
                            Reaction::Cut(denial) => break denial,
                        }
                        // Now that there is something to wait for; then look once more.
                        reaction = passage.wait(cx);
                        registered = true;
                    }
                }
                State::Finishing(finishing) => match finishing.poll(this.inner.as_mut(), cx) {
                    Finish::Give(given) => return given,
                    Finish::Cut(denial) => denial,
                },
            };
            if let Some(error) = cut(this.inner.as_mut(), this.state, denial) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Last(last) => matches!(last, Last::Given),
            State::Finishing(_) => false,
            State::Open | State::Guarded(_) => self.inner.as_ref().is_none_or(Body::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.state, &self.inner) {
            (State::Last(last), _) => SizeHint::with_exact(last.length() as u64),
            (_, Some(inner)) => inner.size_hint(),
            (_, None) => SizeHint::with_exact(0),
        }
    }
}

/// Ends a body in the way of its content: by what is left in `state`, or in an error.
#[cold]
fn cut<B>(mut inner: Pin<&mut Option<B>>, state: &mut State, denial: Denial) -> Option<BoxError> {
    tracing::debug!(%denial, "cut what was in flight");
    let before = std::mem::replace(state, State::Last(Last::Given));
    let (ending, session) = match before {
        State::Guarded(Guarded { framing, passage }) => {
            (framing.ending(), passage.session().clone())
        }
        State::Finishing(Finishing { grpc, web, session, .. }) => {
            // Else it took too long, or it ended in the middle by itself.
            let between = grpc.is_between_messages();
            (if between { Ending::Status { web } } else { Ending::Error }, session)
        }
        State::Open | State::Last(_) => unreachable!("nothing cuts them"),
    };
    let mut error = None;
    match ending {
        Ending::Finish { grpc, web } => {
            let limit = Box::pin(sleep(FINISH));
            *state = State::Finishing(Finishing { grpc, web, session, denial, limit });
            // It still gives the rest of a message.
            return None;
        }
        Ending::Event => {
            *state = State::Last(Last::Data(event(denial, session.status())));
        }
        Ending::Status { web } => {
            let status = last_status(denial, session.retry_after(), web);
            *state = State::Last(status);
        }
        Ending::Silence => {}
        Ending::Error => error = Some(SessionEnded::boxed(denial)),
    }
    // Dropped at once, so that who produces it sees it.
    inner.set(None);
    error
}

/// What comes of a message that may end.
enum Finish {
    Give(Poll<Option<Result<Frame<Bytes>, BoxError>>>),
    Cut(Denial),
}

impl Finishing {
    /// Gives the rest of the message, and nothing of the next; then it is over.
    fn poll<B>(&mut self, inner: Pin<&mut Option<B>>, cx: &mut Context<'_>) -> Finish
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        if self.grpc.is_between_messages() {
            return Finish::Cut(self.denial);
        }
        // First, for what always has more to give would never be asked for the time.
        if self.limit.as_mut().poll(cx).is_ready() {
            return Finish::Cut(self.denial);
        }
        let Some(inner) = inner.as_pin_mut() else { return Finish::Cut(self.denial) };
        let given = match inner.poll_frame(cx).map_err(Into::into) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data(),
            Poll::Ready(_) => return Finish::Cut(self.denial),
            Poll::Pending => return Finish::Give(Poll::Pending),
        };
        let Ok(mut data) = given else { return Finish::Cut(self.denial) };
        data.truncate(self.grpc.rest_of_message(&data));
        self.grpc.passes(&data);
        Finish::Give(Poll::Ready(Some(Ok(Frame::data(data)))))
    }
}

/// How a body ends that is cut.
enum Ending {
    /// With a last event.
    Event,
    /// With a status, as trailers or as browsers read them.
    Status { web: bool },
    /// After the message that is half sent.
    Finish { grpc: GrpcFraming, web: bool },
    /// As if it were whole.
    Silence,
    /// In an error, so that no reader takes it for whole.
    Error,
}

impl Framing {
    fn ending(self) -> Ending {
        match self {
            Self::Sse(sse) if sse.is_between_events() => Ending::Event,
            Self::Sse(_) | Self::EncodedSse => Ending::Silence,
            Self::Grpc(grpc) if grpc.is_between_messages() => Ending::Status { web: false },
            Self::GrpcWeb(grpc) if grpc.is_between_messages() => Ending::Status { web: true },
            Self::Grpc(grpc) => Ending::Finish { grpc, web: false },
            Self::GrpcWeb(grpc) => Ending::Finish { grpc, web: true },
            Self::Other => Ending::Error,
        }
    }
}

/// The status that a cut gRPC stream ends with.
fn last_status(denial: Denial, retry_after: Duration, web: bool) -> Last {
    let status = grpc::status(denial, retry_after, &[]);
    if !web {
        return Last::Trailers(Box::new(status.into_iter().collect()));
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
    Last::Data(frame.into())
}

/// The last event of a stream that is cut.
fn event(denial: Denial, status: SessionStatus) -> Bytes {
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
pub struct SessionEnded {
    denial: Denial,
}

impl SessionEnded {
    pub(crate) fn boxed(denial: Denial) -> BoxError {
        Box::new(Self { denial })
    }

    /// Why.
    #[must_use]
    pub fn denial(&self) -> Denial {
        self.denial
    }
}

crate::error_debug::debug_as_message!(SessionEnded);

impl fmt::Display for SessionEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cut with the session: {}", self.denial)
    }
}

impl Error for SessionEnded {}
