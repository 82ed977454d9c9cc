//! An application with login routes on a socket, behind a trusted proxy on the loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::routing::get;
use reqwest::Response;
use serde_json::json;
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::{ActiveSession, Activeconnect, ActiveconnectBuilder, MemoryTokenStore};

use crate::support::{Browser, builder, enroll_users};

/// The cookie of a known browser.
pub(crate) const KNOWN: &str = "__Host-activeconnect-known";

pub(crate) struct Fixture {
    pub(crate) emulator: Emulator,
    pub(crate) ac: Activeconnect,
    pub(crate) table: Arc<MemoryTokenStore>,
    pub(crate) url: String,
}

impl Fixture {
    /// An application with these users, each with a phone.
    pub(crate) async fn new(
        users: &[&str],
        configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
    ) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let table = Arc::new(MemoryTokenStore::new());
        let builder = builder(&emulator).token_store(table.clone());
        let builder = builder.trusted_proxies(["127.0.0.1/32".parse().unwrap()]);
        let ac = configure(builder).build().unwrap();
        enroll_users(&emulator, &ac, users).await;
        let url = serve(&ac).await;
        Self { emulator, ac, table, url }
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.url)
    }

    /// A browser in which a user logged in by this username at another instance of the application.
    pub(crate) async fn known_browser(&self, username: &str) -> Browser {
        let other = builder(&self.emulator).token_store(self.table.clone()).build().unwrap();
        let other_site = Browser::new(&serve(&other).await);
        other_site.log_in(&self.emulator, username).await;
        other_site.json("/auth/logout", &json!({})).await;
        let browser = self.browser();
        browser.set_cookie(KNOWN, &other_site.cookie(KNOWN).unwrap());
        browser
    }

    /// A copy of this browser's proof in another browser.
    pub(crate) fn copy(&self, browser: &Browser) -> Browser {
        let copy = self.browser();
        copy.set_cookie(KNOWN, &browser.cookie(KNOWN).unwrap());
        copy
    }

    /// The number of pending sessions.
    pub(crate) fn pending_count(&self) -> usize {
        let sessions = self.emulator.state().sessions;
        sessions.iter().filter(|session| session.status == SessionStatus::Pending).count()
    }

    /// The number of pushes so far.
    pub(crate) fn push_count(&self) -> u64 {
        self.emulator.state().calls.authenticate_user
    }
}

/// Serves an application that gets client addresses; returns its URL.
pub(crate) async fn serve(ac: &Activeconnect) -> String {
    let app: Router = Router::new()
        .route("/", get(|session: ActiveSession| async move { session.user().to_string() }))
        .layer(ac.layer())
        .nest("/auth", ac.routes());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}")
}

/// Starts a login from this client address.
pub(crate) async fn start(browser: &Browser, username: &str, address: &str) -> Response {
    let request = browser.post("/auth/login").json(&json!({ "username": username }));
    browser.send(request.header("x-forwarded-for", address)).await
}
