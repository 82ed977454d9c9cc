use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

use super::asker::Asker;
use super::body::{BoxError, GateBody};
use super::gate::{Decision, Gate};
use super::service::{Admitted, admit};
use crate::engine::{Hold, Policy, Reaction, SessionWatch, Upgrade};
use crate::verdict::Denial;

pin_project! {
    /// The future of [`ActiveconnectService`](super::ActiveconnectService).
    #[must_use = "futures do nothing unless polled"]
    pub struct GateFuture<S, ReqBody>
    where
        S: Service<Request<ReqBody>>,
    {
        gate: Arc<Gate>,
        asker: Asker,
        #[pin]
        state: State<S, Request<ReqBody>, S::Future, S::Response>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, R, F, A> {
        /// Turned away.
        Denied { denial: Denial },
        /// Something has to be asked first; the service that is ready waits here, permit and all.
        Asking { answer: Pin<Box<dyn Future<Output = Decision> + Send>>, waiting: Option<(S, R)> },
        /// The handler runs.
        Running { #[pin] future: F, guard: Option<RunGuard<A>> },
    }
}

/// What watches over a running handler.
struct RunGuard<A> {
    watch: SessionWatch,
    upgrade: Option<Arc<Upgrade>>,
    policy: Policy,
    /// The handler has been polled: it may be in the middle of something.
    started: bool,
    /// The session is over, and this is how long the handler still has.
    cut: Option<(Denial, Pin<Box<Sleep>>)>,
    /// The handler's answer, held back until the session's status is known again.
    answer: Option<A>,
    held: Option<Hold>,
}

impl<S, ReqBody> GateFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    pub(super) fn denied(gate: Arc<Gate>, asker: Asker, denial: Denial) -> Self {
        Self { gate, asker, state: State::Denied { denial } }
    }

    pub(super) fn asking(
        gate: Arc<Gate>,
        asker: Asker,
        answer: Pin<Box<dyn Future<Output = Decision> + Send>>,
        service: S,
        request: Request<ReqBody>,
    ) -> Self {
        let state = State::Asking { answer, waiting: Some((service, request)) };
        Self { gate, asker, state }
    }

    pub(super) fn running(
        gate: Arc<Gate>,
        asker: Asker,
        future: S::Future,
        admitted: Option<Admitted>,
    ) -> Self {
        let guard = admitted.map(|admitted| RunGuard::new(admitted, gate.policy));
        Self { gate, asker, state: State::Running { future, guard } }
    }
}

impl<S, ReqBody, ResBody> Future for GateFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
    ResBody::Error: Into<BoxError>,
{
    type Output = Result<Response<GateBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProjection::Denied { denial } => {
                    return Poll::Ready(Ok(turn_away(this.gate, this.asker, *denial)));
                }
                StateProjection::Asking { answer, waiting } => {
                    let decision = ready!(answer.as_mut().poll(cx));
                    let Some((mut service, mut request)) = waiting.take() else {
                        unreachable!("polled after the answer");
                    };
                    let next = match decision {
                        Decision::Deny(denial) if !this.gate.optional => State::Denied { denial },
                        decision => {
                            let guard = admit(this.gate, decision, &mut request);
                            let guard =
                                guard.map(|admitted| RunGuard::new(admitted, this.gate.policy));
                            State::Running { future: service.call(request), guard }
                        }
                    };
                    this.state.set(next);
                }
                StateProjection::Running { future, guard: None } => {
                    let response = ready!(future.poll(cx))?;
                    return Poll::Ready(Ok(response.map(GateBody::open)));
                }
                StateProjection::Running { future, guard: guard @ Some(_) } => {
                    let Some(running) = guard else { unreachable!("matched above") };
                    let outcome = ready!(running.poll(future, cx)?);
                    let Some(running) = guard.take() else { unreachable!("matched above") };
                    return Poll::Ready(Ok(match outcome {
                        Ok(response) => let_through(response, running),
                        Err(denial) => {
                            let answer = turn_away(this.gate, this.asker, denial);
                            // Dropped now, not when the answer has been read.
                            this.state.set(State::Denied { denial });
                            answer
                        }
                    }));
                }
            }
        }
    }
}

impl<A> RunGuard<A> {
    fn new(admitted: Admitted, policy: Policy) -> Self {
        let Admitted { watch, upgrade } = admitted;
        Self { watch, upgrade, policy, started: false, cut: None, answer: None, held: None }
    }

    /// Runs the handler until its answer may leave, or must not.
    ///
    /// Whoever has to be woken registers first and looks after; a handler that is done at once
    /// needs nobody to be woken.
    fn poll<F, E>(
        &mut self,
        mut future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Result<A, Denial>, E>>
    where
        F: Future<Output = Result<A, E>>,
    {
        let mut registered = false;
        loop {
            let reaction = match &self.cut {
                Some((denial, _)) => Reaction::Cut(*denial),
                None => self.policy.react(self.watch.get().met(&self.policy)),
            };
            match reaction {
                Reaction::Forward => {
                    self.held = None;
                    if let Some(answer) = self.answer.take() {
                        return Poll::Ready(Ok(Ok(answer)));
                    }
                }
                Reaction::Hold(_, denial) | Reaction::Cut(denial) if !self.started => {
                    return Poll::Ready(Ok(Err(denial)));
                }
                Reaction::Hold(limit, denial) => {
                    if self.answer.is_some() && Hold::poll(&mut self.held, limit, cx).is_ready() {
                        return Poll::Ready(Ok(Err(denial)));
                    }
                }
                Reaction::Cut(denial) => {
                    if self.answer.take().is_some() {
                        return Poll::Ready(Ok(Err(denial)));
                    }
                    let grace = || (denial, Box::pin(sleep(self.policy.grace)));
                    let (_, grace) = self.cut.get_or_insert_with(grace);
                    if grace.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Ok(Err(denial)));
                    }
                }
            }
            if registered {
                return Poll::Pending;
            }
            self.started = true;
            if self.answer.is_none()
                && let Poll::Ready(answer) = future.as_mut().poll(cx)
            {
                self.answer = Some(answer?);
            } else {
                if self.cut.is_none() {
                    self.watch.register(cx);
                }
                registered = true;
            }
        }
    }
}

fn turn_away<B>(gate: &Gate, asker: &Asker, denial: Denial) -> Response<GateBody<B>> {
    gate.turn_away(denial, asker).map(GateBody::denied)
}

impl<S, ReqBody> fmt::Debug for GateFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateFuture").finish_non_exhaustive()
    }
}

fn let_through<A, B: Body>(mut response: Response<B>, guard: RunGuard<A>) -> Response<GateBody<B>> {
    if let Some(upgrade) = guard.upgrade {
        upgrade.answered(response.status());
    }
    let headers = response.headers_mut();
    if !headers.contains_key(CACHE_CONTROL) {
        // RFC 9111 keeps shared caches off answers to `Authorization`, not off those to a cookie.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
    let (parts, body) = response.into_parts();
    let body = GateBody::guarded(body, &parts.headers, guard.watch, guard.policy);
    Response::from_parts(parts, body)
}
