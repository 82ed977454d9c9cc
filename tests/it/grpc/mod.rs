//! The layer in tonic servers: calls of each kind, with tonic's client and with grpcio.

mod browser;
pub(crate) mod echo;
mod soak;
mod web;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use activeconnect_emulator::{Action, Emulator, Endpoint, Fault, FaultKind, SessionReport};
use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use echo::{Echo, once};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::service::{LayerExt as _, Routes};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::StatusExt as _;
use tower_activeconnect::identity::SessionCredential;
use tower_activeconnect::session::SessionInfo;
use tower_activeconnect::{ActiveSession, Activeconnect, ActiveconnectBuilder, ActiveconnectLayer};

use crate::support::bytes_codec::BytesCodec;
use crate::support::{approve, builder, enroll_users, poll_until, serve};

struct Fixture {
    emulator: Emulator,
    ac: Activeconnect,
    credential: SessionCredential,
    session: SessionReport,
}

impl Fixture {
    async fn new() -> Self {
        Self::with_config(|engine| engine).await
    }

    async fn with_config(
        engine: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
    ) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = engine(builder(&emulator)).build().unwrap();
        enroll_users(&emulator, &ac, &["alice"]).await;
        let alice = "alice".into();
        let (credential, session) = tokio::join!(ac.log_in(&alice), approve(&emulator));
        Self { emulator, credential: credential.unwrap(), session, ac }
    }

    fn end(&self) {
        self.emulator.act_on_session(&self.session.session_token, Action::Close).unwrap();
    }

    /// Serves with the layer around the whole tonic server.
    async fn serve(&self) -> String {
        self.serve_behind(self.ac.layer()).await
    }

    async fn serve_behind(&self, layer: ActiveconnectLayer) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = Server::builder().layer(layer).add_service(Echo);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        address
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.credential.expose()).parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request
    }
}

struct Client(Grpc<Channel>);

impl Client {
    async fn connect(address: &str) -> Self {
        let channel = Channel::from_shared(format!("http://{address}")).unwrap();
        Self(Grpc::new(channel.connect().await.unwrap()))
    }

    async fn unary(&mut self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        self.0.ready().await.unwrap();
        self.0.unary(request, PathAndQuery::from_static("/echo.Echo/Unary"), BytesCodec).await
    }

    async fn watch(
        &mut self,
        request: Request<Bytes>,
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static("/echo.Echo/Watch");
        self.0.server_streaming(request, path, BytesCodec).await
    }

    async fn chat(&mut self, fixture: &Fixture) -> Result<Response<Streaming<Bytes>>, Status> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static("/echo.Echo/Chat");
        self.0.streaming(fixture.request(once("a")), path, BytesCodec).await
    }
}

/// The retry delay in a status.
fn retry_after(status: &Status) -> Option<Duration> {
    status.get_error_details().retry_info().and_then(|retry| retry.retry_delay)
}

/// Code, reason and domain.
fn code_and_reason(status: &Status) -> (Code, String, String) {
    let info = status.get_error_details().error_info().cloned().unwrap();
    (status.code(), info.reason, info.domain)
}

fn denial(code: Code, reason: &str) -> (Code, String, String) {
    (code, reason.to_owned(), "tower-activeconnect".to_owned())
}

#[tokio::test]
async fn calls_are_gated_and_streams_end_with_session() {
    let fixture = Fixture::new().await;
    let mut client = Client::connect(&fixture.serve().await).await;
    let response = client.unary(fixture.request(Bytes::from("hello"))).await.unwrap();
    assert_eq!(response.into_inner(), "alice: hello");
    let rejected = client.unary(Request::new(Bytes::from("hello"))).await.unwrap_err();
    assert_eq!(code_and_reason(&rejected), denial(Code::Unauthenticated, "NO_SESSION"));

    let mut watch = client.watch(fixture.request(Bytes::new())).await.unwrap().into_inner();
    let mut chat = client.chat(&fixture).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap(), "alice: 0");
    assert_eq!(chat.message().await.unwrap().unwrap(), "alice: a");
    fixture.end();
    let end = loop {
        if let Err(end) = watch.message().await {
            break end;
        }
    };
    assert_eq!(code_and_reason(&end), denial(Code::Unauthenticated, "ENDED"));
    let end = chat.message().await.unwrap_err();
    assert_eq!(code_and_reason(&end), denial(Code::Unauthenticated, "ENDED"));
    let rejected = client.unary(fixture.request(Bytes::from("hello"))).await.unwrap_err();
    assert_eq!(code_and_reason(&rejected), denial(Code::Unauthenticated, "ENDED"));
}

