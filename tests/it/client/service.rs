//! A remote service behind TLS that speaks HTTP/2, answers everything with success, and takes as
//! long as it is told to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{Request, Response, StatusCode};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tower_activeconnect::Credentials;
use tower_activeconnect::protocol::Dialect;

use crate::support::raw::{self, STATUS_ACTIVE};
use crate::support::secure::{Authority, Secure};

/// What servers allow as a rule.
const MAX_STREAMS: u32 = 100;

pub(crate) struct Service {
    authority: Authority,
    server: Secure,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    latency_ms: AtomicU64,
    open: AtomicUsize,
    /// Requests that wait for their answer, by connection; and the most there have been on one.
    streams: Mutex<BTreeMap<usize, u32>>,
    most_streams: AtomicU32,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let authority = Authority::new();
        let state = Arc::<State>::default();
        let serving = state.clone();
        let server = Secure::start(authority.vouches_for("localhost"), "h2", move |stream, n| {
            let state = serving.clone();
            async move {
                state.open.fetch_add(1, SeqCst);
                serve(stream, n, &state).await;
                state.open.fetch_sub(1, SeqCst);
            }
        })
        .await;
        Self { authority, server, state }
    }

    /// How long each answer takes from now on.
    pub(crate) fn set_latency(&self, latency: Duration) {
        self.state.latency_ms.store(latency.as_millis().try_into().unwrap(), SeqCst);
    }

    /// How many connections were ever begun.
    pub(crate) fn connections(&self) -> usize {
        self.server.connections()
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.state.open.load(SeqCst)
    }

    /// How many requests wait for their answer.
    pub(crate) fn waiting(&self) -> u32 {
        self.state.streams.lock().unwrap().values().sum()
    }

    pub(crate) fn most_streams(&self) -> u32 {
        self.state.most_streams.load(SeqCst)
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    /// The certificate of its authority.
    pub(crate) fn ca_file(&self) -> tempfile::NamedTempFile {
        self.authority.file()
    }

    pub(crate) fn credentials(&self) -> Credentials {
        self.credentials_at(self.port())
    }

    /// Credentials that reach the service through something on this port.
    pub(crate) fn credentials_at(&self, port: u16) -> Credentials {
        raw::credentials(&format!("https://localhost:{port}"), Dialect::default())
            .with_ca_file(self.authority.file().path())
            .unwrap()
    }
}

async fn serve(stream: TlsStream<TcpStream>, number: usize, state: &Arc<State>) {
    let mut builder = h2::server::Builder::new();
    let Ok(mut connection) = builder.max_concurrent_streams(MAX_STREAMS).handshake(stream).await
    else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let waiting = {
            let mut streams = state.streams.lock().unwrap();
            let waiting = streams.entry(number).or_default();
            *waiting += 1;
            *waiting
        };
        state.most_streams.fetch_max(waiting, SeqCst);
        let state = state.clone();
        tokio::spawn(async move {
            let latency = Duration::from_millis(state.latency_ms.load(SeqCst));
            tokio::time::sleep(latency).await;
            answer(&request, respond);
            *state.streams.lock().unwrap().entry(number).or_default() -= 1;
        });
    }
}

fn answer<B>(request: &Request<B>, mut respond: SendResponse<Bytes>) {
    let path = request.uri().path();
    let (status, body) = if path.starts_with("/authentication/authenticate_user") {
        let base = format!("https://{}", request.uri().authority().unwrap());
        let whole = raw::session(&base);
        let body = whole.split(|byte| *byte == b'\n').next_back().unwrap().to_vec();
        (StatusCode::ACCEPTED, body)
    } else if path == raw::STATUS_PATH {
        (StatusCode::OK, STATUS_ACTIVE.into())
    } else {
        (StatusCode::OK, br#"{"status":true,"device_registered":true,"users":{}}"#.to_vec())
    };
    let head = Response::builder().status(status).body(()).unwrap();
    // The caller may have gone.
    if let Ok(mut stream) = respond.send_response(head, false) {
        stream.send_data(body.into(), true).ok();
    }
}
