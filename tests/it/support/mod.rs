//! What tests over real sockets share: a browser, an application, a deadline.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

pub(crate) mod axe;
pub(crate) mod blog;
pub(crate) mod caller;
pub(crate) mod chromium;
pub(crate) mod emulator_program;
pub(crate) mod plain;
pub(crate) mod raw;
pub(crate) mod secure;
pub(crate) mod trace;
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

/// How long anything that is not itself a bound under test may take.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The credentials of the emulator's application.
pub(crate) fn credentials(emulator: &Emulator) -> Credentials {
    Credentials::new(emulator.application_id(), emulator.application_secret().clone())
        .unwrap()
        .with_server(emulator.url())
        .unwrap()
}

/// An engine that polls fast, before the emulator.
pub(crate) fn builder(emulator: &Emulator) -> ActiveconnectBuilder {
    Activeconnect::builder(credentials(emulator))
        .token_store(MemoryTokenStore::new())
        .poll_interval(Duration::from_millis(500))
        .test_clock()
}

/// Enrolls users and gives each a phone.
pub(crate) async fn with_phones(emulator: &Emulator, ac: &Activeconnect, users: &[&str]) {
    for user in users {
        let before: Vec<String> =
            emulator.state().users.into_iter().map(|user| user.user_id).collect();
        ac.enroll(&(*user).into()).await.unwrap();
        for user in emulator.state().users {
            if !before.contains(&user.user_id) {
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

/// The session of this credential, as a handler behind the gate has it.
pub(crate) async fn session_of(ac: &Activeconnect, credential: &str) -> ActiveSession {
    let kept = Arc::new(Mutex::new(None));
    let keep = {
        let kept = kept.clone();
        async move |session: ActiveSession| *kept.lock().unwrap() = Some(session)
    };
    let app = Router::new().route("/", get(keep)).layer(ac.layer());
    let request = Request::get("/").header(AUTHORIZATION, format!("Bearer {credential}"));
    app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    kept.lock().unwrap().take().unwrap()
}

/// Looks again and again until the answer is there; panics when it takes too long.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, looking).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// The newest session that the emulator has, once it is another than `before`.
pub(crate) async fn ringing(emulator: &Emulator) -> SessionReport {
    until("a phone rings", async || {
        let sessions = emulator.state().sessions;
        sessions.into_iter().rfind(|session| session.status.to_string() == "pending")
    })
    .await
}

/// Approves the login that waits.
pub(crate) async fn approve(emulator: &Emulator) -> SessionReport {
    let session = ringing(emulator).await;
    emulator.act_on_session(&session.session_token, Action::Approve).unwrap();
    session
}

/// A browser: it keeps cookies, `Secure` ones on the loopback too, and follows nothing by itself.
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

    /// Asks as a script does.
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
        let answer: serde_json::Value = self.api("/auth/status").await.json().await.unwrap();
        answer["status"].as_str().unwrap().to_owned()
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

    /// Sends with the cookies it has, and keeps what is set.
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

    /// Logs in with the emulated phone, as a script, and goes on as the page does.
    pub(crate) async fn log_in(&self, emulator: &Emulator, user: &str) -> SessionReport {
        let started = self.json("/auth/login", &serde_json::json!({"username": user})).await;
        assert_eq!(started.status(), 202);
        let session = approve(emulator).await;
        until("the login is claimed", async || (self.status().await == "active").then_some(()))
            .await;
        // The next request carries the credential.
        assert_eq!(self.status().await, "active");
        session
    }
}

/// `location` of a redirect.
pub(crate) fn location(response: &Response) -> &str {
    response.headers()["location"].to_str().unwrap()
}

/// An example's program, built as the test was.
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

/// Lets the paused part of the world go on for this long, with time for sockets in between.
pub(crate) async fn pass(time: Duration, step: Duration) {
    let mut passed = Duration::ZERO;
    while passed < time {
        tokio::time::pause();
        tokio::time::advance(step).await;
        tokio::time::resume();
        tokio::time::sleep(Duration::from_millis(30)).await;
        passed += step;
    }
}
