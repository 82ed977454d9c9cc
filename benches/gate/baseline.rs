//! A hand-written minimal gate: the baseline for the crate's own layer.
//!
//! The gate reads the cookie and rejects a second one, hashes the value, looks the session up,
//! counts a hold, and checks that the session is active and fresh on both clocks. It inserts the
//! session into the extensions, checks again when the response is ready, adds `Cache-Control`, and
//! wraps a body that is not complete at once, to check a flag before each frame.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use dashmap::DashMap;
use http::header::{CACHE_CONTROL, COOKIE, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use nix::time::{ClockId, clock_gettime};
use pin_project_lite::pin_project;
use sha2::{Digest as _, Sha256};
use tower::{Layer, Service};
use tower_activeconnect::identity::SessionCredential;

const STALE: u64 = 15_000_000;

pub(crate) struct Session {
    active: AtomicBool,
    /// The time of the last good status, in milliseconds.
    mono: AtomicU64,
    wall: AtomicU64,
    guards: AtomicU32,
}

impl Session {
    fn allows(&self) -> bool {
        let fresh =
            |clock, at: &AtomicU64| now(clock).saturating_sub(at.load(Ordering::Acquire)) < STALE;
        self.active.load(Ordering::Acquire)
            && fresh(ClockId::CLOCK_MONOTONIC_COARSE, &self.mono)
            && fresh(ClockId::CLOCK_REALTIME_COARSE, &self.wall)
    }
}

fn now(clock: ClockId) -> u64 {
    Duration::from(clock_gettime(clock).unwrap()).as_millis() as u64
}

#[derive(Clone)]
pub(crate) struct BaselineLayer {
    sessions: Arc<DashMap<[u8; 32], Arc<Session>>>,
    guards: bool,
}

impl BaselineLayer {
    pub(crate) fn new(credentials: &[SessionCredential]) -> Self {
        let sessions = DashMap::with_shard_amount(1024);
        for credential in credentials {
            let session = Session {
                active: AtomicBool::new(true),
                mono: AtomicU64::new(now(ClockId::CLOCK_MONOTONIC)),
                wall: AtomicU64::new(now(ClockId::CLOCK_REALTIME)),
                guards: AtomicU32::new(0),
            };
            let bits = BASE64_URL_SAFE_NO_PAD.decode(credential.expose()).unwrap();
            sessions.insert(Sha256::digest(bits).into(), Arc::new(session));
        }
        Self { sessions: Arc::new(sessions), guards: true }
    }

    /// Leaves bodies unguarded.
    #[allow(dead_code, reason = "one of the benches uses it")]
    pub(crate) fn unguarded(self) -> Self {
        Self { guards: false, ..self }
    }

    fn find(&self, headers: &HeaderMap) -> Option<Guard> {
        let mut found = None;
        for header in headers.get_all(COOKIE) {
            for pair in header.as_bytes().split(|byte| *byte == b';') {
                let Some(value) = pair.trim_ascii().strip_prefix(b"__Host-activeconnect=") else {
                    continue;
                };
                if found.is_some_and(|found| found != value) {
                    return None;
                }
                found = Some(value);
            }
        }
        let mut bits = [0; 32];
        let read = BASE64_URL_SAFE_NO_PAD.decode_slice(found?, &mut bits).ok()?;
        let key: [u8; 32] = Sha256::digest(bits).into();
        let session = (read == 32).then(|| self.sessions.get(&key))??.clone();
        session.guards.fetch_add(1, Ordering::AcqRel);
        let guard = Guard(session);
        guard.0.allows().then_some(guard)
    }
}

struct Guard(Arc<Session>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.guards.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<S> Layer<S> for BaselineLayer {
    type Service = Baseline<S>;

    fn layer(&self, inner: S) -> Baseline<S> {
        Baseline { inner, sessions: self.clone() }
    }
}

#[derive(Clone)]
pub(crate) struct Baseline<S> {
    inner: S,
    sessions: BaselineLayer,
}

impl<S, Q, B> Service<Request<Q>> for Baseline<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    type Response = Response<BaselineBody<B>>;
    type Error = S::Error;
    type Future = BaselineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Q>) -> Self::Future {
        let Some(guard) = self.sessions.find(request.headers()) else {
            return BaselineFuture { guard: None, guards: false, inner: None };
        };
        request.extensions_mut().insert(guard.0.clone());
        let inner = Some(self.inner.call(request));
        BaselineFuture { guard: Some(guard), guards: self.sessions.guards, inner }
    }
}

pin_project! {
    pub(crate) struct BaselineFuture<F> {
        guard: Option<Guard>,
        guards: bool,
        #[pin]
        inner: Option<F>,
    }
}

impl<F, B, E> Future for BaselineFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<BaselineBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let denied = |status| {
            let mut response = Response::new(BaselineBody { inner: None, guard: None });
            *response.status_mut() = status;
            Poll::Ready(Ok(response))
        };
        let Some(inner) = this.inner.as_pin_mut() else {
            return denied(StatusCode::UNAUTHORIZED);
        };
        let mut response = ready!(inner.poll(cx))?;
        let Some(guard) = this.guard.take().filter(|guard| guard.0.allows()) else {
            return denied(StatusCode::SERVICE_UNAVAILABLE);
        };
        let headers = response.headers_mut();
        if !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
        Poll::Ready(Ok(response.map(|inner| {
            // A body with an exact size counts as complete.
            let guards = *this.guards && inner.size_hint().exact().is_none();
            let guard = guards.then_some(guard);
            BaselineBody { inner: Some(inner), guard }
        })))
    }
}

pin_project! {
    pub(crate) struct BaselineBody<B> {
        #[pin]
        inner: Option<B>,
        guard: Option<Guard>,
    }
}

impl<B: Body<Data = Bytes>> Body for BaselineBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        if let Some(guard) = this.guard
            && !guard.0.active.load(Ordering::Acquire)
        {
            this.inner.set(None);
        }
        match this.inner.as_pin_mut() {
            Some(inner) => inner.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}
