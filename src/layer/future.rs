use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

use super::authorize::{Authorizer, Decision};
use super::body::{BoxError, GateBody};
use super::buffered_body;
use super::final_response::FinalResponse;
use super::framing::Framing;
use super::header_scan;
use super::response_format::ClientContext;
use super::service::attach_session;
use crate::engine::{Action, RequestNumber, StreamGuard, Upgrade};
use crate::verdict::Denial;

pin_project! {
    /// The future of [`ActiveconnectService`](super::ActiveconnectService).
    #[must_use = "futures do nothing unless polled"]
    pub struct GateFuture<S, ReqBody, ResBody>
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
        /// Turned away.
        Denied {
            denial: Denial,
            // The login itself is asked for.
            is_login: bool,
        },
        /// Something has to be asked first; the service that is ready waits here, permit and all.
        Deciding {
            answer: Pin<Box<dyn Future<Output = Decision> + Send>>,
            // Boxed, as most requests never wait, and all of them are moved.
            waiting: Option<Box<(S, R)>>,
        },
        /// The handler runs.
        Running { #[pin] future: F, guard: Option<HandlerGuard<A>> },
        /// The handler has ended the session itself, and its answer is collected.
        Collecting { farewell: Pin<Box<FinalResponse<B>>> },
    }
}

/// What watches over a running handler.
pub(super) struct HandlerGuard<A> {
    passage: StreamGuard,
    /// The handler's session has it, too.
    request: RequestNumber,
    upgrade: Option<Arc<Upgrade>>,
    /// The handler has been polled: it may be in the middle of something.
    started: bool,
    /// The session is over, and this is how long the handler still has. An answer that leaves all the
    /// same is the one of a handler that ended the session itself: it has to be whole by then.
    cut: Option<(Denial, Pin<Box<Sleep>>)>,
    /// The handler's answer, held back until the session's status is known again. Boxed, as that
    /// is rare.
    answer: Option<Box<A>>,
}

impl<S, ReqBody, ResBody> GateFuture<S, ReqBody, ResBody>
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

impl<S, ReqBody, ResBody> Future for GateFuture<S, ReqBody, ResBody>
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
                        // Dropped now, not when the answer has been read.
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

impl<A> HandlerGuard<A> {
    pub(super) fn new(
        passage: StreamGuard,
        request: RequestNumber,
        upgrade: Option<Arc<Upgrade>>,
    ) -> Self {
        Self { passage, request, upgrade, started: false, cut: None, answer: None }
    }

    /// Runs the handler until its answer may leave, or must not: then gives the reason.
    ///
    /// A task that has to be woken registers first and looks after; a handler that is done at once
    /// needs none to be woken.
    fn poll<F, E>(
        &mut self,
        mut future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Result<A, Denial>, E>>
    where
        F: Future<Output = Result<A, E>>,
    {
        let mut reaction = match &self.cut {
            Some((denial, _)) => Action::Cut(*denial),
            None => self.passage.next(),
        };
        let mut answer = self.answer.take().map(|answer| *answer);
        let mut waits = false;
        loop {
            match reaction {
                Action::Forward => {
                    if let Some(answer) = answer {
                        return Poll::Ready(Ok(Ok(answer)));
                    }
                }
                Action::Hold(_, denial) | Action::Cut(denial) if !self.started => {
                    return Poll::Ready(Ok(Err(denial)));
                }
                Action::Hold(limit, denial) => {
                    if answer.is_some() && self.passage.hold(limit, denial, cx).is_ready() {
                        return Poll::Ready(Ok(Err(denial)));
                    }
                }
                Action::Cut(denial) => {
                    let grace =
                        || (denial, Box::pin(sleep(self.passage.policy().grace.duration())));
                    let (_, grace) = self.cut.get_or_insert_with(grace);
                    let is_late = grace.as_mut().poll(cx).is_ready();
                    if answer.is_some() || is_late {
                        // The session may have changed again while the handler finished its work:
                        // one that was suspended may have ended.
                        let denial = self.passage.denial().unwrap_or(denial);
                        let answer = answer.filter(|_| !is_late && self.ended_own_session());
                        return Poll::Ready(Ok(answer.ok_or(denial)));
                    }
                }
            }
            if waits {
                self.answer = answer.map(Box::new);
                return Poll::Pending;
            }
            self.started = true;
            // What is cut stays cut.
            let is_cut = self.cut.is_some();
            if answer.is_none()
                && let Poll::Ready(given) = future.as_mut().poll(cx)
            {
                let given = given?;
                if !is_cut {
                    // By the clocks, however long the handler took.
                    reaction = self.passage.check();
                    if reaction == Action::Forward {
                        return Poll::Ready(Ok(Ok(given)));
                    }
                }
                answer = Some(given);
            } else {
                waits = true;
                if !is_cut {
                    reaction = self.passage.register_and_check(cx);
                }
            }
        }
    }
}

impl<A> HandlerGuard<A> {
    /// Whether the handler itself ended the session.
    fn ended_own_session(&self) -> bool {
        self.passage.session().was_ended_by(self.request)
    }
}

fn denied_response<B>(
    gate: &Authorizer,
    client: &ClientContext,
    denial: Denial,
) -> Response<GateBody<B>> {
    gate.deny(denial, client).map(GateBody::buffered)
}

impl<S, ReqBody, ResBody> fmt::Debug for GateFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateFuture").finish_non_exhaustive()
    }
}

fn guard_response<A, B: Body + 'static>(
    mut response: Response<B>,
    guard: &mut Option<HandlerGuard<A>>,
    gate: &Authorizer,
    client: &ClientContext,
    cx: &mut Context<'_>,
) -> Response<GateBody<B>> {
    if let Some(upgrade) = guard.as_ref().and_then(|guard| guard.upgrade.as_ref()) {
        upgrade.record_response(response.status());
    }
    let names = [&CACHE_CONTROL, &CONTENT_TYPE, &CONTENT_ENCODING];
    let [cached, content_type, encoding] = header_scan::first_values(response.headers(), names);
    // What has a length is no stream of events or messages: nothing can be added to it.
    let length = response.body().size_hint().exact();
    let framing = match length {
        Some(_) => Framing::Other,
        None => Framing::from_content_type(content_type, encoding.is_some(), client.is_grpc()),
    };
    if cached.is_none() {
        // RFC 9111 keeps shared caches off answers to `Authorization`, not off those to a cookie.
        response.headers_mut().insert(CACHE_CONTROL, gate.cache_control.header_value());
    }
    // An answer to HEAD is not read.
    if let Some(length) = length.filter(|_| !client.is_head)
        && let Some(bytes) = buffered_body::try_take_buffered(response.body_mut(), length, cx)
    {
        *guard = None;
        return response.map(|_| GateBody::buffered(bytes));
    }
    response.map(|body| {
        let Some(HandlerGuard { passage, .. }) = guard.take() else {
            unreachable!("it watched over the handler")
        };
        GateBody::guarded(body, framing, passage)
    })
}
