//! The layer in tonic servers: calls of each kind, as tonic's client and as grpcio see them.

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

use crate::support::plain::Plain;
use crate::support::{approve, builder, serve, until, with_phones};

struct Stage {
    emulator: Emulator,
    ac: Activeconnect,
    credential: SessionCredential,
    session: SessionReport,
}

impl Stage {
    async fn new() -> Self {
        Self::of(|engine| engine).await
    }

    async fn of(engine: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = engine(builder(&emulator)).build().unwrap();
        with_phones(&emulator, &ac, &["alice"]).await;
        let alice = "alice".into();
        let (credential, session) = tokio::join!(ac.log_in(&alice), approve(&emulator));
        Self { emulator, credential: credential.unwrap(), session, ac }
    }

    fn end(&self) {
        self.emulator.act_on_session(&self.session.session_token, Action::Close).unwrap();
    }

    /// A tonic server with the layer around all of it.
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
        self.0.unary(request, PathAndQuery::from_static("/echo.Echo/Unary"), Plain).await
    }

    async fn watch(
        &mut self,
        request: Request<Bytes>,
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static("/echo.Echo/Watch");
        self.0.server_streaming(request, path, Plain).await
    }

    async fn chat(&mut self, stage: &Stage) -> Result<Response<Streaming<Bytes>>, Status> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static("/echo.Echo/Chat");
        self.0.streaming(stage.request(once("a")), path, Plain).await
    }
}

/// When a status says that it is worth trying again.
fn retry_after(status: &Status) -> Option<Duration> {
    status.get_error_details().retry_info().and_then(|retry| retry.retry_delay)
}

/// Code, reason, domain.
fn said(status: &Status) -> (Code, String, String) {
    let info = status.get_error_details().error_info().cloned().unwrap();
    (status.code(), info.reason, info.domain)
}

fn refusal(code: Code, reason: &str) -> (Code, String, String) {
    (code, reason.to_owned(), "tower-activeconnect".to_owned())
}

#[tokio::test]
async fn calls_are_gated_and_streams_end_with_session() {
    let stage = Stage::new().await;
    let mut client = Client::connect(&stage.serve().await).await;
    let answer = client.unary(stage.request(Bytes::from("hello"))).await.unwrap();
    assert_eq!(answer.into_inner(), "alice: hello");
    let refused = client.unary(Request::new(Bytes::from("hello"))).await.unwrap_err();
    assert_eq!(said(&refused), refusal(Code::Unauthenticated, "NO_SESSION"));

    let mut watch = client.watch(stage.request(Bytes::new())).await.unwrap().into_inner();
    let mut chat = client.chat(&stage).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap(), "alice: 0");
    assert_eq!(chat.message().await.unwrap().unwrap(), "alice: a");
    stage.end();
    let end = loop {
        if let Err(end) = watch.message().await {
            break end;
        }
    };
    assert_eq!(said(&end), refusal(Code::Unauthenticated, "ENDED"));
    let end = chat.message().await.unwrap_err();
    assert_eq!(said(&end), refusal(Code::Unauthenticated, "ENDED"));
    let refused = client.unary(stage.request(Bytes::from("hello"))).await.unwrap_err();
    assert_eq!(said(&refused), refusal(Code::Unauthenticated, "ENDED"));
}

#[tokio::test]
async fn stale_session_is_unavailable_with_retry() {
    let poll_interval = Duration::from_secs(2);
    let stage = Stage::of(|engine| engine.poll_interval(poll_interval)).await;
    let address = stage.serve_behind(stage.ac.layer().hold_limit(Duration::ZERO)).await;
    let mut client = Client::connect(&address).await;
    let mut watch = client.watch(stage.request(Bytes::new())).await.unwrap().into_inner();
    stage.emulator.inject_fault(Fault::new(Endpoint::Status, FaultKind::UnknownStatus));
    let refused =
        until("odd", async || client.unary(stage.request(Bytes::from("hello"))).await.err()).await;
    assert_eq!(said(&refused), refusal(Code::Unavailable, "UNAVAILABLE"));
    assert_eq!(retry_after(&refused), Some(poll_interval));
    // A stream that is cut says the same, and so does HTTP.
    let cut = loop {
        if let Err(cut) = watch.message().await {
            break cut;
        }
    };
    assert_eq!(said(&cut), refusal(Code::Unavailable, "UNAVAILABLE"));
    assert_eq!(retry_after(&cut), Some(poll_interval));
    let http = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let request = http.get(format!("http://{address}")).bearer_auth(stage.credential.expose());
    assert_eq!(request.send().await.unwrap().headers()["retry-after"], "2");
}

