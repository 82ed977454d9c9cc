//! Marker secrets in every place of a secret: no log, `Debug` output or panic message has one, at
//! any level and in any encoding.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

#[path = "it/support/mod.rs"]
mod support;

use std::error::Error;
use std::fmt::{Debug, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::json;
use support::log_capture::LogCapture;
use support::raw_server::{
    self, RawServer, ReceivedRequest, STATUS_ACTIVE, Step, head, response, session_at,
};
use support::{Browser, poll_until, serve};
use tower::{Layer as _, Service as _};
use tower_activeconnect::client::{AuthenticationRequest, Client, RemoteSession};
use tower_activeconnect::enrollment::Authorization;
use tower_activeconnect::identity::SessionCredential;
use tower_activeconnect::protocol::Dialect;
use tower_activeconnect::protocol::{AuthenticationHeader, Nonce, sign};
use tower_activeconnect::{
    ActiveSession, Activeconnect, Credentials, MemoryTokenStore, Secret, UserToken,
};
use tracing::Level;

// The secrets share a prefix, so that a part is found, too; and have characters that URLs encode.
// The length of the first one causes a warning of the client.
const APPLICATION_SECRET: &str = "CAN4RY/app+secret=";
const SESSION_SECRET: &str = "CAN4RY/session+secret=";
const REGISTER_URL: &str = "https://register.example/CAN4RY/link?t=CAN4RY";
const SESSION_TOKEN: &str = "CAN4RY-session-token";

/// The records of all threads.
static RECORDED: Mutex<String> = Mutex::new(String::new());

fn record(text: impl AsRef<str>) {
    let mut recorded = RECORDED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    recorded.push_str(text.as_ref());
    recorded.push('\n');
}

/// Installs the subscriber and a recording panic hook, once for the process.
fn listen() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        tracing::subscriber::set_global_default(LogCapture(Level::TRACE, |line: &str| {
            record(line);
        }))
        .unwrap();
        std::panic::set_hook(Box::new(|panic| {
            record(format!("{panic}"));
            // Also prints failures, which the recorder alone would swallow.
            eprintln!("{panic}");
        }));
    });
}

/// The encodings in which a secret may appear.
fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let start = &bytes[..bytes.len().min(6)];
    let hex: String = start.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{start:?}");
    vec![
        secret.to_owned(),
        secret.to_lowercase(),
        percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC)
            .to_string(),
        // Whole groups of three bytes, which do not depend on the next bytes.
        STANDARD_NO_PAD.encode(&bytes[..bytes.len() / 3 * 3]),
        URL_SAFE_NO_PAD.encode(&bytes[..bytes.len() / 3 * 3]),
        hex.to_uppercase(),
        hex,
        list.trim_matches(['[', ']']).to_owned(),
    ]
}

fn leaks(text: &str, secrets: &[&str]) -> Vec<String> {
    let all = secrets.iter().flat_map(|secret| forms(secret));
    let found = all.filter_map(|form| {
        let line = text.lines().find(|line| line.contains(&form))?;
        Some(format!("{form:?} in: {line}"))
    });
    found.collect()
}

fn assert_silent(secrets: &[&str]) {
    let recorded = RECORDED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let all: Vec<&str> = secrets.iter().copied().chain(["CAN4RY"]).collect();
    let leaks = leaks(&recorded, &all);
    assert!(leaks.is_empty(), "{leaks:#?}");
}

fn shown(value: &impl Debug) {
    record(format!("{value:?}\n{value:#?}"));
}

fn log_error(error: &(impl Error + 'static)) {
    shown(&error);
    let mut next: Option<&dyn Error> = Some(error);
    while let Some(error) = next {
        record(format!("{error} {error:?} {error:#?}"));
        next = error.source();
    }
}

fn outcome<T, E: Error + 'static>(outcome: &Result<T, E>) {
    if let Err(error) = outcome {
        log_error(error);
    }
}

fn credentials(server: &str) -> Credentials {
    Credentials::new("application", APPLICATION_SECRET).unwrap().with_server(server).unwrap()
}

fn a_session(request: &ReceivedRequest) -> Vec<u8> {
    let url = format!("http://{}/session/{SESSION_TOKEN}", request.header("host").unwrap());
    let whole = String::from_utf8(session_at(&url, &url)).unwrap();
    let body = whole.split("\r\n\r\n").nth(1).unwrap();
    let body = body.replace(raw_server::SESSION_TOKEN, SESSION_TOKEN);
    response("202 Accepted", &[], body.replace(raw_server::SESSION_SECRET, SESSION_SECRET))
}

