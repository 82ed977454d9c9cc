//! Events of logins, for an audit log.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::routing::get;
use futures_util::StreamExt as _;
use http::header::USER_AGENT;
use tokio::net::TcpListener;
use tower_activeconnect::events::{EndReason, Event, EventKind};
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::{ActiveSession, Activeconnect, ActiveconnectBuilder};

use crate::support::{Browser, approve, builder, enroll_users, pending_session, poll_until};

const FIREFOX: &str = "Mozilla/5.0 (Windows NT 10.0; rv:145.0) Gecko/20100101 Firefox/145.0";

struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    url: String,
}

impl Site {
    async fn new(configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = configure(builder(&emulator)).build().unwrap();
        enroll_users(&emulator, &ac, &["alice"]).await;
        let app = Router::new()
            .route("/", get(async |_: ActiveSession| "in"))
            .layer(ac.layer())
            .nest("/auth", ac.routes());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { emulator, ac, url }
    }

    /// A browser that starts a login of alice.
    async fn start(&self) -> Browser {
        let browser = Browser::new(&self.url);
        let start = browser.post("/auth/login").header(USER_AGENT, FIREFOX);
        browser.send(start.form(&[("username", "alice")])).await;
        browser
    }

    /// The events of an approved login and its logout.
    async fn login_and_logout(&self) -> [Event; 3] {
        let events = self.ac.events();
        let browser = self.start().await;
        approve(&self.emulator).await;
        poll_until("logged in", async || (browser.status().await == "active").then_some(())).await;
        browser.form("/auth/logout", &[]).await;
        // Reads the events as a stream.
        let reported: Vec<Event> = events.take(3).collect().await;
        reported.try_into().unwrap()
    }
}

#[tokio::test]
async fn session_events_have_user_address_and_time() {
    let site = Site::new(|builder| builder).await;
    let before = SystemTime::now();
    let [started, unknown_browser, ended] = site.login_and_logout().await;
    assert_eq!(started.kind, EventKind::Started);
    assert_eq!(unknown_browser.kind, EventKind::UnknownBrowser);
    assert_eq!(ended.kind, EventKind::Ended { reason: EndReason::LoggedOut });
    assert_eq!((ended.kind.as_str(), ended.kind.detail()), ("ended", "logged_out".to_owned()));
    for event in [&started, &unknown_browser, &ended] {
        assert_eq!(event.user, Some("alice".into()));
        assert_eq!(event.address, Some([127, 0, 0, 1].into()));
        assert_eq!(event.user_agent.as_deref(), Some("Firefox on Windows"));
        // Times have a resolution of milliseconds.
        assert!(event.time >= before - Duration::from_millis(1));
        assert!(event.time <= SystemTime::now());
    }
    assert!(started.time <= ended.time);
    assert!(started.session.is_some() && started.session == ended.session);
}

#[tokio::test]
async fn event_and_listing_share_session_id() {
    let site = Site::new(|builder| builder).await;
    let mut events = site.ac.events();
    let alice = "alice".into();
    let (credential, _) = tokio::join!(site.ac.log_in(&alice), approve(&site.emulator));
    credential.unwrap();
    let started = events.next().await.unwrap();
    let sessions = site.ac.sessions(&alice).await.unwrap();
    assert_eq!(started.session, Some(sessions[0].id()));
    assert_eq!((started.address, started.user_agent), (None, None));
    let (credential, _) = tokio::join!(site.ac.log_in(&alice), approve(&site.emulator));
    credential.unwrap();
    assert_ne!(events.next().await.unwrap().session, started.session);
}

#[tokio::test]
async fn declined_login_event_has_client_details() {
    let site = Site::new(|builder| builder).await;
    let mut events = site.ac.events();
    site.start().await;
    let session = pending_session(&site.emulator).await;
    site.emulator.act_on_session(&session.session_token, Action::Cancel).unwrap();
    let rejected = events.next().await.unwrap();
    assert_eq!(rejected.kind, EventKind::LoginRejected { status: SessionStatus::Cancelled });
    assert_eq!(
        (rejected.kind.as_str(), rejected.kind.detail()),
        ("login_rejected", "cancelled".into())
    );
    assert_eq!(rejected.user, Some("alice".into()));
    assert_eq!(rejected.address, Some([127, 0, 0, 1].into()));
    assert_eq!(rejected.user_agent.as_deref(), Some("Firefox on Windows"));
}

#[tokio::test]
async fn events_without_client_details_have_none() {
    let site = Site::new(|builder| builder.record_client_details(false)).await;
    for event in site.login_and_logout().await {
        assert_eq!((event.address, event.user_agent), (None, None));
        assert!(event.session.is_some());
    }
}
