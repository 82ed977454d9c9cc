//! The connections to the service: their number, and which of them still work.
//!
//! reqwest keeps one HTTP/2 connection for each client, and uses it for all calls as long as the
//! kernel accepts bytes for it. So the pool has several clients, each with a bounded number of
//! calls in flight, and a client on which a call waited while nothing came is never used again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::redirect::Policy;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connector::{Protocol, SingleConnectionLayer};
use super::error::{ClientError, ClientErrorKind};
use crate::clock;

/// TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How many calls share an HTTP/2 connection. Servers reject or queue calls above their own limit,
/// usually 100 (RFC 9113, 6.5.2).
const STREAMS_PER_CONNECTION: usize = 64;
/// The maximum number of calls in flight over HTTP/2, on 64 connections.
const MAX_CALLS: usize = 4_096;
/// The maximum number of calls in flight over HTTP/1.1, where each needs a connection, if the
/// process has no limit of open files; else a quarter of that limit.
const DEFAULT_HTTP1_CALLS: usize = 256;
const MIN_HTTP1_CALLS: usize = 64;
const IDLE_HTTP1_CONNECTIONS: usize = 64;
/// How long an unused connection stays open: intermediaries may have forgotten it after that.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// A connection on which nothing came for this long while a call waited counts as dead.
const MAX_SILENCE: Duration = Duration::from_secs(1);
/// HTTP/2 pings: sent when nothing has come for this long, and how long their response may take.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// The clients of one service. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct ClientPool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    is_https: bool,
    tls: rustls::ClientConfig,
    protocol: Arc<Protocol>,
    max_http1_calls: usize,
    state: Mutex<State>,
    /// A call has ended, or more may be in flight.
    freed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    /// The clients that new calls may use, the oldest first.
    clients: Vec<PooledClient>,
    /// Of all clients, the retired ones too.
    in_flight: usize,
    last_id: u64,
}

#[derive(Debug)]
struct PooledClient {
    id: u64,
    http: reqwest::Client,
    in_flight: usize,
    last_used: Instant,
    /// When a response, or a part of one, came last.
    last_heard: Instant,
}

/// A call's place on a client. It is given back on drop.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Arc<Shared>,
    client_id: u64,
    http: reqwest::Client,
    /// Since when the call waits for the service.
    waits_since: Instant,
    /// The end of the call says nothing about the connection.
    is_settled: bool,
}

impl ClientPool {
    pub(super) fn new(is_https: bool, tls: rustls::ClientConfig) -> Result<Self, ClientError> {
        let freed = Arc::new(Notify::new());
        let protocol = if is_https { Protocol::unknown } else { Protocol::http1 };
        let shared = Shared {
            is_https,
            tls,
            protocol: Arc::new(protocol(freed.clone())),
            max_http1_calls: max_http1_calls(),
            state: Mutex::default(),
            freed,
        };
        // Faults of the settings are reported before the first call.
        shared.build_client()?;
        Ok(Self(Arc::new(shared)))
    }

    /// How many calls may be in flight: 4,096 over HTTP/2; a quarter of the files that the process
    /// may open (64 to 4,096) over HTTP/1.1, and until the service has chosen a protocol.
    pub(super) fn max_calls(&self) -> usize {
        if self.0.protocol.is_http2() { MAX_CALLS } else { self.0.max_http1_calls }
    }

    /// Waits for a place.
    pub(super) async fn lease(&self) -> Result<Lease, ClientError> {
        loop {
            let mut freed = std::pin::pin!(self.0.freed.notified());
            // Registered before the check, so that no place is missed.
            freed.as_mut().enable();
            if let Some(lease) = self.try_lease()? {
                return Ok(lease);
            }
            freed.await;
        }
    }