/// A service whose responses have the secrets in every place.
fn good(request: &ReceivedRequest) -> Vec<Step> {
    vec![Step::Send(if request.is_authenticate_user() {
        a_session(request)
    } else if request.target.starts_with("/session/") && request.method == "GET" {
        response("200 OK", &[], STATUS_ACTIVE)
    } else {
        let body = json!({"status": true, "register_url": REGISTER_URL, "device_registered": true});
        response("200 OK", &[], body.to_string())
    })]
}

/// Each kind of invalid response, with a secret inside.
fn bad() -> Vec<Vec<Step>> {
    let json = |body: &str| vec![Step::Send(response("202 Accepted", &[], body))];
    let status = |status| {
        let body = json!({"session_secret": SESSION_SECRET, "register_url": REGISTER_URL});
        let headers = [("set-cookie", SESSION_SECRET), ("location", REGISTER_URL)];
        vec![Step::Send(response(status, &headers, body.to_string()))]
    };
    let of = |field: &str, value: serde_json::Value| {
        let mut session = json!({"authenticated": true, "status_url": "http://127.0.0.1:1/x",
            "logout_url": "http://127.0.0.1:1/x", "session_token": SESSION_TOKEN,
            "session_secret": SESSION_SECRET});
        session[field] = value;
        json(&json!({"authentication_status": session}).to_string())
    };
    let mut cut = head("200 OK", &[("content-length", "500")]);
    cut.extend(format!("{{\"session_secret\":\"{SESSION_SECRET}\"").bytes());
    vec![
        json(&format!("{{\"session_secret\":\"{SESSION_SECRET}")),
        json(&format!("{{\"status\":\"{SESSION_SECRET}\",\"register_url\":\"{REGISTER_URL}\"}}")),
        json(&format!("{{\"session_status\":[\"{SESSION_SECRET}\"]}}")),
        json(&format!("{{\"{SESSION_SECRET}\":1,\"{SESSION_SECRET}\":2,\"session_status\":1}}")),
        json(&format!("{{\"session_status\":\"{SESSION_SECRET}\"}}")),
        json(SESSION_SECRET),
        json(&SESSION_SECRET.repeat(5_000)),
        of("authenticated", json!(SESSION_SECRET)),
        of("status_url", json!("http://elsewhere.example/CAN4RY")),
        of("status_url", json!("http://CAN4RY:CAN4RY@127.0.0.1/")),
        of("status_url", json!("http://[CAN4RY")),
        of("session_token", json!("CAN4RY:session token")),
        of("session_token", json!({"CAN4RY": 1})),
        of("session_secret", json!(["CAN4RY"])),
        of("session_secret", json!("")),
        status("302 Found"),
        status("401 Unauthorized"),
        status("404 Not Found"),
        status("429 Too Many Requests"),
        status("500 Internal Server Error"),
        vec![Step::Send(cut), Step::Close],
        vec![Step::Send(b"HTTP/1.1 200 OK\r\nCAN4RY\0secret: CAN4RY\r\n\r\n".to_vec())],
        vec![Step::Send(b"CAN4RY/1.1 CAN4RY\r\n\r\n".to_vec()), Step::Close],
        vec![Step::Reset],
    ]
}

/// A service that can switch to invalid responses.
async fn service() -> (RawServer, Arc<Mutex<Option<Vec<Step>>>>) {
    let fault = Arc::new(Mutex::new(None::<Vec<Step>>));
    let script = Arc::clone(&fault);
    let raw = RawServer::start(move |request| {
        script.lock().unwrap().clone().unwrap_or_else(|| good(request))
    })
    .await;
    (raw, fault)
}

async fn every_call(client: &Client, session: &RemoteSession) {
    let token = UserToken::new(SESSION_TOKEN).unwrap();
    outcome(&client.add_users(std::slice::from_ref(&token)).await);
    outcome(&client.delete_users(std::slice::from_ref(&token)).await);
    outcome(&client.device_registration_link(&token, Some("Alice")).await.inspect(shown));
    outcome(&client.has_registered_mobile_device(&token).await);
    outcome(&client.lost_user_mobile_device(&token).await.inspect(shown));
    outcome(&client.send_registration_sms(&token, "+1555", None, None).await);
    let asked = AuthenticationRequest::default();
    outcome(&client.authenticate_user(&token, &asked).await.inspect(shown));
    outcome(&client.status(session).await.inspect(shown));
    outcome(&client.logout(session).await);
}

