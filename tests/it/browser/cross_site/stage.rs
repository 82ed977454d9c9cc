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
use crate::support::{approve, builder, serve, with_phones};

pub(crate) struct Stage {
    pub(crate) emulator: Emulator,
    pub(crate) ac: Activeconnect,
    pub(crate) chromium: Chromium,
    /// The application. Chromium trusts it like a site with TLS: it is on the loopback.
    pub(crate) app: String,
    /// Another site.
    pub(crate) evil: String,
    /// The same site as the application, and another origin: `SameSite` is no help against it.
    pub(crate) sibling: String,
}

async fn hello(session: ActiveSession) -> Html<String> {
    Html(format!("<!doctype html><title>app</title>Hello {}", session.user()))
}

impl Stage {
    /// `None` where there is no browser.
    pub(crate) async fn start() -> Option<Self> {
        let chromium = Chromium::start().await?;
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).build().unwrap();
        with_phones(&emulator, &ac, &["alice", "bob", "mallory"]).await;
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

    /// As a user does it: types the name, and looks at the phone.
    pub(crate) async fn log_in(&self, tab: &Tab, user: &str) -> SessionReport {
        self.begin(tab, user).await;
        let session = approve(&self.emulator).await;
        self.is_in(tab, user).await;
        session
    }

    /// Types the name.
    pub(crate) async fn begin(&self, tab: &Tab, user: &str) {
        tab.go(&format!("{}/auth/login?switch", self.app)).await;
        tab.eval(&format!("document.querySelector('[name=username]').value = '{user}'")).await;
        tab.eval("document.querySelector('button').click()").await;
        tab.until("location.pathname === '/auth/waiting'").await;
    }

    pub(crate) async fn is_in(&self, tab: &Tab, user: &str) {
        tab.until(&format!("document.body.innerText === 'Hello {user}'")).await;
        assert_eq!(tab.place().await, format!("{}/", self.app));
    }

    /// How many phones rang.
    pub(crate) fn rang(&self) -> u64 {
        self.emulator.state().calls.authenticate_user
    }
}
