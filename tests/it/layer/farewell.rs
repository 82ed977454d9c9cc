//! Handlers behind the gate that end their own session, and what leaves of their answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State, WebSocketUpgrade};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{any, get, post};
use futures_util::{StreamExt as _, stream};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, LOCATION, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tower::ServiceExt as _;
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::{ActiveSession, Activeconnect};

use crate::support::{approve, builder, serve, with_phones};

/// So long may an answer take; what is no goodbye is refused after it.
const GRACE: Duration = Duration::from_millis(300);
/// The longest answer that leaves.
const MAX_FINAL_RESPONSE_LEN: usize = 64 * 1024;

struct Site {
    emulator: Emulator,
    app: Router,
    bearer: HeaderValue,
    url: String,
}

impl Site {
    async fn new() -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).build().unwrap();
        with_phones(&emulator, &ac, &["alice"]).await;
        let app = Router::new()
            .route("/end/{how}", post(end))
            .route("/keep", post(keep))
            .route("/length/{length}", post(long))
            .route("/stream", post(endless))
            .route("/message", post(message))
            .route("/socket", any(socket))
            .route("/open", get(async || endless_body()))
            .layer(ac.layer().grace(GRACE))
            .with_state((ac.clone(), Kept::default()));
        let alice = "alice".into();
        let (credential, _) = tokio::join!(ac.log_in(&alice), approve(&emulator));
        let bearer = format!("Bearer {}", credential.unwrap().expose()).parse().unwrap();
        let url = serve(app.clone()).await;
        Self { emulator, app, bearer, url }
    }

    fn post(&self, path: &str) -> reqwest::RequestBuilder {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let url = format!("{}{path}", self.url);
        client.build().unwrap().post(url).header(AUTHORIZATION, self.bearer.clone())
    }

    async fn status(&self, path: &str) -> StatusCode {
        self.post(path).send().await.unwrap().status()
    }
}

/// What a request was let in by.
type Kept = Arc<Mutex<Option<ActiveSession>>>;

async fn keep(State((_, kept)): State<(Activeconnect, Kept)>, session: ActiveSession) {
    *kept.lock().unwrap() = Some(session);
}

/// Ends the session in one of the ways, and says goodbye.
async fn end(
    State((ac, kept)): State<(Activeconnect, Kept)>,
    Path(how): Path<String>,
    session: ActiveSession,
) -> Redirect {
    let user = session.user();
    match how.as_str() {
        "session" => drop(session.log_out().await),
        "all" => drop(session.end_all_sessions().await.unwrap()),
        "browsers" => drop(session.end_all_sessions().forget_browsers().await.unwrap()),
        "user" => session.unenroll().await.unwrap(),
        "twice" => {
            session.log_out().await;
            session.clone().log_out().await;
        }
        "session-outside" => drop(ac.log_out(&session).await),
        "all-outside" => drop(ac.end_all_sessions(user).await.unwrap()),
        "user-outside" => ac.unenroll(user).await.unwrap(),
        "by-another-request" => {
            let other = kept.lock().unwrap().take().unwrap();
            other.log_out().await;
        }
        "too-late" => {
            ac.log_out(&session).await;
            session.log_out().await;
        }
        other => unreachable!("{other}"),
    }
    Redirect::to("/goodbye")
}

async fn long(session: ActiveSession, Path(length): Path<usize>) -> Body {
    session.log_out().await;
    let pieces = stream::iter(vec![1_u8; length]).chunks(1_000);
    Body::from_stream(pieces.map(|piece| Ok::<_, axum::Error>(Bytes::from(piece))))
}

fn endless_body() -> Body {
    let first = stream::iter([Ok::<_, axum::Error>(Bytes::from("first"))]);
    Body::from_stream(first.chain(stream::pending()))
}

async fn endless(session: ActiveSession) -> Body {
    session.log_out().await;
    endless_body()
}

/// As a gRPC call is answered: data, and trailers.
async fn message(session: ActiveSession) -> Response {
    session.log_out().await;
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let frames = [Frame::data(Bytes::from("\0\0\0\0\0")), Frame::trailers(trailers)];
    let body = StreamBody::new(stream::iter(frames.map(Ok::<_, axum::Error>)));
    ([(CONTENT_TYPE, "application/grpc")], Body::new(body)).into_response()
}

async fn socket(session: ActiveSession, upgrade: WebSocketUpgrade) -> Response {
    session.log_out().await;
    upgrade.on_upgrade(async |_| {})
}

#[tokio::test]
async fn handler_that_ends_its_session_says_goodbye() {
    for how in ["session", "all", "browsers", "user", "twice"] {
        let site = Site::new().await;
        let goodbye = site.post(&format!("/end/{how}")).send().await.unwrap();
        assert_eq!(goodbye.status(), StatusCode::SEE_OTHER, "{how}");
        assert_eq!(goodbye.headers()[LOCATION], "/goodbye", "{how}");
        assert_eq!(goodbye.headers()[CACHE_CONTROL], "private", "{how}");
        assert_eq!(site.status("/end/session").await, StatusCode::UNAUTHORIZED, "{how}");
        let sessions = site.emulator.state().sessions;
        assert!(sessions.iter().all(|session| session.status == SessionStatus::Closed), "{how}");
        assert_eq!(site.emulator.state().users.is_empty(), how == "user", "{how}");
    }
}

/// Nobody can tell which request a call through `Activeconnect` belongs to.
#[tokio::test]
async fn session_ended_from_outside_says_no_goodbye() {
    let outside = ["session-outside", "all-outside", "user-outside"];
    for how in outside.into_iter().chain(["by-another-request", "too-late"]) {
        let site = Site::new().await;
        assert_eq!(site.status("/keep").await, StatusCode::OK);
        assert_eq!(site.status(&format!("/end/{how}")).await, StatusCode::UNAUTHORIZED, "{how}");
    }
}

#[tokio::test]
async fn goodbye_cuts_whatever_else_is_open() {
    let site = Site::new().await;
    let open = reqwest::Client::new().get(format!("{}/open", site.url));
    let mut open = open.header(AUTHORIZATION, site.bearer.clone()).send().await.unwrap();
    assert_eq!(open.chunk().await.unwrap().unwrap(), "first");
    assert_eq!(site.status("/end/session").await, StatusCode::SEE_OTHER);
    assert!(open.chunk().await.is_err());
}

#[tokio::test]
async fn goodbye_is_no_stream_and_no_upgrade() {
    for length in [0, 1, MAX_FINAL_RESPONSE_LEN] {
        let answer = Site::new().await.post(&format!("/length/{length}")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.bytes().await.unwrap().len(), length);
    }
    let longer = format!("/length/{}", MAX_FINAL_RESPONSE_LEN + 1);
    assert_eq!(Site::new().await.status(&longer).await, StatusCode::UNAUTHORIZED);
    assert_eq!(Site::new().await.status("/stream").await, StatusCode::UNAUTHORIZED);
    let site = Site::new().await;
    let client = reqwest::Client::new();
    let upgrade = client
        .get(format!("{}/socket", site.url))
        .header(AUTHORIZATION, site.bearer.clone())
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(upgrade.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn goodbye_has_its_trailers() {
    let site = Site::new().await;
    let request = Request::post("/message")
        .header(AUTHORIZATION, site.bearer.clone())
        .header(CONTENT_TYPE, "application/grpc");
    let answer = site.app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let body = answer.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), "\0\0\0\0\0");
}
