//! An application, a hostile server on other host names, and a browser that visits both.

use std::convert::Infallible;

use activeconnect_emulator::{Emulator, SessionReport};
use axum::Router;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::Html;
use axum::response::sse::{Event, Sse};
use axum::routing::{any, get};
use futures_util::stream;
use tower_activeconnect::{ActiveSession, Activeconnect};

use crate::support::chromium::{Chromium, Tab};
use crate::support::{approve, builder, enroll_users, serve};

pub(crate) struct Fixture {
    pub(crate) emulator: Emulator,
    pub(crate) ac: Activeconnect,
    pub(crate) chromium: Chromium,
    /// The application's URL. Chromium trusts it like a TLS site, because it is on the loopback.
    pub(crate) app: String,
    /// The URL of a hostile site.
    pub(crate) evil: String,
    /// The URL of a hostile origin on the application's site, against which `SameSite` does not
    /// help.
    pub(crate) sibling: String,
}

async fn hello(session: ActiveSession) -> Html<String> {
    Html(format!("<!doctype html><title>app</title>Hello {}", session.user()))
}

impl Fixture {
    /// Returns `None` if Chromium is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let chromium = Chromium::start().await?;
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).build().unwrap();
        enroll_users(&emulator, &ac, &["alice", "bob", "mallory"]).await;
        let socket = async |session: ActiveSession, upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async move |mut socket| {
                let _ = socket.send(Message::text(session.user().to_string())).await;
            })
        };
        let feed = async |session: ActiveSession| {
            let event = Event::default().data(session.user().to_string());
            Sse::new(stream::once(async { Ok::<_, Infallible>(event) }))
        };
        let app = Router::new()
            .route("/", get(hello))
            .route("/socket", any(socket))
            .route("/feed", get(feed))
            .layer(ac.layer())
            .nest("/auth", ac.routes());
        let scripted = "<!doctype html><title>no script ran</title>\
                        <script>document.title = 'a script ran'</script>";
        let hostile = Router::new().fallback(async move || Html(scripted));
        let (app, hostile) = (serve(app).await, serve(hostile).await);
        let at = |url: &str, host: &str| url.replace("127.0.0.1", host);
        Some(Self {
            emulator,
            ac,
            chromium,
            app: at(&app, "www.app.localhost"),
            evil: at(&hostile, "evil.localhost"),
            sibling: at(&hostile, "evil.app.localhost"),
        })
    }

    /// Logs in as a user does, and approves on the phone.
    pub(crate) async fn log_in(&self, tab: &Tab, user: &str) -> SessionReport {
        self.start_login(tab, user).await;
        let session = approve(&self.emulator).await;
        self.wait_for_page(tab, user).await;
        session
    }

    /// Enters the username on the login page.
    pub(crate) async fn start_login(&self, tab: &Tab, user: &str) {
        tab.navigate(&format!("{}/auth/login?switch", self.app)).await;
        tab.eval(&format!("document.querySelector('[name=username]').value = '{user}'")).await;
        tab.eval("document.querySelector('button').click()").await;
        tab.wait_for("location.pathname === '/auth/waiting'").await;
    }

    pub(crate) async fn wait_for_page(&self, tab: &Tab, user: &str) {
        tab.wait_for(&format!("document.body.innerText === 'Hello {user}'")).await;
        assert_eq!(tab.url().await, format!("{}/", self.app));
    }

    /// The number of pushes so far.
    pub(crate) fn push_count(&self) -> u64 {
        self.emulator.state().calls.authenticate_user
    }
}