#[tokio::test]
async fn stale_session_is_unavailable_with_retry() {
    let poll_interval = Duration::from_secs(2);
    let fixture = Fixture::with_config(|engine| engine.poll_interval(poll_interval)).await;
    let address = fixture.serve_behind(fixture.ac.layer().hold_limit(Duration::ZERO)).await;
    let mut client = Client::connect(&address).await;
    let mut watch = client.watch(fixture.request(Bytes::new())).await.unwrap().into_inner();
    fixture.emulator.inject_fault(Fault::new(Endpoint::Status, FaultKind::UnknownStatus));
    let rejected =
        poll_until("odd", async || client.unary(fixture.request(Bytes::from("hello"))).await.err())
            .await;
    assert_eq!(code_and_reason(&rejected), denial(Code::Unavailable, "UNAVAILABLE"));
    assert_eq!(retry_after(&rejected), Some(poll_interval));
    // A cut stream has the same status, and so does HTTP.
    let cut = loop {
        if let Err(cut) = watch.message().await {
            break cut;
        }
    };
    assert_eq!(code_and_reason(&cut), denial(Code::Unavailable, "UNAVAILABLE"));
    assert_eq!(retry_after(&cut), Some(poll_interval));
    let http = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let request = http.get(format!("http://{address}")).bearer_auth(fixture.credential.expose());
    assert_eq!(request.send().await.unwrap().headers()["retry-after"], "2");
}

/// Around one service of several, and in a server with REST and gRPC on one port.
#[tokio::test]
async fn layer_wraps_service_or_whole_server() {
    let fixture = Fixture::new().await;
    // The health service is outside the layer.
    let (_, health) = tonic_health::server::health_reporter();
    let gated = tower::ServiceBuilder::new().layer(fixture.ac.layer()).named_layer(Echo);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = Server::builder().add_service(health).add_service(gated);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let mut client = Client::connect(&address).await;
    let rejected = client.unary(Request::new(Bytes::new())).await.unwrap_err();
    assert_eq!(code_and_reason(&rejected), denial(Code::Unauthenticated, "NO_SESSION"));
    assert!(client.unary(fixture.request(Bytes::new())).await.is_ok());
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let health_request = tonic_health::pb::HealthCheckRequest::default();
    assert!(health.check(health_request).await.is_ok(), "no session needed");

    let rest =
        Router::new().route("/me", get(|s: ActiveSession| async move { s.user().to_string() }));
    let both = Routes::new(Echo).into_axum_router().merge(rest).layer(fixture.ac.layer());
    let site = serve(both).await;
    let mut client = Client::connect(site.strip_prefix("http://").unwrap()).await;
    assert!(client.unary(fixture.request(Bytes::new())).await.is_ok());
    let rejected = client.unary(Request::new(Bytes::new())).await.unwrap_err();
    assert_eq!(code_and_reason(&rejected), denial(Code::Unauthenticated, "NO_SESSION"));
    let me = |bearer: bool| {
        let request =
            reqwest::Client::builder().no_proxy().build().unwrap().get(format!("{site}/me"));
        if bearer { request.bearer_auth(fixture.credential.expose()) } else { request }
    };
    assert_eq!(me(true).send().await.unwrap().text().await.unwrap(), "alice");
    assert_eq!(me(false).send().await.unwrap().status(), 401);
}

/// `scripts/test` installs grpcio; the test is skipped without it.
#[tokio::test]
async fn grpcio_gets_codes_and_reasons() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/sdk-venv/bin/python");
    if !python.exists() {
        eprintln!("grpcio is not installed; scripts/test installs it in target/sdk-venv");
        return;
    }
    let fixture = Fixture::new().await;
    let mut client = Command::new(python)
        .arg(root.join("tests/it/grpc/grpcio_client.py"))
        .args([fixture.serve().await, fixture.credential.expose()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line());
        line.await
            .unwrap()
            .unwrap()
            .unwrap_or_else(|| panic!("grpcio_client.py printed fewer lines"))
    };
    for expected in [
        "without UNAUTHENTICATED NO_SESSION tower-activeconnect no-session",
        "unary alice: hello",
        "collect alice: ab",
        "chat alice: a alice: b",
    ] {
        assert_eq!(next().await, expected);
    }
    // tonic enforces the deadline too, with its own status if it is first.
    let deadline = next().await;
    assert!(
        ["deadline DEADLINE_EXCEEDED", "deadline CANCELLED"].contains(&deadline.as_str()),
        "{deadline}"
    );
    for expected in ["cancelled CANCELLED", "streams open"] {
        assert_eq!(next().await, expected);
    }
    fixture.end();
    for name in ["watch", "chat", "collect"] {
        let expected = format!("ended {name} UNAUTHENTICATED ENDED tower-activeconnect ended");
        assert_eq!(next().await, expected);
    }
    assert!(client.wait().await.unwrap().success());
}
