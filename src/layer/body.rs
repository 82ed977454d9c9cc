use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use super::denial::grpc_status;
use super::framing::{Framing, GrpcFraming, SseFraming};
use super::reaction::{HOLD_LIMIT, Reaction};
use crate::engine::SessionWatch;
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
    /// whole.
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
    /// Our own answer, or the last frame of a body that was cut.
    Last(Option<Frame<Bytes>>),
}

struct Guarded {
    watch: SessionWatch,
    framing: Framing,
    /// Since nothing is known of the session any more, and for how long that may go on.
    held: Option<Pin<Box<Sleep>>>,
}

impl<B> GateBody<B> {
    pub(super) fn denied(body: Bytes) -> Self {
        let last = (!body.is_empty()).then(|| Frame::data(body));
        Self { inner: None, state: State::Last(last) }
    }

    pub(super) fn open(inner: B) -> Self {
        Self { inner: Some(inner), state: State::Open }
    }

    pub(super) fn guarded(inner: B, headers: &HeaderMap, watch: SessionWatch) -> Self
    where
        B: Body,
    {
        if inner.is_end_stream() {
            return Self::open(inner);
        }
        let guarded = Guarded { watch, framing: framing(headers), held: None };
        Self { inner: Some(inner), state: State::Guarded(guarded) }
    }
}

fn framing(headers: &HeaderMap) -> Framing {
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if content_type.starts_with(b"application/grpc")
        && !content_type.starts_with(b"application/grpc-web")
    {
        Framing::Grpc(GrpcFraming::default())
    } else if content_type.starts_with(b"text/event-stream")
        && !headers.contains_key(CONTENT_ENCODING)
    {
        Framing::Sse(SseFraming::default())
    } else if content_type.starts_with(b"text/event-stream") {
        Framing::EncodedSse
    } else {
        Framing::Other
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
        let guarded = match this.state {
            State::Last(last) => return Poll::Ready(last.take().map(Ok)),
            State::Open => {
                let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(None) };
                return inner.poll_frame(cx).map_err(Into::into);
            }
            State::Guarded(guarded) => guarded,
        };
        let (mut registered, mut inner_waits) = (false, false);
        let denial = loop {
            match guarded.watch.get().verdict().into() {
                Reaction::Cut(denial) => break denial,
                // It has our waker already; asking it twice would tell nothing new.
                Reaction::Forward if inner_waits => return Poll::Pending,
                Reaction::Forward => {
                    guarded.held = None;
                    let Some(inner) = this.inner.as_mut().as_pin_mut() else {
                        return Poll::Ready(None);
                    };
                    match inner.poll_frame(cx).map_err(Into::into) {
                        Poll::Ready(Some(Ok(frame))) => {
                            if let Some(data) = frame.data_ref() {
                                guarded.framing.passes(data);
                            }
                            return Poll::Ready(Some(Ok(frame)));
                        }
                        Poll::Ready(end) => {
                            // What is over holds the session no longer.
                            *this.state = State::Last(None);
                            return Poll::Ready(end);
                        }
                        Poll::Pending if registered => return Poll::Pending,
                        Poll::Pending => inner_waits = true,
                    }
                }
                Reaction::Hold => {
                    let limit = guarded.held.get_or_insert_with(|| Box::pin(sleep(HOLD_LIMIT)));
                    if limit.as_mut().poll(cx).is_ready() {
                        break Denial::Unavailable;
                    }
                    if registered {
                        return Poll::Pending;
                    }
                }
            }
            // Now that there is something to wait for; then look once more.
            guarded.watch.register(cx);
            registered = true;
        };
        tracing::debug!(%denial, "cut what was in flight");
        let last = guarded.framing.last_frame(denial);
        this.inner.set(None);
        match last {
            Ok(last) => {
                *this.state = State::Last(None);
                Poll::Ready(last.map(Ok))
            }
            Err(()) => {
                *this.state = State::Last(None);
                Poll::Ready(Some(Err(Box::new(SessionEnded { denial }))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Last(last) => last.is_none(),
            State::Open | State::Guarded(_) => self.inner.as_ref().is_none_or(Body::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.state, &self.inner) {
            (State::Last(last), _) => {
                let length = last.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len);
                SizeHint::with_exact(length as u64)
            }
            (_, Some(inner)) => inner.size_hint(),
            (_, None) => SizeHint::with_exact(0),
        }
    }
}

impl Framing {
    /// How a cut body says that it ends: with a frame, in silence, or (`Err`) by an error.
    fn last_frame(&self, denial: Denial) -> Result<Option<Frame<Bytes>>, ()> {
        match self {
            Self::Sse(sse) if sse.is_between_events() => Ok(Some(Frame::data(marker(denial)))),
            Self::Sse(_) | Self::EncodedSse => Ok(None),
            Self::Grpc(grpc) if grpc.is_between_messages() => {
                Ok(Some(Frame::trailers(grpc_status(denial).into_iter().collect())))
            }
            Self::Grpc(_) | Self::Other => Err(()),
        }
    }
}

/// The last event of a stream that is cut.
fn marker(denial: Denial) -> Bytes {
    Bytes::from_static(match denial {
        Denial::Suspended => b"event: session-suspended\ndata: {\"status\":\"walkaway\"}\n\n",
        Denial::Unavailable => {
            b"event: session-unavailable\ndata: {\"status\":\"unavailable\"}\n\n"
        }
        _ => b"event: session-ended\ndata: {\"status\":\"closed\"}\n\n",
    })
}

impl<B> fmt::Debug for GateBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateBody").finish_non_exhaustive()
    }
}

/// A body was cut because its session no longer allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEnded {
    denial: Denial,
}

impl SessionEnded {
    /// Why.
    #[must_use]
    pub fn denial(&self) -> Denial {
        self.denial
    }
}

impl fmt::Display for SessionEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the response was cut: {}", self.denial)
    }
}

impl Error for SessionEnded {}
