//! Responses whose body is complete at the first poll. They are sent without a guard.

#[cfg(feature = "axum")]
pub(super) use axum_body::try_take_buffered;

/// Never takes a body: only axum's is known to be movable after a poll.
#[cfg(not(feature = "axum"))]
pub(super) fn try_take_buffered<B: 'static>(
    _: &mut B,
    _: u64,
    _: &mut std::task::Context<'_>,
) -> Option<bytes::Bytes> {
    None
}

#[cfg(feature = "axum")]
mod axum_body {
    use std::any::Any;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use axum::body::Body;
    use bytes::Bytes;
    use http_body::{Body as _, Frame, SizeHint};

    use crate::layer::BoxError;

    /// Maximum size in bytes of a response that may be sent although its session ends at that
    /// moment.
    const MAX_BUFFERED_LEN: u64 = 64 * 1024;

    /// Takes a body whose first poll yields all `length` bytes, its exact size (64 KiB at most),
    /// and that ends then. Leaves any other body as it is: the result of that poll is returned
    /// again at the next.
    ///
    /// Handles `axum::body::Body` alone. A body must not be moved after a poll unless it is
    /// `Unpin`, which a layer for any body cannot require.
    pub(in crate::layer) fn try_take_buffered<B: 'static>(
        body: &mut B,
        length: u64,
        cx: &mut Context<'_>,
    ) -> Option<Bytes> {
        let body = (body as &mut dyn Any).downcast_mut::<Body>()?;
        if length > MAX_BUFFERED_LEN || body.is_end_stream() {
            return None;
        }
        let Poll::Ready(first) = Pin::new(&mut *body).poll_frame(cx) else { return None };
        match first {
            Some(Ok(frame)) if is_complete(&frame, length) && body.is_end_stream() => {
                frame.into_data().ok()
            }
            first => {
                // The inner error: `Body::new` wraps it into an `axum::Error` again.
                let first = first.map(|first| first.map_err(axum::Error::into_inner));
                let rest = std::mem::take(body);
                *body = Body::new(PrefetchedBody { first: Some(first), length, rest });
                None
            }
        }
    }

    fn is_complete(frame: &Frame<Bytes>, length: u64) -> bool {
        frame.data_ref().is_some_and(|data| data.len() as u64 == length)
    }

    /// A body that was polled once, with the result of that poll.
    struct PrefetchedBody {
        /// The result of the first poll until it is returned; `Some(None)` is the end of the body.
        first: Option<Option<Result<Frame<Bytes>, BoxError>>>,
        /// The exact size of the whole body in bytes.
        length: u64,
        rest: Body,
    }

    impl http_body::Body for PrefetchedBody {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            match self.first.take() {
                Some(first) => Poll::Ready(first),
                None => Pin::new(&mut self.rest).poll_frame(cx).map_err(axum::Error::into_inner),
            }
        }

        fn is_end_stream(&self) -> bool {
            self.first.is_none() && self.rest.is_end_stream()
        }

        fn size_hint(&self) -> SizeHint {
            match self.first {
                Some(_) => SizeHint::with_exact(self.length),
                None => self.rest.size_hint(),
            }
        }
    }
}
