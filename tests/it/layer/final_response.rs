//! Handlers that end their own session, and the response that they may still send.

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

use crate::support::{approve, builder, enroll_users, serve};

/// The grace period; a response that is not final is denied after it.
const GRACE: Duration = Duration::from_millis(300);
/// The maximum length of a final response.
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
        enroll_users(&emulator, &ac, &["alice"]).await;
        let app = Router::new()
            .route("/end/{way}", post(end))
            .route("/keep", post(store_session))
            .route("/length/{length}", post(respond_with_length))
            .route("/stream", post(respond_with_stream))
            .route("/message", post(respond_with_grpc))
            .route("/socket", any(socket))
            .route("/open", get(async || endless_body()))
            .layer(ac.layer().grace(GRACE))
            .with_state((ac.clone(), StoredSession::default()));
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

/// The session that allowed an earlier request.
type StoredSession = Arc<Mutex<Option<ActiveSession>>>;

async fn store_session(
    State((_, stored)): State<(Activeconnect, StoredSession)>,
    session: ActiveSession,
) {
    *stored.lock().unwrap() = Some(session);
}

/// Ends the session in this way, and redirects.
async fn end(
    State((ac, stored)): State<(Activeconnect, StoredSession)>,
    Path(way): Path<String>,
    session: ActiveSession,
) -> Redirect {
    let user = session.user();
    match way.as_str() {
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
            let other = stored.lock().unwrap().take().unwrap();
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

async fn respond_with_length(session: ActiveSession, Path(length): Path<usize>) -> Body {
    session.log_out().await;
    let pieces = stream::iter(vec![1_u8; length]).chunks(1_000);
    Body::from_stream(pieces.map(|piece| Ok::<_, axum::Error>(Bytes::from(piece))))
}

fn endless_body() -> Body {
    let first = stream::iter([Ok::<_, axum::Error>(Bytes::from("first"))]);
    Body::from_stream(first.chain(stream::pending()))
}

async fn respond_with_stream(session: ActiveSession) -> Body {
    session.log_out().await;
    endless_body()
}

/// Responds like a gRPC call: data and trailers.
async fn respond_with_grpc(session: ActiveSession) -> Response {
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
async fn handler_ending_its_session_sends_response() {
    for way in ["session", "all", "browsers", "user", "twice"] {
        let site = Site::new().await;
        let response = site.post(&format!("/end/{way}")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{way}");
        assert_eq!(response.headers()[LOCATION], "/goodbye", "{way}");
        assert_eq!(response.headers()[CACHE_CONTROL], "private", "{way}");
        assert_eq!(site.status("/end/session").await, StatusCode::UNAUTHORIZED, "{way}");
        let sessions = site.emulator.state().sessions;
        assert!(sessions.iter().all(|session| session.status == SessionStatus::Closed), "{way}");
        assert_eq!(site.emulator.state().users.is_empty(), way == "user", "{way}");
    }
}

/// A call through `Activeconnect` cannot be attributed to a request.
#[tokio::test]
async fn response_after_outside_end_is_denied() {
    let outside = ["session-outside", "all-outside", "user-outside"];
    for way in outside.into_iter().chain(["by-another-request", "too-late"]) {
        let site = Site::new().await;
        assert_eq!(site.status("/keep").await, StatusCode::OK);
        assert_eq!(site.status(&format!("/end/{way}")).await, StatusCode::UNAUTHORIZED, "{way}");
    }
}

#[tokio::test]
async fn final_response_cuts_other_streams() {
    let site = Site::new().await;
    let open = reqwest::Client::new().get(format!("{}/open", site.url));
    let mut open = open.header(AUTHORIZATION, site.bearer.clone()).send().await.unwrap();
    assert_eq!(open.chunk().await.unwrap().unwrap(), "first");
    assert_eq!(site.status("/end/session").await, StatusCode::SEE_OTHER);
    assert!(open.chunk().await.is_err());
}

#[tokio::test]
async fn final_response_is_short_and_no_upgrade() {
    for length in [0, 1, MAX_FINAL_RESPONSE_LEN] {
        let response = Site::new().await.post(&format!("/length/{length}")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.bytes().await.unwrap().len(), length);
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
async fn final_response_keeps_trailers() {
    let site = Site::new().await;
    let request = Request::post("/message")
        .header(AUTHORIZATION, site.bearer.clone())
        .header(CONTENT_TYPE, "application/grpc");
    let response = site.app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), "\0\0\0\0\0");
}
