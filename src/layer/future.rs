use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::attach_session::attach_session;
use super::authorize::{Authorizer, Decision};
use super::body::{BoxError, GateBody};
use super::final_response::FinalResponse;
use super::handler_guard::{HandlerGuard, denied_response, guard_response};
use super::response_format::ClientContext;
use crate::verdict::Denial;

pin_project! {
    /// The future of [`ActiveconnectService`](super::ActiveconnectService).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
    {
        // Also so that the engine runs as long as the handler, whatever becomes of the service.
        gate: Arc<Authorizer>,
        client: ClientContext,
        #[pin]
        state: State<S, Request<ReqBody>, S::Future, S::Response, ResBody>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, R, F, A, B> {
        /// Rejected.
        Denied {
            denial: Denial,
            // The request is for the login itself.
            is_login: bool,
        },
        /// A poll or a lookup comes first; the ready service waits here with its permit.
        Deciding {
            answer: Pin<Box<dyn Future<Output = Decision> + Send>>,
            // Boxed, as most requests never wait, and all of them are moved.
            waiting: Option<Box<(S, R)>>,
        },
        /// The handler runs.
        Running { #[pin] future: F, guard: Option<HandlerGuard<A>> },
        /// The handler has ended the session itself, and its response is collected.
        Collecting { farewell: Pin<Box<FinalResponse<B>>> },
    }
}

impl<S, ReqBody, ResBody> ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    pub(super) fn denied(
        gate: Arc<Authorizer>,
        client: ClientContext,
        denial: Denial,
        is_login: bool,
    ) -> Self {
        Self { gate, client, state: State::Denied { denial, is_login } }
    }

    pub(super) fn deciding(
        gate: Arc<Authorizer>,
        client: ClientContext,
        answer: Pin<Box<dyn Future<Output = Decision> + Send>>,
        service: S,
        request: Request<ReqBody>,
    ) -> Self {
        let state = State::Deciding { answer, waiting: Some(Box::new((service, request))) };
        Self { gate, client, state }
    }

    pub(super) fn running(
        gate: Arc<Authorizer>,
        client: ClientContext,
        future: S::Future,
        guard: Option<HandlerGuard<S::Response>>,
    ) -> Self {
        Self { gate, client, state: State::Running { future, guard } }
    }
}

impl<S, ReqBody, ResBody> Future for ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes> + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Output = Result<Response<GateBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProjection::Denied { denial, is_login: true } => {
                    let response = this.gate.deny_gated_login(*denial, this.client);
                    return Poll::Ready(Ok(response.map(GateBody::buffered)));
                }
                StateProjection::Denied { denial, is_login: false } => {
                    return Poll::Ready(Ok(denied_response(this.gate, this.client, *denial)));
                }
                StateProjection::Deciding { answer, waiting } => {
                    let decision = ready!(answer.as_mut().poll(cx));
                    let Some(waiting) = waiting.take() else {
                        unreachable!("polled after the answer");
                    };
                    let (mut service, mut request) = *waiting;
                    let next = match decision {
                        Decision::Deny(denial) if !this.gate.optional => {
                            let (uri, extensions) = (request.uri(), request.extensions());
                            let is_login = this.gate.is_login_route(uri, extensions, this.client);
                            State::Denied { denial, is_login }
                        }
                        decision => {
                            let guard =
                                attach_session(this.gate, decision, this.client, &mut request);
                            State::Running { future: service.call(request), guard }
                        }
                    };
                    this.state.set(next);
                }
                StateProjection::Running { future, guard: None } => {
                    let response = ready!(future.poll(cx))?;
                    return Poll::Ready(Ok(response.map(GateBody::passthrough)));
                }
                StateProjection::Running { future, guard: guard @ Some(_) } => {
                    let Some(running) = guard else { unreachable!("matched above") };
                    let next = match ready!(running.poll(future, cx)?) {
                        Ok(response) => match running.cut.take() {
                            None => {
                                let (gate, client) = (this.gate, this.client);
                                return Poll::Ready(Ok(guard_response(
                                    response, guard, gate, client, cx,
                                )));
                            }
                            // An upgrade would be a stream.
                            Some(_) if this.client.upgrade_status == Some(response.status()) => {
                                State::Denied { denial: Denial::Ended, is_login: false }
                            }
                            Some((_, grace)) => {
                                let farewell = Box::pin(FinalResponse::new(response, grace));
                                State::Collecting { farewell }
                            }
                        },
                        // Dropped now, not when the response has been read.
                        Err(denial) => State::Denied { denial, is_login: false },
                    };
                    this.state.set(next);
                }
                StateProjection::Collecting { farewell } => {
                    match ready!(farewell.as_mut().poll(cx)) {
                        Some(mut response) => {
                            let cache_control = || this.gate.cache_control.header_value();
                            response
                                .headers_mut()
                                .entry(CACHE_CONTROL)
                                .or_insert_with(cache_control);
                            return Poll::Ready(Ok(response));
                        }
                        None => {
                            let denial = Denial::Ended;
                            this.state.set(State::Denied { denial, is_login: false });
                        }
                    }
                }
            }
        }
    }
}

impl<S, ReqBody, ResBody> fmt::Debug for ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