    fn try_lease(&self) -> Result<Option<Lease>, ClientError> {
        let shared = &self.0;
        let now = clock::monotonic_now();
        let is_http1 = shared.protocol.is_http1();
        let max_per_client = if is_http1 { usize::MAX } else { STREAMS_PER_CONNECTION };
        let mut state = shared.state();
        if state.in_flight >= self.max_calls() {
            return Ok(None);
        }
        state.clients.retain(|client| {
            client.in_flight > 0 || now.duration_since(client.last_used) < IDLE_TIMEOUT
        });
        // The oldest first, so that those for a burst become idle after it.
        let free = state.clients.iter().position(|client| client.in_flight < max_per_client);
        let index = match free {
            Some(index) => index,
            None => {
                let http = shared.build_client()?;
                state.last_id += 1;
                let id = state.last_id;
                let client =
                    PooledClient { id, http, in_flight: 0, last_used: now, last_heard: now };
                state.clients.push(client);
                state.clients.len() - 1
            }
        };
        state.in_flight += 1;
        let client = &mut state.clients[index];
        client.in_flight += 1;
        client.last_used = now;
        Ok(Some(Lease {
            pool: shared.clone(),
            client_id: client.id,
            http: client.http.clone(),
            waits_since: now,
            is_settled: false,
        }))
    }
}

impl Shared {
    fn build_client(&self) -> Result<reqwest::Client, ClientError> {
        let mut builder = reqwest::Client::builder()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .referer(false)
            .https_only(self.is_https)
            .tls_backend_preconfigured(self.tls.clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_HTTP1_CONNECTIONS)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")));
        if self.is_https {
            builder = builder.connector_layer(SingleConnectionLayer::new(self.protocol.clone()));
        }
        let invalid = |error: reqwest::Error| {
            ClientError::new(ClientErrorKind::Invalid).with_source(error.without_url())
        };
        builder.build().map_err(invalid)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock, so a poisoned one holds a whole value.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn client(&mut self, id: u64) -> Option<&mut PooledClient> {
        self.clients.iter_mut().find(|client| client.id == id)
    }

    /// Takes a client out of use. Calls that are in flight on it end as they may; then its
    /// connections close.
    fn retire(&mut self, id: u64) {
        self.clients.retain(|client| client.id != id);
    }
}

impl Lease {
    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Something came from the service.
    pub(super) fn mark_heard(&mut self) {
        let now = clock::monotonic_now();
        self.waits_since = now;
        if let Some(client) = self.pool.state().client(self.client_id) {
            client.last_heard = now;
        }
    }

    /// The whole response came.
    pub(super) fn mark_answered(&mut self) {
        self.is_settled = true;
    }

    /// The call failed before its response was complete. Over HTTP/2 the client knows whether the
    /// connection or only the stream broke. Over HTTP/1.1 the idle connections may have broken with
    /// this one, so none of them is used again.
    pub(super) fn mark_failed(&mut self, error: &reqwest::Error) {
        self.is_settled = true;
        if !error.is_connect() && !self.pool.protocol.is_http2() {
            self.pool.state().retire(self.client_id);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let now = clock::monotonic_now();
        let mut state = self.pool.state();
        state.in_flight -= 1;
        let mut is_dead = false;
        if let Some(client) = state.client(self.client_id) {
            client.in_flight -= 1;
            // A call that was abandoned, by its timeout or its caller. If other calls got responses
            // in the meantime, the service delayed only this one.
            let heard = client.last_heard.max(self.waits_since);
            is_dead = !self.is_settled && now.duration_since(heard) >= MAX_SILENCE;
        }
        if is_dead {
            tracing::debug!(
                "nothing comes over a connection any more; the next call opens another"
            );
            state.retire(self.client_id);
        }
        drop(state);
        self.pool.freed.notify_one();
    }
}

/// The maximum number of calls in flight over HTTP/1.1: a quarter of the files that the process may
/// open.
pub(crate) fn max_http1_calls() -> usize {
    let files = open_file_limit();
    files.map_or(DEFAULT_HTTP1_CALLS, |files| (files / 4).clamp(MIN_HTTP1_CALLS, MAX_CALLS))
}

#[cfg(target_os = "linux")]
fn open_file_limit() -> Option<usize> {
    use nix::sys::resource::{Resource, getrlimit};

    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    Some(usize::try_from(soft).unwrap_or(usize::MAX))
}

#[cfg(not(target_os = "linux"))]
fn open_file_limit() -> Option<usize> {
    None
}
