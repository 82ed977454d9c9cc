//! A gRPC server with its health service outside the gate, and what `TraceLayer` logs for denials.

use std::sync::{Arc, Mutex};

use activeconnect_emulator::{Action, Emulator};
use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::net::TcpListener;
use tonic::service::LayerExt as _;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Status, Streaming};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower_activeconnect::Activeconnect;
use tower_activeconnect::identity::SessionCredential;
use tower_http::classify::{GrpcCode, GrpcErrorsAsFailures, SharedClassifier};
use tower_http::trace::TraceLayer;
use tracing::Level;

use crate::grpc::echo::{Echo, once};
use crate::support::bytes_codec::BytesCodec;
use crate::support::log_capture::{LogCapture, capture};
use crate::support::{approve, builder, enroll_users, poll_until};

async fn logged_in() -> (Emulator, Activeconnect, SessionCredential) {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let alice = "alice".into();
    let (credential, _) = tokio::join!(ac.log_in(&alice), approve(&emulator));
    (emulator, ac, credential.unwrap())
}

/// As in docs/grpc.md: denials are not server errors.
fn trace_layer() -> TraceLayer<SharedClassifier<GrpcErrorsAsFailures>> {
    let classifier = GrpcErrorsAsFailures::new()
        .with_success(GrpcCode::Unauthenticated)
        .with_success(GrpcCode::PermissionDenied);
    TraceLayer::new(SharedClassifier::new(classifier))
}

async fn serve(ac: &Activeconnect) -> Channel {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", ServingStatus::Serving).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder()
        .layer(trace_layer())
        .add_service(health)
        .add_service(ac.layer().named_layer(Echo));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn request<T>(credential: Option<&SessionCredential>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(credential) = credential {
        let bearer = format!("Bearer {}", credential.expose()).parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
    }
    request
}

async fn unary(channel: &Channel, credential: Option<&SessionCredential>) -> Result<Bytes, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let request = request(credential, Bytes::from("hello"));
    let response = client.unary(request, "/echo.Echo/Unary".parse().unwrap(), BytesCodec).await?;
    Ok(response.into_inner())
}

async fn chat(channel: &Channel, credential: &SessionCredential) -> Streaming<Bytes> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let request = request(Some(credential), once("hello"));
    let response = client.streaming(request, "/echo.Echo/Chat".parse().unwrap(), BytesCodec).await;
    response.unwrap().into_inner()
}

/// T165: a probe needs no session.
#[tokio::test]
async fn health_probe_needs_no_session() {
    let (emulator, ac, credential) = logged_in().await;
    let channel = serve(&ac).await;
    let mut probe = HealthClient::new(channel.clone());
    let check = async |probe: &mut HealthClient<Channel>| {
        let response = probe.check(HealthCheckRequest::default()).await.unwrap();
        response.into_inner().status().as_str_name().to_owned()
    };
    assert_eq!(check(&mut probe).await, "SERVING");
    assert_eq!(unary(&channel, Some(&credential)).await.unwrap(), "alice: hello");
    assert_eq!(unary(&channel, None).await.unwrap_err().code(), Code::Unauthenticated);

    // The probe's stream does not end with a session.
    let mut watch = probe.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let session = emulator.state().sessions.remove(0);
    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    poll_until("the session ended", async || {
        unary(&channel, Some(&credential)).await.is_err().then_some(())
    })
    .await;
    assert_eq!(check(&mut probe).await, "SERVING");
    assert!(watch.message().now_or_never().is_none(), "the stream is open");
}

/// T165: denials and streams that end with their session are not server errors.
#[tokio::test]
async fn denials_are_not_logged_as_errors() {
    let errors = Arc::new(Mutex::new(Vec::new()));
    let received = errors.clone();
    let _capture = capture(LogCapture(Level::ERROR, move |line: &str| {
        received.lock().unwrap().push(line.to_owned());
    }));
    let (emulator, ac, credential) = logged_in().await;
    let channel = serve(&ac).await;
    for _ in 0..3 {
        assert_eq!(unary(&channel, None).await.unwrap_err().code(), Code::Unauthenticated);
    }
    let mut chat = chat(&channel, &credential).await;
    assert_eq!(chat.message().await.unwrap().unwrap(), "alice: hello");
    let session = emulator.state().sessions.remove(0);
    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    assert_eq!(chat.message().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(*errors.lock().unwrap(), Vec::<String>::new());

    // An unknown method is still logged as an error.
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let unknown = request(None, Bytes::new());
    let path = "/grpc.health.v1.Health/Unknown".parse().unwrap();
    let rejected = client.unary(unknown, path, BytesCodec).await.unwrap_err();
    assert_eq!(rejected.code(), Code::Unimplemented);
    assert_eq!(errors.lock().unwrap().len(), 1);
}
