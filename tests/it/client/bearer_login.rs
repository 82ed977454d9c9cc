//! `BearerLogin`: a program that logs in without a browser.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower_activeconnect::client::{BearerLogin, BearerLoginErrorKind, LoginProgress};
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::{ActiveSession, Activeconnect, ActiveconnectBuilder};

use crate::support::tls_server::{CertificateAuthority, TlsServer};
use crate::support::{Browser, approve, builder, enroll_users, pending_session, poll_until, serve};

struct Site {
    emulator: Emulator,
    _ac: Activeconnect,
    url: String,
}

impl Site {
    async fn new() -> Self {
        Self::with_config(|builder| builder, |app| app).await
    }

    async fn with_config(
        configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
        wrap: impl FnOnce(Router) -> Router,
    ) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = configure(builder(&emulator)).build().unwrap();
        enroll_users(&emulator, &ac, &["alice"]).await;
        let app = Router::new()
            .route("/", get(async |session: ActiveSession| session.user().to_string()))
            .layer(ac.layer())
            .nest("/auth", ac.routes());
        let url = serve(wrap(app)).await;
        Self { emulator, _ac: ac, url }
    }

    fn login(&self) -> BearerLogin {
        BearerLogin::new(&format!("{}/auth", self.url)).unwrap()
    }
}

#[tokio::test]
async fn approved_login_returns_credential() {
    let site = Site::new().await;
    let login = site.login();
    let mut attempt = login.start("alice").await.unwrap();
    let mut received = Vec::new();
    let (credential, _) = tokio::join!(
        attempt.wait_with(|progress| received.push(progress)),
        approve(&site.emulator)
    );
    let credential = credential.unwrap();
    assert!(received.iter().all(|progress| *progress == LoginProgress::Waiting), "{received:?}");
    // The response may be lost, so the claim is repeatable until the credential is used.
    assert_eq!(attempt.wait().await.unwrap().expose(), credential.expose());

    let client = Browser::new(&site.url);
    let ask = async || client.get("/").bearer_auth(credential.expose()).send().await.unwrap();
    assert_eq!(ask().await.text().await.unwrap(), "alice");
    login.log_out(&credential).await.unwrap();
    assert_eq!(ask().await.status(), 401);
    login.log_out(&credential).await.unwrap();
}

#[tokio::test]
async fn unanswered_login_is_not_approved() {
    let deadline = Duration::from_secs(5);
    let site = Site::with_config(|builder| builder.login_timeout(deadline), |app| app).await;
    let mut attempt = site.login().start("nobody").await.unwrap();
    let error = attempt.wait().await.unwrap_err();
    assert_eq!(error.kind(), BearerLoginErrorKind::NotApproved);
    assert!(error.to_string().contains("check the user name"), "{error}");
}

#[tokio::test]
async fn cancelled_login_sends_no_further_push() {
    let site = Site::new().await;
    let attempt = site.login().start("alice").await.unwrap();
    pending_session(&site.emulator).await;
    attempt.cancel().await.unwrap();
    poll_until("the phone is quiet", async || {
        let session = site.emulator.state().sessions.pop().unwrap();
        (session.status == SessionStatus::Closed).then_some(())
    })
    .await;
}

#[tokio::test]
async fn rejected_start_returns_reason() {
    let site = Site::new().await;
    let login = site.login();
    let error = login.start(" ").await.unwrap_err();
    assert_eq!(error.kind(), BearerLoginErrorKind::InvalidUsername);
    assert!(error.to_string().contains("The user name is empty"), "{error}");
    // A client that cancels a pushed login is anonymous for that username until its deadline.
    let attempt = login.start("alice").await.unwrap();
    pending_session(&site.emulator).await;
    attempt.cancel().await.unwrap();
    let error =
        poll_until("the start is rejected", async || login.start("alice").await.err()).await;
    assert!(matches!(error.kind(), BearerLoginErrorKind::RateLimited(_)), "{error:?}");

    let unreachable = BearerLogin::new("http://127.0.0.1:9/auth").unwrap();
    let error = unreachable.start("alice").await.unwrap_err();
    assert_eq!(error.kind(), BearerLoginErrorKind::Unreachable);
    assert!(error.to_string().contains("http://127.0.0.1:9"), "{error}");
}

