//! The response of a handler that ended its own session. It is sent once it is complete.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderMap, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::body::GateBody;

/// Maximum size in bytes of the final response.
const MAX_FINAL_RESPONSE_LEN: usize = 64 * 1024;

pin_project! {
    /// A response whose body is being collected.
    pub(super) struct FinalResponse<B> {
        // `None` once the response is returned.
        head: Option<Parts>,
        #[pin]
        body: B,
        collected: BytesMut,
        trailers: Option<HeaderMap>,
        // The end of the grace period.
        deadline: Pin<Box<Sleep>>,
    }
}

impl<B> FinalResponse<B> {
    pub(super) fn new(response: Response<B>, deadline: Pin<Box<Sleep>>) -> Self {
        let (head, body) = response.into_parts();
        Self { head: Some(head), body, collected: BytesMut::new(), trailers: None, deadline }
    }

    /// Returns the complete response; `None` if it is a stream, too long, too late or broken.
    pub(super) fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Response<GateBody<B>>>>
    where
        B: Body<Data = Bytes>,
    {
        let mut this = self.project();
        loop {
            // Polled first: a body that is always ready would keep the deadline from being checked.
            if this.deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            match ready!(this.body.as_mut().poll_frame(cx)).transpose() {
                Ok(Some(frame)) => match frame.into_data() {
                    Ok(data) if this.collected.len() + data.len() <= MAX_FINAL_RESPONSE_LEN => {
                        this.collected.extend_from_slice(&data);
                    }
                    Ok(_) => return Poll::Ready(None),
                    Err(frame) => *this.trailers = frame.into_trailers().ok(),
                },
                Ok(None) => break,
                Err(_) => return Poll::Ready(None),
            }
        }
        let (data, trailers) = (this.collected.split().freeze(), this.trailers.take());
        Poll::Ready(this.head.take().map(|head| {
            Response::from_parts(head, GateBody::buffered_with_trailers(data, trailers))
        }))
    }
}
