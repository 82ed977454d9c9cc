//! Helpers of the integration tests: builders, a browser, servers, time limits.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

pub(crate) mod axe;
pub(crate) mod blog;
pub(crate) mod bytes_codec;
pub(crate) mod chromium;
pub(crate) mod emulator_program;
pub(crate) mod log_capture;
pub(crate) mod raw_server;
pub(crate) mod signed_client;
pub(crate) mod tls_server;
pub(crate) mod webdriver;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use activeconnect_emulator::{Action, Emulator, SessionReport};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use reqwest::header::{ACCEPT, AUTHORIZATION, COOKIE, SET_COOKIE};
use reqwest::{RequestBuilder, Response};
use tower::ServiceExt as _;
use tower_activeconnect::{
    ActiveSession, Activeconnect, ActiveconnectBuilder, Credentials, MemoryTokenStore,
};

/// The time limit of each wait whose duration is not under test.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The credentials of the emulator's application.
pub(crate) fn credentials(emulator: &Emulator) -> Credentials {
    Credentials::new(emulator.application_id(), emulator.application_secret().clone())
        .unwrap()
        .with_server(emulator.url())
        .unwrap()
}

/// The builder of an engine that uses the emulator and polls every 500 ms.
pub(crate) fn builder(emulator: &Emulator) -> ActiveconnectBuilder {
    Activeconnect::builder(credentials(emulator))
        .token_store(MemoryTokenStore::new())
        .poll_interval(Duration::from_millis(500))
        .test_clock()
}

/// Enrolls users and registers a phone for each.
pub(crate) async fn enroll_users(emulator: &Emulator, ac: &Activeconnect, users: &[&str]) {
    for user in users {
        let known: Vec<String> =
            emulator.state().users.into_iter().map(|user| user.user_id).collect();
        ac.enroll(&(*user).into()).await.unwrap();
        for user in emulator.state().users {
            if !known.contains(&user.user_id) {
                emulator.register_device(&user.user_id).unwrap();
            }
        }
    }
}

/// Serves an application on a free port.
pub(crate) async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}")
}

/// The session of this credential, as a handler behind the gate receives it.
pub(crate) async fn session_of(ac: &Activeconnect, credential: &str) -> ActiveSession {
    let extracted = Arc::new(Mutex::new(None));
    let handler = {
        let extracted = extracted.clone();
        async move |session: ActiveSession| *extracted.lock().unwrap() = Some(session)
    };
    let app = Router::new().route("/", get(handler)).layer(ac.layer());
    let request = Request::get("/").header(AUTHORIZATION, format!("Bearer {credential}"));
    app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    extracted.lock().unwrap().take().unwrap()
}

/// Calls `check` until it returns a value; panics after [`TEST_TIMEOUT`].
pub(crate) async fn poll_until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, polling)
        .await
        .unwrap_or_else(|_| panic!("timed out: {what}"))
}

/// Waits for a pending session and returns the newest.
pub(crate) async fn pending_session(emulator: &Emulator) -> SessionReport {
    poll_until("a session is pending", async || {
        let sessions = emulator.state().sessions;
        sessions.into_iter().rfind(|session| session.status.to_string() == "pending")
    })
    .await
}

/// Approves the pending login.
pub(crate) async fn approve(emulator: &Emulator) -> SessionReport {
    let session = pending_session(emulator).await;
    emulator.act_on_session(&session.session_token, Action::Approve).unwrap();
    session
}

/// An HTTP client with a cookie jar, which sends `Secure` cookies over the loopback and does not
/// follow redirects.
pub(crate) struct Browser {
    http: reqwest::Client,
    site: String,
    cookies: Mutex<BTreeMap<String, String>>,
}

impl Browser {
    pub(crate) fn new(site: &str) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self { http, site: site.to_owned(), cookies: Mutex::default() }
    }

    /// Loads a page as a navigation does.
    pub(crate) async fn page(&self, path: &str) -> Response {
        let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        self.send(self.get(path).header(ACCEPT, accept)).await
    }

    /// Sends a `GET` as a script does.
    pub(crate) async fn api(&self, path: &str) -> Response {
        self.send(self.get(path)).await
    }

    /// Sends a form as a navigation does.
    pub(crate) async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        let navigation = self.post(path).header("sec-fetch-mode", "navigate");
        self.send(navigation.header("sec-fetch-site", "same-origin").form(fields)).await
    }

    /// Sends JSON as a script does.
    pub(crate) async fn json(&self, path: &str, body: &serde_json::Value) -> Response {
        self.send(self.post(path).json(body)).await
    }

    /// `GET /auth/status`.
    pub(crate) async fn status(&self) -> String {
        let body: serde_json::Value = self.api("/auth/status").await.json().await.unwrap();
        body["status"].as_str().unwrap().to_owned()
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.site))
    }

    pub(crate) fn head(&self, path: &str) -> RequestBuilder {
        self.http.head(format!("{}{path}", self.site))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.site))
    }

    /// Sends the request with the jar's cookies, and stores the cookies of the response.
    pub(crate) async fn send(&self, mut request: RequestBuilder) -> Response {
        let cookies = self.cookie_header();
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies);
        }
        let response = request.send().await.unwrap();
        let mut jar = self.cookies.lock().unwrap();
        for set in response.headers().get_all(SET_COOKIE) {
            let (name, rest) = set.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if rest.contains("Max-Age=0") {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        drop(jar);
        response
    }

    pub(crate) fn cookie_header(&self) -> String {
        let jar = self.cookies.lock().unwrap();
        jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }

    pub(crate) fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    /// Logs in as a script does, and approves on the emulated phone.
    pub(crate) async fn log_in(&self, emulator: &Emulator, user: &str) -> SessionReport {
        let started = self.json("/auth/login", &serde_json::json!({"username": user})).await;
        assert_eq!(started.status(), 202);
        let session = approve(emulator).await;
        poll_until("the login is claimed", async || {
            (self.status().await == "active").then_some(())
        })
        .await;
        // The next request carries the credential.
        assert_eq!(self.status().await, "active");
        session
    }
}

/// The `location` of a redirect.
pub(crate) fn location(response: &Response) -> &str {
    response.headers()["location"].to_str().unwrap()
}

/// The path of an example's program, built with the test's profile.
pub(crate) fn example(name: &str) -> std::path::PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let built = std::process::Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--all-features", "--example", name])
        .status()
        .unwrap();
    assert!(built.success());
    profile.join("examples").join(name)
}

/// Advances tokio's clock by `time`, with real time for sockets after each `step`.
pub(crate) async fn advance(time: Duration, step: Duration) {
    let mut passed = Duration::ZERO;
    while passed < time {
        tokio::time::pause();
        tokio::time::advance(step).await;
        tokio::time::resume();
        tokio::time::sleep(Duration::from_millis(30)).await;
        passed += step;
    }
}
