//! Many logged-in users, with in-process requests and streams.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use axum::routing::get;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::unfold;
use http_body_util::BodyExt as _;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;
use tower_activeconnect::client::Client;
use tower_activeconnect::identity::SessionCredential;
use tower_activeconnect::{
    Activeconnect, ActiveconnectBuilder, MemoryTokenStore, TokenStore, UserId, UserToken,
};

use crate::support::credentials;

pub(super) struct Fixture {
    pub(super) emulator: Arc<Emulator>,
    pub(super) ac: Activeconnect,
    pub(super) sessions: Vec<LoggedIn>,
    app: Router,
}

/// A user with a session.
pub(super) struct LoggedIn {
    pub(super) token: UserToken,
    credential: SessionCredential,
}

impl Fixture {
    /// Logs in this many users.
    pub(super) async fn new(
        count: usize,
        configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
    ) -> Self {
        Self::over(MemoryTokenStore::new(), count, configure).await
    }

    /// The same with this token store, which must have users called `user0`, `user1` …
    pub(super) async fn over(
        store: impl TokenStore,
        count: usize,
        configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
    ) -> Self {
        let emulator = Arc::new(Emulator::start().await.unwrap());
        let tokens: Vec<_> = (0..count).map(|_| UserToken::random().unwrap()).collect();
        for (which, token) in tokens.iter().enumerate() {
            store.assign(&user(which), token).await.unwrap();
        }
        Client::new(credentials(&emulator)).unwrap().add_users(&tokens).await.unwrap();
        for token in &tokens {
            emulator.register_device(token.as_str()).unwrap();
        }
        let builder = Activeconnect::builder(credentials(&emulator)).token_store(store);
        let ac = configure(builder).build().unwrap();
        let logins = tokens.iter().enumerate().map(|(which, token)| {
            tokio::spawn(log_in(ac.clone(), emulator.clone(), user(which), token.clone()))
        });
        let credentials = join_all(logins.collect::<Vec<_>>()).await;
        let sessions = tokens.into_iter().zip(credentials);
        let sessions =
            sessions.map(|(token, credential)| LoggedIn { token, credential: credential.unwrap() });
        let app = Router::new()
            .route("/", get(async || "in"))
            .route("/ticks", get(async || Body::from_stream(ticks())))
            .layer(ac.layer())
            .with_state(());
        Self { emulator, ac, sessions: sessions.collect(), app }
    }

    /// Sends a request of this session; returns the status.
    pub(super) async fn ask(&self, session: &LoggedIn) -> StatusCode {
        self.request("/", session).await.status()
    }

    /// Sends a request of each session; returns the number of responses with this status.
    pub(super) async fn count(&self, status: StatusCode) -> usize {
        let statuses = join_all(self.sessions.iter().map(|session| self.ask(session))).await;
        statuses.iter().filter(|answered| **answered == status).count()
    }

    /// Opens a stream, and reads it until it is cut.
    pub(super) async fn stream(&self, session: &LoggedIn) -> Stream {
        let response = self.request("/ticks", session).await;
        assert_eq!(response.status(), StatusCode::OK);
        let last_byte = Arc::new(Mutex::new(unix_millis()));
        let read = last_byte.clone();
        let mut body = response.into_body();
        let reading = tokio::spawn(async move {
            while let Some(Ok(_)) = body.frame().await {
                *read.lock().unwrap() = unix_millis();
            }
        });
        Stream { last_byte, reading }
    }

    async fn request(&self, path: &str, session: &LoggedIn) -> Response {
        let bearer = format!("Bearer {}", session.credential.expose());
        let request = Request::get(path).header("authorization", bearer).body(Body::empty());
        self.app.clone().oneshot(request.unwrap()).await.unwrap()
    }
}

/// A stream that a task reads.
pub(super) struct Stream {
    last_byte: Arc<Mutex<u64>>,
    reading: JoinHandle<()>,
}

impl Stream {
    /// The time of the last byte, if the stream was cut.
    pub(super) fn ended_at(&self) -> Option<u64> {
        self.reading.is_finished().then(|| *self.last_byte.lock().unwrap())
    }
}

pub(super) fn user(which: usize) -> UserId {
    UserId::from(format!("user{which}"))
}

pub(super) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

async fn log_in(
    ac: Activeconnect,
    emulator: Arc<Emulator>,
    user: UserId,
    token: UserToken,
) -> SessionCredential {
    let mut login = std::pin::pin!(ac.log_in(&user));
    loop {
        tokio::select! {
            credential = &mut login => return credential.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(50)) => {
                // The session is not pending yet, or approved already.
                emulator.act(token.as_str(), Action::Approve).ok();
            }
        }
    }
}

/// A few bytes every 250 ms.
fn ticks() -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send {
    let tick = async |()| {
        tokio::time::sleep(Duration::from_millis(250)).await;
        Some((Ok(Bytes::from_static(b"tick")), ()))
    };
    unfold((), tick).boxed()
}
