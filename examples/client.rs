//! The client by itself, without the layer: adds a user, shows the registration link, rings the
//! phone, waits for the answer, logs out. Ctrl-C while the phone rings cancels at the service.
//!
//! ```text
//! export ACTIVE_CONNECT_APPLICATION_ID=… ACTIVE_CONNECT_APPLICATION_SECRET=…
//! cargo run --example client --no-default-features --features client
//! ```

use std::io::Write as _;
use std::time::Duration;

use tokio::time::sleep;
use tower_activeconnect::client::{AuthenticationRequest, Client, RemoteSession};
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::protocol::StatusReading;
use tower_activeconnect::{Credentials, UserToken};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        let causes = std::iter::successors(error.source(), |&cause| cause.source());
        let causes: String = causes.map(|cause| format!(": {cause}")).collect();
        eprintln!("{error}{causes}");
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Failure> {
    let client = Client::new(Credentials::from_env()?)?;
    // An application keeps the token beside its own user; this one forgets it.
    let token = UserToken::random()?;
    client.add_users(std::slice::from_ref(&token)).await?;
    let link = client.device_registration_link(&token, Some("Alice")).await?;
    println!("open on the phone: {}", link.expose());
    let registered = async {
        while !client.has_registered_mobile_device(&token).await? {
            progress();
            sleep(Duration::from_secs(1)).await;
        }
        Ok::<(), Failure>(())
    };
    tokio::select! {
        registered = registered => registered?,
        _ = tokio::signal::ctrl_c() => return delete(&client, &token).await,
    }

    let session = client.authenticate_user(&token, &AuthenticationRequest::default()).await?;
    println!("\nthe phone rings");
    let status = tokio::select! {
        status = answered(&client, &session) => Some(status?),
        _ = tokio::signal::ctrl_c() => None,
    };
    match status {
        Some(status) => println!("\n{status}"),
        None => println!("\ninterrupted"),
    }
    if !status.is_some_and(SessionStatus::is_terminal) {
        client.logout(&session).await?;
        println!("logged out");
    }
    delete(&client, &token).await
}

/// Waits until the phone has answered, one way or the other.
async fn answered(client: &Client, session: &RemoteSession) -> Result<SessionStatus, Failure> {
    loop {
        match client.status(session).await {
            Ok(StatusReading::Status(SessionStatus::Pending | SessionStatus::Identifying)) => {
                progress();
            }
            Ok(StatusReading::Status(status)) => return Ok(status),
            // Nothing to act on; the next answer may make more sense.
            Ok(StatusReading::Inconsistent) => progress(),
            Err(error) => eprintln!("\n{error:?}"),
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn progress() {
    print!(".");
    std::io::stdout().flush().ok();
}

async fn delete(client: &Client, token: &UserToken) -> Result<(), Failure> {
    client.delete_users(std::slice::from_ref(token)).await?;
    Ok(())
}