/// The search finds a known leak.
#[test]
fn leak_detector_finds_leak() {
    for leak in forms(SESSION_SECRET) {
        assert!(!leaks(&format!("x {leak} y"), &[SESSION_SECRET]).is_empty(), "{leak}");
    }
    for leak in ["CAN4RY/session%2Bsecret", "sp=CAN4RY", "[67, 65, 78, 52, 82, 89, 47]", "Q0FONFJZ"]
    {
        assert!(!leaks(leak, &["CAN4RY"]).is_empty(), "{leak}");
    }
    assert!(leaks("nothing", &["CAN4RY", SESSION_SECRET]).is_empty());
}

#[tokio::test]
async fn calls_and_errors_log_no_secret() {
    listen();
    let (raw, fault) = service().await;
    let client = Client::new(credentials(&raw.url())).unwrap();
    let token = UserToken::new(SESSION_TOKEN).unwrap();
    let session =
        client.authenticate_user(&token, &AuthenticationRequest::default()).await.unwrap();
    every_call(&client, &session).await;
    for steps in bad() {
        *fault.lock().unwrap() = Some(steps);
        every_call(&client, &session).await;
    }
    let nobody = Client::new(credentials("http://127.0.0.1:9")).unwrap();
    every_call(&nobody, &session).await;
    let recorded = RECORDED.lock().unwrap().clone();
    assert!(recorded.contains("application secrets usually have 24 characters"), "it listens");
    assert!(recorded.contains("the service's answer was not understood"), "errors were told");
    assert_silent(&[APPLICATION_SECRET, SESSION_SECRET, REGISTER_URL, SESSION_TOKEN]);
}

#[tokio::test]
async fn secret_types_show_no_secret() {
    listen();
    let (raw, _) = service().await;
    let given = credentials(&raw.url());
    let client = Client::new(given.clone()).unwrap();
    let token = UserToken::new(SESSION_TOKEN).unwrap();
    let session =
        client.authenticate_user(&token, &AuthenticationRequest::default()).await.unwrap();
    let secret = Secret::new(APPLICATION_SECRET);
    let signed =
        sign(Dialect::default(), SESSION_TOKEN, &secret, &raw.url(), Nonce::from_u64(7), 1);
    let header = signed.headers()[0].1.to_owned();
    let credential = SessionCredential::parse(&[b'A'; 43]).unwrap();
    let builder = Activeconnect::builder(given.clone()).token_store(MemoryTokenStore::new());
    let emulator = Emulator::builder().application("a", APPLICATION_SECRET);
    shown(&emulator);
    shown(&emulator.start().await.unwrap());
    shown(&builder);
    let ac = builder.build().unwrap();
    shown(&secret);
    shown(&Secret::from(APPLICATION_SECRET));
    shown(&given);
    shown(&client);
    shown(&session);
    shown(&signed);
    shown(&AuthenticationHeader::parse(&header));
    shown(&token);
    shown(&(&credential, credential.key()));
    shown(&ac);
    let mut service = ac.layer().layer(tower::service_fn(async |_: http::Request<String>| {
        Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
    }));
    shown(&service);
    let cookie = format!("__Host-activeconnect={}", credential.expose());
    let request = http::Request::builder().header("cookie", cookie).body(String::new()).unwrap();
    let future = service.call(request);
    shown(&future);
    shown(&future.await.unwrap().into_body());
    for server in ["http://u:CAN4RY@h/", "https://u:CAN4RY@", "https://CAN4RY:CAN4RY@h:p/"] {
        outcome(&Credentials::new("a", "x".repeat(24)).unwrap().with_server(server));
    }
    outcome(&Credentials::new("CAN4RY:split", APPLICATION_SECRET));
    outcome(&UserToken::new("CAN4RY\n"));
    assert_silent(&[APPLICATION_SECRET, SESSION_SECRET, SESSION_TOKEN, &credential.expose()]);
    let signature = header.rsplit(':').next().unwrap();
    assert_silent(&[signature]);
}

