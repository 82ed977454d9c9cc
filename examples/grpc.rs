//! The same layer on a tonic server: a caller with a session is served, one without is refused, and a
//! stream ends with the session that it was opened with. tonic's health service stands in for an
//! application's; how a real one stays open to probes is in `docs/grpc.md`.
//!
//! ```text
//! cargo run --example grpc
//! ```

use tokio::net::TcpListener;
use tonic::metadata::MetadataValue;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Answer;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;
use tower_activeconnect::emulator::{Action, Emulator};
use tower_activeconnect::{
    Activeconnect, Credentials, MemoryTokenStore, SessionCredential, UserId,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The emulator stands in for the service and for the phone.
    let emulator = Emulator::start().await?;
    let (id, secret) = (emulator.application_id(), emulator.application_secret().clone());
    let credentials = Credentials::new(id, secret)?.server(emulator.url())?;
    let ac = Activeconnect::builder(credentials).token_store(MemoryTokenStore::new()).build()?;

    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", ServingStatus::Serving).await;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = Server::builder().layer(ac.layer()).add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let channel = Channel::from_shared(format!("http://{address}"))?.connect().await?;
    let credential = log_in(&ac, &emulator, &"alice".into()).await?;
    println!("allowed: {}", check(channel.clone(), Some(&credential)).await?.as_str_name());
    match check(channel.clone(), None).await {
        Err(status) if status.code() == Code::Unauthenticated => {
            println!("refused: UNAUTHENTICATED");
            println!("because of: {}", reason(&status));
        }
        other => return Err(format!("a call without a session was answered {other:?}").into()),
    }

    let mut health = HealthClient::new(channel);
    let mut watch = health.watch(with(&credential)?).await?.into_inner();
    if let Some(answer) = watch.message().await? {
        println!("watching: {}", answer.status().as_str_name());
    }
    // Somebody ends the session on the phone, or an administrator does.
    let phone = emulator.state().users.remove(0).user_id;
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

/// Enrols the user and logs them in; the emulated phone says yes.
async fn log_in(
    ac: &Activeconnect,
    emulator: &Emulator,
    user: &UserId,
) -> Result<SessionCredential, Box<dyn std::error::Error>> {
    ac.enroll(user).await?;
    let phone = emulator.state().users.remove(0).user_id;
    emulator.register_device(&phone)?;
    let approve = async {
        while emulator.act(&phone, Action::Approve).is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let (credential, ()) = tokio::join!(ac.log_in(user), approve);
    Ok(credential?)
}

async fn check(channel: Channel, credential: Option<&SessionCredential>) -> Result<Answer, Status> {
    let request = match credential {
        Some(credential) => with(credential)?,
        None => Request::new(HealthCheckRequest::default()),
    };
    let answer = HealthClient::new(channel).check(request).await?.into_inner();
    Ok(answer.status())
}

fn with(credential: &SessionCredential) -> Result<Request<HealthCheckRequest>, Status> {
    let mut request = Request::new(HealthCheckRequest::default());
    let bearer = format!("Bearer {}", credential.expose());
    let bearer = MetadataValue::try_from(bearer).map_err(|e| Status::internal(e.to_string()))?;
    request.metadata_mut().insert("authorization", bearer);
    Ok(request)
}