/// On one service of several, and in one server that speaks REST and gRPC on one port.
#[tokio::test]
async fn layer_goes_around_one_service_or_a_whole_port() {
    let stage = Stage::new().await;
    // Health is left open by composition.
    let (_, health) = tonic_health::server::health_reporter();
    let gated = tower::ServiceBuilder::new().layer(stage.ac.layer()).named_layer(Echo);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = Server::builder().add_service(health).add_service(gated);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let mut client = Client::connect(&address).await;
    let refused = client.unary(Request::new(Bytes::new())).await.unwrap_err();
    assert_eq!(said(&refused), refusal(Code::Unauthenticated, "NO_SESSION"));
    assert!(client.unary(stage.request(Bytes::new())).await.is_ok());
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let asked = tonic_health::pb::HealthCheckRequest::default();
    assert!(health.check(asked).await.is_ok(), "no session needed");

    let rest =
        Router::new().route("/me", get(|s: ActiveSession| async move { s.user().to_string() }));
    let both = Routes::new(Echo).into_axum_router().merge(rest).layer(stage.ac.layer());
    let site = serve(both).await;
    let mut client = Client::connect(site.strip_prefix("http://").unwrap()).await;
    assert!(client.unary(stage.request(Bytes::new())).await.is_ok());
    let refused = client.unary(Request::new(Bytes::new())).await.unwrap_err();
    assert_eq!(said(&refused), refusal(Code::Unauthenticated, "NO_SESSION"));
    let me = |bearer: bool| {
        let request =
            reqwest::Client::builder().no_proxy().build().unwrap().get(format!("{site}/me"));
        if bearer { request.bearer_auth(stage.credential.expose()) } else { request }
    };
    assert_eq!(me(true).send().await.unwrap().text().await.unwrap(), "alice");
    assert_eq!(me(false).send().await.unwrap().status(), 401);
}

/// `scripts/test` installs grpcio; without it there is nobody to judge.
#[tokio::test]
async fn grpcio_sees_codes_reasons_and_ends() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/sdk-venv/bin/python");
    if !python.exists() {
        eprintln!("not judged: scripts/test makes target/sdk-venv, with grpcio in it");
        return;
    }
    let stage = Stage::new().await;
    let mut judge = Command::new(python)
        .arg(root.join("tests/it/grpc/judge.py"))
        .args([stage.serve().await, stage.credential.expose()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(judge.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line());
        line.await.unwrap().unwrap().unwrap_or_else(|| panic!("the judge said no more"))
    };
    for expected in [
        "without UNAUTHENTICATED NO_SESSION tower-activeconnect no-session",
        "unary alice: hello",
        "collect alice: ab",
        "chat alice: a alice: b",
    ] {
        assert_eq!(next().await, expected);
    }
    // tonic keeps to the deadline as well, and says so in its own word if it is first.
    let deadline = next().await;
    assert!(
        ["deadline DEADLINE_EXCEEDED", "deadline CANCELLED"].contains(&deadline.as_str()),
        "{deadline}"
    );
    for expected in ["cancelled CANCELLED", "on the line"] {
        assert_eq!(next().await, expected);
    }
    stage.end();
    for name in ["watch", "chat", "collect"] {
        let expected = format!("ended {name} UNAUTHENTICATED ENDED tower-activeconnect ended");
        assert_eq!(next().await, expected);
    }
    assert!(judge.wait().await.unwrap().success());
}