#[tokio::test]
async fn panic_shows_no_secret() {
    listen();
    let (raw, fault) = service().await;
    let client = Client::new(credentials(&raw.url())).unwrap();
    let token = UserToken::new(SESSION_TOKEN).unwrap();
    let asked = AuthenticationRequest::default();
    let session = client.authenticate_user(&token, &asked).await;
    let link = client.device_registration_link(&token, None).await;
    *fault.lock().unwrap() = Some(bad().remove(0));
    let failed = client.status(session.as_ref().unwrap()).await;
    let panics: [&dyn Fn(); 5] = [
        &|| _ = session.as_ref().expect_err("a session"),
        &|| _ = link.as_ref().expect_err("a link"),
        &|| _ = failed.as_ref().expect("an error"),
        &|| panic!("{client:?} {:?}", credentials("https://h")),
        &|| assert_eq!(Secret::new(SESSION_SECRET), Secret::new(APPLICATION_SECRET)),
    ];
    for panic in panics {
        let payload = catch_unwind(AssertUnwindSafe(panic)).unwrap_err();
        record(payload.downcast_ref::<String>().map_or("", String::as_str));
    }
    assert!(RECORDED.lock().unwrap().contains("a session: RemoteSession"), "panics are heard");
    assert_silent(&[APPLICATION_SECRET, SESSION_SECRET, REGISTER_URL, SESSION_TOKEN]);
}

/// All steps over HTTP: a login, gated requests, a panicking handler, faults, a logout.
#[tokio::test]
async fn login_shows_no_secret() {
    listen();
    let (raw, fault) = service().await;
    let ac = Activeconnect::builder(credentials(&raw.url()))
        .token_store(MemoryTokenStore::new())
        .poll_interval(Duration::from_millis(500))
        .build()
        .unwrap();
    ac.enroll(&"alice".into()).await.unwrap();
    let grant = ac.enrollment_grant(&"alice".into()).unwrap();
    shown(&grant);
    shown(&Authorization::from(&grant));
    let link = ac.registration_link(&grant).await.unwrap();
    shown(&(&link, link.qr_svg()));
    outcome(&ac.registration_link(&grant).await);
    let app = Router::new()
        .route(
            "/",
            get(async |session: ActiveSession| {
                shown(&session);
                shown(&session.guard());
                session.user().to_string()
            }),
        )
        .route("/panics", get(async |s: ActiveSession| -> String { panic!("{s:?}") }))
        .layer(ac.layer())
        .nest("/auth", ac.routes());
    let url = serve(app).await;
    let browser = Browser::new(&url);
    for wrong in ["CAN4RY", &format!("CAN4RY{}", "A".repeat(37))] {
        for (name, value) in [
            ("cookie", format!("__Host-activeconnect={wrong}")),
            ("cookie", format!("__Host-activeconnect-attempt={wrong}")),
            ("authorization", format!("Bearer {wrong}")),
        ] {
            for path in ["/", "/auth/status", "/auth/waiting", "/auth/login"] {
                browser.send(browser.get(path).header(name, &value)).await;
            }
        }
    }
    browser.json("/auth/login", &json!({"username": "alice"})).await;
    let attempt = browser.cookie("__Host-activeconnect-attempt").unwrap();
    poll_until("active", async || (browser.status().await == "active").then_some(())).await;
    let credential = browser.cookie("__Host-activeconnect").unwrap();
    assert_eq!(browser.api("/").await.text().await.unwrap(), "alice");
    let panicking = browser.get("/panics").header("cookie", browser.cookie_header());
    assert!(panicking.send().await.is_err());
    let other = ac.log_in(&"alice".into()).await;
    shown(&other);
    for steps in bad().into_iter().step_by(3) {
        *fault.lock().unwrap() = Some(steps);
        tokio::time::sleep(Duration::from_millis(550)).await;
        browser.api("/").await;
        outcome(&ac.log_in(&"alice".into()).await.map_err(|error| Shared(error.to_string())));
        let another = ac.enrollment_grant(&"alice".into()).unwrap();
        outcome(&ac.registration_link(&another).await);
        outcome(&ac.enroll(&"bob".into()).await);
    }
    *fault.lock().unwrap() = None;
    browser.form("/auth/logout", &[]).await;
    drop(ac);
    let mut secrets = vec![APPLICATION_SECRET, SESSION_SECRET, REGISTER_URL, SESSION_TOKEN];
    let grant = grant.expose();
    secrets.extend([attempt.as_str(), credential.as_str(), grant.as_str()]);
    let bits: Vec<String> = [&attempt, &credential, &grant]
        .iter()
        .map(|text| format!("{:?}", &URL_SAFE_NO_PAD.decode(text).unwrap()[..6]))
        .collect();
    secrets.extend(bits.iter().map(|bits| bits.trim_matches(['[', ']'])));
    assert_silent(&secrets);
}

/// An error of which only the message is left.
#[derive(Debug)]
struct Shared(String);

impl Display for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Shared {}
