//! A TLS service over HTTP/2 that responds with success after a configured time.

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

use crate::support::raw_server::{self, STATUS_ACTIVE};
use crate::support::tls_server::{CertificateAuthority, TlsServer};

/// The usual limit of servers.
const MAX_STREAMS: u32 = 100;

pub(crate) struct Service {
    authority: CertificateAuthority,
    server: TlsServer,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    latency_ms: AtomicU64,
    open: AtomicUsize,
    /// The pending requests of each connection, and the maximum on one connection.
    streams: Mutex<BTreeMap<usize, u32>>,
    most_streams: AtomicU32,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let authority = CertificateAuthority::new();
        let state = Arc::<State>::default();
        let serving = state.clone();
        let server = TlsServer::start(authority.issue("localhost"), "h2", move |stream, n| {
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

    /// Sets the time of each response from now on.
    pub(crate) fn set_latency(&self, latency: Duration) {
        self.state.latency_ms.store(latency.as_millis().try_into().unwrap(), SeqCst);
    }

    /// The number of connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.server.connections()
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.state.open.load(SeqCst)
    }

    /// The number of pending requests.
    pub(crate) fn waiting(&self) -> u32 {
        self.state.streams.lock().unwrap().values().sum()
    }

    pub(crate) fn most_streams(&self) -> u32 {
        self.state.most_streams.load(SeqCst)
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    /// The certificate of the service's authority.
    pub(crate) fn ca_file(&self) -> tempfile::NamedTempFile {
        self.authority.pem_file()
    }

    pub(crate) fn credentials(&self) -> Credentials {
        self.credentials_at(self.port())
    }

    /// Credentials that reach the service through a relay at this port.
    pub(crate) fn credentials_at(&self, port: u16) -> Credentials {
        raw_server::credentials(&format!("https://localhost:{port}"), Dialect::default())
            .with_ca_file(self.authority.pem_file().path())
            .unwrap()
    }
}

async fn serve(stream: TlsStream<TcpStream>, number: usize, state: &Arc<State>) {
    let mut builder = h2::server::Builder::new();
    let Ok(mut connection) = builder.max_concurrent_streams(MAX_STREAMS).handshake(stream).await
    else {
        return;
    };
    while let Some(Ok((request, sender))) = connection.accept().await {
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
            respond(&request, sender);
            *state.streams.lock().unwrap().entry(number).or_default() -= 1;
        });
    }
}

fn respond<B>(request: &Request<B>, mut sender: SendResponse<Bytes>) {
    let path = request.uri().path();
    let (status, body) = if path.starts_with("/authentication/authenticate_user") {
        let base = format!("https://{}", request.uri().authority().unwrap());
        let response_bytes = raw_server::session(&base);
        let body = response_bytes.split(|byte| *byte == b'\n').next_back().unwrap().to_vec();
        (StatusCode::ACCEPTED, body)
    } else if path == raw_server::STATUS_PATH {
        (StatusCode::OK, STATUS_ACTIVE.into())
    } else {
        (StatusCode::OK, br#"{"status":true,"device_registered":true,"users":{}}"#.to_vec())
    };
    let head = Response::builder().status(status).body(()).unwrap();
    // The client may have disconnected.
    if let Ok(mut stream) = sender.send_response(head, false) {
        stream.send_data(body.into(), true).ok();
    }
}
