//! What watches over a running handler.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http_body::Body;
use tokio::time::{Sleep, sleep};

use super::authorize::Authorizer;
use super::body::GateBody;
use super::buffered_body;
use super::framing::Framing;
use super::header_scan;
use super::response_format::ClientContext;
use crate::engine::{Action, RequestNumber, StreamGuard, Upgrade};
use crate::verdict::Denial;

/// What watches over a running handler.
pub(super) struct HandlerGuard<A> {
    passage: StreamGuard,
    /// The handler's session has it, too.
    request: RequestNumber,
    upgrade: Option<Arc<Upgrade>>,
    /// The handler has been polled and may be in the middle of its work.
    started: bool,
    /// The session has ended: the denial, and how long the handler may still run. Only the response
    /// of a handler that ended its session itself leaves, if it is complete by then.
    pub(super) cut: Option<(Denial, Pin<Box<Sleep>>)>,
    /// The handler's response, held until the session's status is known again. Boxed, because that
    /// is rare.
    response: Option<Box<A>>,
}

impl<A> HandlerGuard<A> {
    pub(super) fn new(
        passage: StreamGuard,
        request: RequestNumber,
        upgrade: Option<Arc<Upgrade>>,
    ) -> Self {
        Self { passage, request, upgrade, started: false, cut: None, response: None }
    }

    /// Runs the handler until its response may leave; returns the denial if it may not.
    ///
    /// A task that has to be woken registers first and checks after that; a handler that is done at
    /// once needs no waking.
    pub(super) fn poll<F, E>(
        &mut self,
        mut future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Result<A, Denial>, E>>
    where
        F: Future<Output = Result<A, E>>,
    {
        let mut reaction = match &self.cut {
            Some((denial, _)) => Action::Cut(*denial),
            None => self.passage.check_cached(),
        };
        let mut response = self.response.take().map(|response| *response);
        let mut waits = false;
        loop {
            match reaction {
                Action::Forward => {
                    if let Some(response) = response {
                        return Poll::Ready(Ok(Ok(response)));
                    }
                }
                Action::Hold(_, denial) | Action::Cut(denial) if !self.started => {
                    return Poll::Ready(Ok(Err(denial)));
                }
                Action::Hold(limit, denial) => {
                    if response.is_some() && self.passage.hold(limit, denial, cx).is_ready() {
                        return Poll::Ready(Ok(Err(denial)));
                    }
                }
                Action::Cut(denial) => {
                    let grace =
                        || (denial, Box::pin(sleep(self.passage.policy().grace.duration())));
                    let (_, grace) = self.cut.get_or_insert_with(grace);
                    let is_late = grace.as_mut().poll(cx).is_ready();
                    if response.is_some() || is_late {
                        // The session may have changed again while the handler finished: a
                        // suspended session may have ended.
                        let denial = self.passage.denial().unwrap_or(denial);
                        let response = response.filter(|_| !is_late && self.ended_own_session());
                        return Poll::Ready(Ok(response.ok_or(denial)));
                    }
                }
            }
            if waits {
                self.response = response.map(Box::new);
                return Poll::Pending;
            }
            self.started = true;
            // A cut is final.
            let is_cut = self.cut.is_some();
            if response.is_none()
                && let Poll::Ready(polled) = future.as_mut().poll(cx)
            {
                let polled = polled?;
                if !is_cut {
                    // By the clocks, however long the handler took.
                    reaction = self.passage.check();
                    if reaction == Action::Forward {
                        return Poll::Ready(Ok(Ok(polled)));
                    }
                }
                response = Some(polled);
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
        self.passage.session().read_is_ended_by(self.request)
    }
}

pub(super) fn denied_response<B>(
    gate: &Authorizer,
    client: &ClientContext,
    denial: Denial,
) -> Response<GateBody<B>> {
    gate.deny(denial, client).map(GateBody::buffered)
}

pub(super) fn guard_response<A, B: Body + 'static>(
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
    // A body with a length is no stream of events or messages: nothing can be added to it.
    let length = response.body().size_hint().exact();
    let framing = match length {
        Some(_) => Framing::Other,
        None => Framing::from_content_type(content_type, encoding.is_some(), client.is_grpc()),
    };
    if cached.is_none() {
        // RFC 9111 keeps shared caches from responses to `Authorization`, not from those to a
        // cookie.
        response.headers_mut().insert(CACHE_CONTROL, gate.cache_control.header_value());
    }
    // The body of a response to HEAD is not read.
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
