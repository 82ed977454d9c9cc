//! A page for users who log in with their phone. Set `ACTIVE_CONNECT_APPLICATION_ID` and
//! `ACTIVE_CONNECT_APPLICATION_SECRET`, run the example, open the printed link on the phone, and log
//! in as `alice` at <http://127.0.0.1:3000>.
use std::net::SocketAddr;

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tower_activeconnect::{ActiveSession, Activeconnect, Credentials};
use tower_activeconnect_sqlx::SqliteTokenStore;

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        let causes = std::iter::successors(error.source(), |&cause| cause.source());
        let causes: String = causes.map(|cause| format!(": {cause}")).collect();
        eprintln!("{error}{causes}");
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let store = SqliteTokenStore::open("sqlite:app.db").await?;
    let users = "CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY)";
    sqlx::query(users).execute(store.pool()).await?;
    sqlx::query("INSERT OR IGNORE INTO users VALUES ('alice')").execute(store.pool()).await?;

    let ac = Activeconnect::builder(Credentials::from_env()?).token_store(store).build()?;
    let app = Router::new()
        .route("/", get(|s: ActiveSession| async move { format!("Hello {}", s.user()) }))
        .layer(ac.layer()) // denies requests without a session; the login page is /auth/login by default
        .nest("/auth", ac.routes()); // outside the gate
    println!("{}", ac.check().await); // checks the secret, the service and the clock

    ac.enroll(&"alice".into()).await?;
    let grant = ac.enrollment_grant(&"alice".into())?; // whoever reads the terminal can register as alice
    let link = ac.registration_link(&grant).await?;
    println!("alice registers her phone at {}", link.expose());

    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&listen).await;
    let listener = listener.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