/// A short outage of the application or a proxy ends no login.
#[tokio::test]
async fn outage_while_waiting_is_survived() {
    let failures = Arc::new(AtomicUsize::new(2));
    let left = failures.clone();
    let out = from_fn(move |request: Request, next: Next| {
        let left = left.clone();
        async move {
            let is_status = request.uri().path() == "/auth/status";
            let fail = |n: usize| n.checked_sub(1);
            if is_status && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fail).is_ok() {
                return StatusCode::BAD_GATEWAY.into_response();
            }
            next.run(request).await
        }
    });
    let site = Site::with_config(|builder| builder, |app| app.layer(out)).await;
    let mut attempt = site.login().start("alice").await.unwrap();
    approve(&site.emulator).await;
    let mut received = Vec::new();
    attempt.wait_with(|progress| received.push(progress)).await.unwrap();
    assert_eq!(received, [LoginProgress::Retrying]);
    assert_eq!(failures.load(Ordering::SeqCst), 0);
}

/// Another server may respond at the address.
#[tokio::test]
async fn unexpected_responses_are_named() {
    let elsewhere = Redirect::to("http://127.0.0.1:9/");
    let liar = Router::new()
        .route("/moved/login", post(elsewhere))
        .route("/html/login", post(async || (StatusCode::ACCEPTED, "<html>")))
        .route("/huge/login", post(async || (StatusCode::ACCEPTED, "x".repeat(20_000))))
        .route("/loud/login", post(long_problem_with_escapes));
    let url = serve(liar).await;
    let start = async |path: &str| {
        let login = BearerLogin::new(&format!("{url}/{path}")).unwrap();
        login.start("alice").await.unwrap_err()
    };
    assert_eq!(start("moved").await.kind(), BearerLoginErrorKind::Status(303));
    assert_eq!(start("none").await.kind(), BearerLoginErrorKind::Status(404));
    assert_eq!(start("html").await.kind(), BearerLoginErrorKind::InvalidResponse);
    let huge = start("huge").await;
    assert_eq!(huge.kind(), BearerLoginErrorKind::InvalidResponse);
    assert!(huge.to_string().contains("more than 16 KiB"), "{huge}");
    let actual = start("loud").await.to_string();
    assert!(!actual.contains('\u{1b}') && actual.len() < 600, "{actual:?}");
}

/// The client sends credentials only to servers with a trusted certificate.
#[tokio::test]
async fn only_trusted_authorities_are_accepted() {
    let authority = CertificateAuthority::new();
    let identity = authority.issue("localhost");
    let server = TlsServer::start(identity, "http/1.1", |mut stream, _| async move {
        let mut request = [0; 4_096];
        _ = stream.read(&mut request).await;
        stream.write_all(b"HTTP/1.1 418 Teapot\r\ncontent-length: 0\r\n\r\n").await.ok();
        stream.flush().await.ok();
    })
    .await;
    let login = BearerLogin::new(&server.url()).unwrap();
    let error = login.start("alice").await.unwrap_err();
    assert_eq!(error.kind(), BearerLoginErrorKind::Unreachable);
    let login = login.ca_file(authority.pem_file().path()).unwrap();
    let error = login.start("alice").await.unwrap_err();
    assert_eq!(error.kind(), BearerLoginErrorKind::Status(418));
    let error = login.ca_file("none.pem").unwrap_err();
    assert_eq!(error.kind(), BearerLoginErrorKind::InvalidSetup);
    assert!(format!("{error:?}").contains("none.pem"), "{error:?}");
}

/// A long problem response with terminal escapes.
async fn long_problem_with_escapes() -> Response {
    let detail = format!("{{\"detail\":\"\\u001b[31m{}\"}}", "x".repeat(5_000));
    (StatusCode::IM_A_TEAPOT, detail).into_response()
}

#[test]
fn addresses_are_checked() {
    for rejected in
        ["http://app.example/auth", "app.example", "https://a:b@app.example/", "ftp://app.example"]
    {
        let error = BearerLogin::new(rejected).unwrap_err();
        assert_eq!(error.kind(), BearerLoginErrorKind::InvalidSetup, "{rejected}");
        assert!(!error.to_string().contains("a:b"), "{error}");
    }
    assert!(BearerLogin::new("https://app.example/auth/").is_ok());
}

#[tokio::test]
async fn debug_of_attempt_shows_no_secret() {
    let site = Site::new().await;
    let attempt = site.login().start("alice").await.unwrap();
    let debug = format!("{attempt:?}");
    assert!(debug.starts_with("BearerAttempt") && !debug.contains("secret"), "{debug}");
}
