//! TLS servers, and a child process that trusts their certificate authority. A child process,
//! because a process can't safely change its own environment variables.
#![allow(dead_code, reason = "each test pem_file uses some of it")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

use std::ffi::OsString;
use std::future::Future;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;
use tower_activeconnect::protocol::Dialect;
use tracing::Level;

use super::log_capture::LogCapture;
use super::raw_server::{self, APPLICATION_SECRET, SESSION_SECRET, SESSION_TOKEN};

/// A certificate authority.
pub(crate) struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key.
pub(crate) struct ServerCertificate {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl CertificateAuthority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn issue(&self, host: &str) -> ServerCertificate {
        self.issue_valid(host, 2020, 4000)
    }

    pub(crate) fn issue_valid(&self, host: &str, from: i32, to: i32) -> ServerCertificate {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        ServerCertificate { certificate: certificate.der().clone(), key }
    }

    /// The authority's certificate as a pem_file for `SSL_CERT_FILE`.
    pub(crate) fn pem_file(&self) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &self.pem).unwrap();
        file
    }
}

impl ServerCertificate {
    pub(crate) fn self_signed(host: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        Self { certificate: params.self_signed(&key).unwrap().der().clone(), key }
    }

    fn acceptor(&self, protocol: &str) -> TlsAcceptor {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der()).into();
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![self.certificate.clone()], key)
                .unwrap();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A server at `https://localhost` that counts its connections.
pub(crate) struct TlsServer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl TlsServer {
    /// Serves each connection whose handshake succeeds.
    pub(crate) async fn start<F: Future<Output = ()> + Send + 'static>(
        identity: ServerCertificate,
        protocol: &str,
        serve: impl Fn(TlsStream<TcpStream>, usize) -> F + Clone + Send + 'static,
    ) -> Self {
        let acceptor = identity.acceptor(protocol);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = counter.fetch_add(1, SeqCst) + 1;
                let (acceptor, serve) = (acceptor.clone(), serve.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, number).await;
                    }
                });
            }
        });
        Self { address, connections }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

const SERVER: &str = "WIRE_TEST_SERVER";
const OUTCOME: &str = "outcome: ";
/// The ignored test that the child process runs.
const CHILD_TEST: &str = "client::transport::child_process";

/// Authenticates twice at this server, in a child process with these variables. Returns each
/// outcome: `ok` or the error's kind. Asserts that the child's log has no secret.
pub(crate) async fn call_in_child(url: &str, variables: &[(&str, OsString)]) -> [String; 2] {
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD_TEST, "--ignored", "--nocapture"])
        .env(SERVER, url)
        .envs(variables.iter().cloned())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(text.contains("TRACE"), "the child logs at the trace level");
    for secret in [APPLICATION_SECRET, SESSION_SECRET, SESSION_TOKEN, "hmac"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let mut outcomes = text.lines().filter_map(|line| line.split_once(OUTCOME));
    let mut next = || outcomes.next().map(|(_, outcome)| outcome.to_owned());
    match (next(), next()) {
        (Some(first), Some(second)) => [first, second],
        _ => panic!("{text}"),
    }
}

/// The body of the test [`CHILD_TEST`].
pub(crate) fn run_child() {
    let Ok(url) = std::env::var(SERVER) else { return };
    let subscriber = LogCapture(Level::TRACE, |line: &str| println!("{line}"));
    tracing::subscriber::set_global_default(subscriber).unwrap();
    tracing::trace!("started");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = raw_server::client(&url, Dialect::default());
        for _ in 0..2 {
            match raw_server::authenticate(&client).await {
                Ok(_) => println!("\n{OUTCOME}ok"),
                Err(error) => println!("\n{OUTCOME}{:?}", error.kind()),
            }
        }
    });
}
