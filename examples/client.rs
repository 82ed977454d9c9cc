//! The client without the layer: adds a user, prints the registration link, sends a push to the
//! phone, waits for the approval and logs out. Ctrl-C cancels the pending authentication.
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

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        let causes = std::iter::successors(error.source(), |&cause| cause.source());
        let causes: String = causes.map(|cause| format!(": {cause}")).collect();
        eprintln!("{error}{causes}");
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Error> {
    let client = Client::new(Credentials::from_env()?)?;
    // An application stores the token with its user; this example deletes the user at the end.
    let token = UserToken::random()?;
    client.add_users(std::slice::from_ref(&token)).await?;
    let link = client.device_registration_link(&token, Some("Alice")).await?;
    println!("open on the phone: {}", link.expose());
    let registered = async {
        while !client.has_registered_mobile_device(&token).await? {
            print_dot();
            sleep(Duration::from_secs(1)).await;
        }
        Ok::<(), Error>(())
    };
    tokio::select! {
        registered = registered => registered?,
        _ = tokio::signal::ctrl_c() => return delete_user(&client, &token).await,
    }

    let session = client.authenticate_user(&token, &AuthenticationRequest::default()).await?;
    println!("\nsent a push to the phone");
    let status = tokio::select! {
        status = wait_for_result(&client, &session) => Some(status?),
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
    delete_user(&client, &token).await
}

/// Waits until the user approves or declines, or the request times out.
async fn wait_for_result(client: &Client, session: &RemoteSession) -> Result<SessionStatus, Error> {
    loop {
        match client.status(session).await {
            Ok(StatusReading::Status(SessionStatus::Pending | SessionStatus::Identifying)) => {
                print_dot();
            }
            Ok(StatusReading::Status(status)) => return Ok(status),
            // The response contradicts itself; the next poll may clear it up.
            Ok(StatusReading::Inconsistent) => print_dot(),
            Err(error) => eprintln!("\n{error:?}"),
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn print_dot() {
    print!(".");
    std::io::stdout().flush().ok();
}

async fn delete_user(client: &Client, token: &UserToken) -> Result<(), Error> {
    client.delete_users(std::slice::from_ref(token)).await?;
    Ok(())
}
