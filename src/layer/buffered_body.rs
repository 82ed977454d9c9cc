//! Answers that are there at once, all of them: nothing is left of them that an end could cut.

#[cfg(feature = "axum")]
pub(super) use of_axum::try_take_buffered;

/// Only axum's body is known to stay whole when it is moved after a poll.
#[cfg(not(feature = "axum"))]
pub(super) fn try_take_buffered<B: 'static>(
    _: &mut B,
    _: u64,
    _: &mut std::task::Context<'_>,
) -> Option<bytes::Bytes> {
    None
}

#[cfg(feature = "axum")]
mod of_axum {
    use std::any::Any;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use axum::body::Body;
    use bytes::Bytes;
    use http_body::{Body as _, Frame, SizeHint};

    use crate::layer::BoxError;

    /// So many bytes may leave though their session ends just then.
    const MAX_BUFFERED_LEN: u64 = 64 * 1024;

    /// Takes all of a body whose first poll gives all of this, its exact size (64 KiB at most), and
    /// nothing after it. Of any other it takes nothing: what that poll gave comes first when it is
    /// read.
    ///
    /// This is for `axum::body::Body` alone. A body has to stay where it was polled unless it is
    /// `Unpin`, which a layer for any body can't ask.
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
                // As it was before axum made an error of its own of it, which it will again.
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

    /// A body that was polled once.
    struct PrefetchedBody {
        /// What that gave, its end perhaps, until it is given on.
        first: Option<Option<Result<Frame<Bytes>, BoxError>>>,
        /// Of all.
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
