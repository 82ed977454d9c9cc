//! Services without a gate, and requests driven to completion in place.

use std::convert::Infallible;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::{Layer, Service, ServiceExt as _};

use super::Prepare;

/// The cost of any layer: axum boxes the service.
#[derive(Clone)]
pub(crate) struct NoOp<S>(S);

#[derive(Clone)]
pub(crate) struct NoOpLayer;

impl<S> Layer<S> for NoOpLayer {
    type Service = NoOp<S>;

    fn layer(&self, inner: S) -> NoOp<S> {
        NoOp(inner)
    }
}

impl<S: Service<R>, R> Service<R> for NoOp<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}

/// Sends one request and polls it to its end; nothing waits. Returns the status and the number of
/// frames.
pub(crate) fn drive<S, Q, B>(service: &S, request: Request<Q>) -> (u16, usize)
where
    S: Service<Request<Q>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let mut future = pin!(service.clone().oneshot(request));
    let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut cx) else {
        panic!("a handler that waits for nothing is ready");
    };
    let status = response.status().as_u16();
    let mut body = pin!(response.into_body());
    let mut frames = 0;
    while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
        frames += usize::from(black_box(frame).is_ok());
    }
    (status, frames)
}

/// Turns of one request each. Asserts the status.
pub(crate) fn requests<S, Q, B>(
    service: S,
    mut request: impl FnMut() -> Request<Q> + 'static,
    response: (u16, usize),
) -> Prepare
where
    S: Service<Request<Q>, Response = Response<B>, Error = Infallible> + Clone + 'static,
    B: Body<Data = Bytes>,
    Q: 'static,
{
    Box::new(move |turns| {
        let service = service.clone();
        let requests: Vec<_> = (0..turns).map(|_| request()).collect();
        Box::new(move || {
            for request in requests {
                assert_eq!(drive(&service, request), response);
            }
        })
    })
}
