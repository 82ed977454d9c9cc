//! The same layer on a tonic server: a client logs in by its user's phone, one without a session is
//! refused, and a stream ends with the session that it was opened with. The login routes are HTTP, on
//! the same port. tonic's health service stands in for an application's; how a real one stays open to
//! probes is in `docs/grpc.md`.
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
    // The emulator stands in for the service and for the phone.
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
            println!("refused: UNAUTHENTICATED");
            println!("because of: {}", reason(&status));
        }
        other => return Err(format!("a call without a session was answered {other:?}").into()),
    }

    let credential = log_in(&format!("{site}/auth"), &emulator, &phone).await?;
    let mut health = client(channel, &credential);
    let answer = health.check(HealthCheckRequest::default()).await?.into_inner();
    println!("allowed: {}", answer.status().as_str_name());

    let mut watch = health.watch(HealthCheckRequest::default()).await?.into_inner();
    if let Some(answer) = watch.message().await? {
        println!("watching: {}", answer.status().as_str_name());
    }
    // Somebody ends the session on the phone, or an administrator does.
    emulator.act(&phone, Action::Close)?;
    match watch.message().await {
        Err(status) if status.code() == Code::Unauthenticated => {
            println!("the stream ended: UNAUTHENTICATED");
            println!("because of: {}", reason(&status));
            Ok(())
        }
        other => Err(format!("the stream went on with {other:?}").into()),
    }
}

/// The gate's word for why, from the status's details.
fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    details.error_info().map_or_else(|| "no reason".to_owned(), |info| info.reason.clone())
}

/// Logs alice in as a client of another machine would; the emulated phone says yes.
async fn log_in(
    auth_url: &str,
    emulator: &Emulator,
    phone: &str,
) -> Result<SessionCredential, Box<dyn std::error::Error>> {
    let mut attempt = BearerLogin::new(auth_url)?.start("alice").await?;
    println!("the phone asks whether it is alice");
    // What pressing the button on the phone does, once it asks.
    let approve = async {
        while emulator.act(phone, Action::Approve).is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let (credential, ()) = tokio::join!(attempt.wait(), approve);
    Ok(credential?)
}

fn client(
    channel: Channel,
    credential: &SessionCredential,
) -> HealthClient<InterceptedService<Channel, BearerInterceptor>> {
    HealthClient::with_interceptor(channel, BearerInterceptor::new(credential))
}
