//! Prints the three headers that sign a request, so that you can call the API with curl:
//!
//! ```text
//! ACTIVE_CONNECT_APPLICATION_SECRET=… cargo run -q --example sign -- --client-id ID --url URL
//! ```

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use tower_activeconnect::protocol::{Dialect, Nonce, sign};
use tower_activeconnect::{Credentials, Secret};

const SECRET_VARIABLE: &str = "ACTIVE_CONNECT_APPLICATION_SECRET";

/// Prints the headers that sign a request; the secret is read from ACTIVE_CONNECT_APPLICATION_SECRET.
#[derive(Parser)]
struct Arguments {
    /// activeconnect, iampass, activeconnect-documented or iampass-documented
    #[arg(long, default_value_t)]
    dialect: Dialect,
    /// The application id; for a session's call, the session token
    #[arg(long)]
    client_id: String,
    /// The whole URL, byte for byte as the client sends it
    #[arg(long)]
    url: String,
    /// A number below 2^64 (default: random)
    #[arg(long)]
    nonce: Option<u64>,
    /// Unix seconds (default: now)
    #[arg(long)]
    timestamp: Option<u64>,
}

fn main() {
    if let Err(error) = run(&Arguments::parse()) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let secret =
        std::env::var(SECRET_VARIABLE).map_err(|_| format!("{SECRET_VARIABLE} is not set"))?;
    let credentials = Credentials::new(&arguments.client_id, Secret::new(secret))?;
    let url = url::Url::parse(&arguments.url).map_err(|error| format!("--url: {error}"))?;
    if url.as_str() != arguments.url {
        eprintln!("note: many clients send this URL as {url}");
    }
    let nonce = arguments.nonce.map_or_else(Nonce::random, |nonce| Ok(Nonce::from_u64(nonce)))?;
    #[expect(clippy::disallowed_methods, reason = "the timestamp is for the service")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let signed = sign(
        arguments.dialect,
        credentials.application_id(),
        credentials.application_secret(),
        &arguments.url,
        nonce,
        arguments.timestamp.unwrap_or(now),
    );
    for (name, value) in signed.headers() {
        println!("{name}: {value}");
    }
    Ok(())
}
