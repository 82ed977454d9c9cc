//! A microblog whose users log in with their phone:
//! `cargo run --example microblog`.
//!
//! The blog starts the emulator, so you need neither an account at the service nor a phone to try
//! it. If `ACTIVE_CONNECT_SERVER` or `IAMPASS_SERVER` is set, the blog uses that service instead.

mod app;
mod audit;
mod database;
mod pages;
mod register;
mod server;
mod service;
mod timeline;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tower_activeconnect::{Activeconnect, TokenStore};

use app::Blog;
use database::{Database, Tokens};
use service::Service;

/// A microblog whose users log in with their phone
#[derive(Parser)]
#[command(name = "microblog")]
struct Arguments {
    /// Where the blog listens; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:3000")]
    listen: String,
    /// The database: an SQLite file, created if it does not exist, or the URL of a database of
    /// PostgreSQL (postgres://…), MySQL or MariaDB (mysql://…)
    #[arg(long, value_name = "URL", default_value = "sqlite:microblog.db")]
    database: String,
    /// Where the emulator listens, unless ACTIVE_CONNECT_SERVER or IAMPASS_SERVER names a service
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8099")]
    emulator: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("microblog: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), String> {
    let service = Service::choose(&arguments.emulator).await?;
    let (tokens, database) = Database::open(&arguments.database).await?;
    match tokens {
        Tokens::Sqlite(tokens) => serve(tokens, database, service, arguments).await,
        Tokens::Postgres(tokens) => serve(tokens, database, service, arguments).await,
        Tokens::MySql(tokens) => serve(tokens, database, service, arguments).await,
    }
}

/// Serves the blog until the process gets a signal.
async fn serve(
    tokens: impl TokenStore,
    database: Database,
    service: Service,
    arguments: Arguments,
) -> Result<(), String> {
    let listener = server::bind(&arguments.listen).await?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let ac = Activeconnect::builder(service.credentials()?)
        .token_store(tokens)
        // The blog serves plain HTTP, where WebKit rejects `Secure` cookies. Browsers share cookies
        // between all ports of a host, so the name contains the port.
        .insecure_cookie_name(format!("microblog-{}", address.port()))
        .build()
        .map_err(|error| format!("{error:?}"))?;
    service.enroll_users(&ac, &database).await?;
    let audit = tokio::spawn(audit::record(ac.events(), database.clone()));
    let blog = format!("http://{address}");
    // One write: a process that reads only the first line and closes the pipe does not end the blog.
    let greeting = format!("listening on {blog}\n{}", service.instructions(&blog));
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(greeting.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| format!("cannot write to stdout: {error}"))?;
    drop(stdout);
    let app = app::router(Blog { ac: ac.clone(), database, service: Arc::new(service) });
    server::serve(listener, app, &ac).await?;
    // Waits until the last events of the engine are recorded.
    audit.await.map_err(|error| error.to_string())
}
