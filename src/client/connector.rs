//! Opens the connections of one client of the pool.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::Connection;
use tokio::sync::{Notify, Semaphore};
use tower_layer::Layer;
use tower_service::Service;

/// How long a connection may take to open before a call that waits for it opens another.
const NEXT_ATTEMPT_DELAY: Duration = Duration::from_millis(500);

/// The protocol that the service chose for the latest connection; unknown until the first one.
#[derive(Debug, Default)]
pub(super) struct Protocol {
    is_known: AtomicBool,
    is_http2: AtomicBool,
    /// Wakes the calls that wait for a place when the protocol changes.
    changed: Arc<Notify>,
}

impl Protocol {
    /// The protocol of a connection, once it is known; notifies the waiters of `changed`.
    pub(super) fn unknown(changed: Arc<Notify>) -> Self {
        Self { changed, ..Self::default() }
    }

    /// Plain HTTP/1.1, without TLS to choose another.
    pub(super) fn http1(changed: Arc<Notify>) -> Self {
        let is_known = AtomicBool::new(true);
        Self { is_known, changed, ..Self::default() }
    }

    pub(super) fn is_http1(&self) -> bool {
        self.is_known.load(Ordering::Acquire) && !self.is_http2()
    }

    pub(super) fn is_http2(&self) -> bool {
        self.is_http2.load(Ordering::Acquire)
    }

    fn set(&self, is_http2: bool) {
        let was_http2 = self.is_http2.swap(is_http2, Ordering::AcqRel);
        if !self.is_known.swap(true, Ordering::AcqRel) || was_http2 != is_http2 {
            self.changed.notify_waiters();
        }
    }
}

/// Opens one HTTP/2 connection for a client, however many of its calls start at once.
///
/// Until the service has chosen a protocol, each of these calls would open a connection of its own.
/// Here one of them does, and the others wait for it: over HTTP/2 they share it, over HTTP/1.1 each
/// then opens its own. A slow connection delays the others for half a second only.
#[derive(Clone, Debug)]
pub(super) struct SingleConnectionLayer {
    protocol: Arc<Protocol>,
    /// Held by the call that opens a connection.
    turn: Arc<Semaphore>,
    /// How many connections have been opened.
    opened: Arc<AtomicUsize>,
}

impl SingleConnectionLayer {
    pub(super) fn new(protocol: Arc<Protocol>) -> Self {
        Self { protocol, turn: Arc::new(Semaphore::new(1)), opened: Arc::default() }
    }
}

impl<S> Layer<S> for SingleConnectionLayer {
    type Service = SingleConnection<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SingleConnection { inner, layer: self.clone() }
    }
}

/// The service of [`SingleConnectionLayer`].
#[derive(Clone, Debug)]
pub(super) struct SingleConnection<S> {
    inner: S,
    layer: SingleConnectionLayer,
}

impl<S, R> Service<R> for SingleConnection<S>
where
    S: Service<R> + Clone + Send + 'static,
    S::Response: Connection + Send,
    S::Error: Send,
    S::Future: Send,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, target: R) -> Self::Future {
        // The ready service is used; its clone may not be ready.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let SingleConnectionLayer { protocol, turn, opened } = self.layer.clone();
        let opened_before = opened.load(Ordering::Acquire);
        Box::pin(async move {
            let mut turn = match protocol.is_http1() {
                true => None,
                false => turn.acquire_owned().await.ok(),
            };
            if opened.load(Ordering::Acquire) != opened_before {
                if protocol.is_http2() {
                    // The client's pool hands that connection to this call, and drops this future
                    // or lets it run into the connect timeout.
                    pending::<()>().await;
                }
                turn = None;
            }
            let mut connecting = std::pin::pin!(inner.call(target));
            let connection = tokio::select! {
                biased;
                connection = &mut connecting => connection,
                () = tokio::time::sleep(NEXT_ATTEMPT_DELAY) => {
                    turn = None;
                    connecting.await
                }
            };
            if let Ok(connection) = &connection {
                protocol.set(connection.connected().is_negotiated_h2());
                opened.fetch_add(1, Ordering::AcqRel);
            }
            drop(turn);
            connection
        })
    }
}
