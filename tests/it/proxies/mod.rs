//! Applications behind reverse proxies.

mod buffering;
mod client_ip;
#[cfg(feature = "ws")]
mod forward_auth;
#[cfg(feature = "ws")]
mod public_origin;
mod servers;
mod stripped_prefix;
#[cfg(unix)]
mod unix_socket;
mod verify;

use std::net::SocketAddr;
use std::sync::Mutex;

use activeconnect_emulator::{Emulator, SessionReport};
use axum::Router;
use axum::http::Uri;
use axum::routing::get;
use servers::Proxy;
use tower_activeconnect::{ActiveSession, Activeconnect, ActiveconnectBuilder};

use crate::support::{Browser, builder, enroll_users};

const KNOWN_BROWSER: &str = "__Host-activeconnect-known";

/// An application with the users alice and bob, on its own port.
struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    /// The address without a proxy, such as `http://127.0.0.1:4711`.
    url: String,
    /// The proof of the last known browser: with it the user's next login does not wait for the
    /// reservation to end.
    proof: Mutex<Option<String>>,
}

impl Site {
    async fn start(configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = configure(builder(&emulator)).build().unwrap();
        enroll_users(&emulator, &ac, &["alice", "bob"]).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = app(&ac).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { emulator, ac, url, proof: Mutex::default() }
    }

    /// A browser in which alice logged in through this proxy.
    async fn log_in(&self, proxy: &Proxy) -> (Browser, SessionReport) {
        let browser = Browser::new(&proxy.url());
        if let Some(proof) = &*self.proof.lock().unwrap() {
            browser.set_cookie(KNOWN_BROWSER, proof);
        }
        let session = browser.log_in(&self.emulator, "alice").await;
        self.remember(&browser);
        (browser, session)
    }

    fn remember(&self, browser: &Browser) {
        *self.proof.lock().unwrap() = browser.cookie(KNOWN_BROWSER);
    }

    /// Starts nginx in front of the site, with these directives in its `location /`.
    async fn behind_nginx(&self, directives: &str) -> Proxy {
        let location = format!("location / {{ proxy_pass {}; {directives} }}", self.url);
        Proxy::nginx(&format!("server {{ listen LISTEN; {location} }}")).await
    }
}

fn app(ac: &Activeconnect) -> Router {
    let page = async |session: ActiveSession, uri: Uri| format!("{} at {uri}", session.user());
    let app = Router::new().fallback(get(page));
    #[cfg(feature = "ws")]
    let app = app.route("/socket", axum::routing::any(socket));
    app.layer(ac.layer()).nest("/auth", ac.routes())
}

/// Sends the user of the session.
#[cfg(feature = "ws")]
async fn socket(
    session: ActiveSession,
    upgrade: axum::extract::WebSocketUpgrade,
) -> axum::response::Response {
    upgrade.on_upgrade(async move |socket| {
        let text = session.user().to_string().into();
        let _ = session.guard_socket(socket).send(axum::extract::ws::Message::Text(text)).await;
    })
}
