//! The same layer on a tonic server, in front of its health service: a caller with a session is
//! served, one without is refused.
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
    match check(channel, None).await {
        Err(status) if status.code() == Code::Unauthenticated => {
            println!("refused: UNAUTHENTICATED");
            Ok(())
        }
        other => Err(format!("a call without a session was answered {other:?}").into()),
    }
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
    let mut request = Request::new(HealthCheckRequest::default());
    if let Some(credential) = credential {
        let bearer = format!("Bearer {}", credential.expose());
        let bearer =
            MetadataValue::try_from(bearer).map_err(|e| Status::internal(e.to_string()))?;
        request.metadata_mut().insert("authorization", bearer);
    }
    let answer = HealthClient::new(channel).check(request).await?.into_inner();
    Ok(answer.status())
}
