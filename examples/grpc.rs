//! The layer on a tonic server. A call without a session is denied, a client logs in with its user's
//! phone, and a stream ends with its session. The login routes are plain HTTP on the same port.
//!
//! tonic's health service stands in for an application's service. `docs/grpc.md` describes how to
//! keep a real health service open to probes.
//!
//! ```text
//! cargo run --example grpc --features tonic
//! ```

use activeconnect_emulator::{Action, Emulator};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;
use tower_activeconnect::client::{BearerInterceptor, BearerLogin};
use tower_activeconnect::identity::SessionCredential;
use tower_activeconnect::{Activeconnect, Credentials, MemoryTokenStore};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The emulator stands in for the login service and for the phone.
    let emulator = Emulator::start().await?;
    let (id, secret) = (emulator.application_id(), emulator.application_secret().clone());
    let credentials = Credentials::new(id, secret)?.with_server(emulator.url())?;
    let ac = Activeconnect::builder(credentials).token_store(MemoryTokenStore::new()).build()?;
    ac.enroll(&"alice".into()).await?;
    let phone = emulator.state().users.remove(0).user_id;
    emulator.register_device(&phone)?;

    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", ServingStatus::Serving).await;
    let gated = Routes::new(health).into_axum_router().layer(ac.layer());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let site = format!("http://{}", listener.local_addr()?);
    let app = gated.nest("/auth", ac.routes());
    tokio::spawn(async move { axum::serve(listener, app).await });

    let channel = Channel::from_shared(site.clone())?.connect().await?;
    match HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await {
        Err(status) if status.code() == Code::Unauthenticated => {
            println!("denied: UNAUTHENTICATED");
            println!("reason: {}", reason(&status));
        }
        other => return Err(format!("a call without a session returned {other:?}").into()),
    }

    let credential = log_in(&format!("{site}/auth"), &emulator, &phone).await?;
    let mut health = health_client(channel, &credential);
    let response = health.check(HealthCheckRequest::default()).await?.into_inner();
    println!("allowed: {}", response.status().as_str_name());

    let mut watch = health.watch(HealthCheckRequest::default()).await?.into_inner();
    if let Some(response) = watch.message().await? {
        println!("watching: {}", response.status().as_str_name());
    }
    // Ends the session, as the user on the phone or an administrator can.
    emulator.act(&phone, Action::Close)?;
    match watch.message().await {
        Err(status) if status.code() == Code::Unauthenticated => {
            println!("stream ended: UNAUTHENTICATED");
            println!("reason: {}", reason(&status));
            Ok(())
        }
        other => Err(format!("the stream did not end: {other:?}").into()),
    }
}

/// The gate's reason, from the error details of the status.
fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    details.error_info().map_or_else(|| "none".to_owned(), |info| info.reason.clone())
}

/// Logs alice in over HTTP, as a client on another machine does, and approves on the emulated phone.
async fn log_in(
    auth_url: &str,
    emulator: &Emulator,
    phone: &str,
) -> Result<SessionCredential, Box<dyn std::error::Error>> {
    let mut attempt = BearerLogin::new(auth_url)?.start("alice").await?;
    println!("waiting for approval on the phone");
    // Approves as soon as the phone received the push.
    let approve = async {
        while emulator.act(phone, Action::Approve).is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let (credential, ()) = tokio::join!(attempt.wait(), approve);
    Ok(credential?)
}

fn health_client(
    channel: Channel,
    credential: &SessionCredential,
) -> HealthClient<InterceptedService<Channel, BearerInterceptor>> {
    HealthClient::with_interceptor(channel, BearerInterceptor::new(credential))
}
