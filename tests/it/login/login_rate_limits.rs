//! Login rate limits, known browsers, responses that reveal nothing, and clients without cookies.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use activeconnect_emulator::{Action, Emulator, Endpoint, Fault, FaultKind};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::ServiceExt as _;
use tower_activeconnect::events::{EventKind, Limit};
use tower_activeconnect::login::{LoginLimits, RateLimit};
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::store::StoreError;
use tower_activeconnect::{
    ActiveSession, Activeconnect, ActiveconnectBuilder, MemoryTokenStore, TokenStore, UserId,
    UserToken,
};

use crate::support::{Browser, approve, builder, enroll_users, pending_session, poll_until};

const ATTEMPT_COOKIE: &str = "__Host-activeconnect-attempt";
const KNOWN: &str = "__Host-activeconnect-known";

struct Site {
    emulator: Emulator,
    table: Arc<MemoryTokenStore>,
    ac: Activeconnect,
    url: String,
}

fn app(ac: &Activeconnect) -> Router {
    Router::new()
        .route("/", get(|s: ActiveSession| async move { s.user().to_string() }))
        .layer(ac.layer())
        .nest("/auth", ac.routes())
}

impl Site {
    async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    /// A site with the users alice and bob, behind a trusted proxy on the loopback.
    async fn with(configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let table = Arc::new(MemoryTokenStore::new());
        let builder = builder(&emulator).token_store(table.clone());
        let builder = builder.trusted_proxies(["127.0.0.1/32".parse().unwrap()]);
        let ac = configure(builder).build().unwrap();
        enroll_users(&emulator, &ac, &["alice", "bob"]).await;
        let url = serve(app(&ac)).await;
        Self { emulator, table, ac, url }
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.url)
    }

    /// The number of pushes so far.
    fn push_count(&self) -> u64 {
        self.emulator.state().calls.authenticate_user
    }

    /// A browser in which this user logged in once at another instance of the application.
    async fn known_browser(&self, user: &str) -> Browser {
        let other = builder(&self.emulator).token_store(self.table.clone()).build().unwrap();
        let there = Browser::new(&serve(app(&other)).await);
        there.log_in(&self.emulator, user).await;
        there.json("/auth/logout", &json!({})).await;
        let browser = self.browser();
        browser.set_cookie(KNOWN, &there.cookie(KNOWN).unwrap());
        browser
    }
}

/// Like [`support::serve`], with the client addresses for the application.
async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}")
}

/// Starts a login from this address.
async fn start(browser: &Browser, user: &str, address: &str) -> Response {
    let request = browser.post("/auth/login").json(&json!({ "username": user }));
    browser.send(request.header("x-forwarded-for", address)).await
}

fn retry_after(response: &Response) -> u64 {
    assert_eq!(response.status(), 429);
    response.headers()["retry-after"].to_str().unwrap().parse().unwrap()
}

/// T027, T030: a thousand starts from a thousand addresses stay within the push limit, while the
/// user logs in from a known browser.
#[tokio::test]
async fn thousand_starts_stay_within_push_limit() {
    let overall = RateLimit::new(10_000, Duration::from_secs(1));
    let site = Site::with(|b| b.login_limits(LoginLimits::default().overall(overall))).await;
    let known_browser = site.known_browser("alice").await;
    let before = site.push_count();
    let attacker = site.browser();
    let mut events = site.ac.events();
    for number in 0_u32..1_000 {
        let address = format!("203.0.{}.{}", number / 250, number % 250);
        // One browser that starts repeatedly, and others that join it.
        let response = if number % 2 == 0 {
            start(&attacker, "alice", &address).await
        } else {
            start(&site.browser(), "alice", &address).await
        };
        if number == 20 {
            assert!(retry_after(&response) > 200, "the budget of five minutes is spent");
        }
        if number == 500 {
            let started = start(&known_browser, "alice", "203.0.113.1").await;
            assert_eq!(started.status(), 202, "anonymous clients do not block the user");
            poll_until("the user is in", async || {
                let sessions = site.emulator.state().sessions;
                if let Some(pending_session) =
                    sessions.last().filter(|s| s.status == SessionStatus::Pending)
                {
                    // An anonymous session may have been superseded by the user's own login.
                    _ = site
                        .emulator
                        .act_on_session(&pending_session.session_token, Action::Approve);
                }
                (known_browser.status().await == "active").then_some(())
            })
            .await;
        }
    }
    assert!(site.push_count() - before <= 6, "{} pushes", site.push_count() - before);
    assert_eq!(known_browser.page("/").await.status(), 200);
    let mut hit = false;
    while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, events.next()).await {
        hit |= event.kind == EventKind::LimitReached(Limit::Logins);
    }
    assert!(hit, "the application gets the event");
}

/// T028: an address has one limit, for all usernames and forwarded headers.
#[tokio::test]
async fn address_is_counted_despite_forwarded_headers() {
    let overall = RateLimit::new(1_000, Duration::from_secs(1));
    let limits = LoginLimits::default().overall(overall);
    let site = Site::with(|b| b.trusted_proxies([]).login_limits(limits)).await;
    for number in 0..30 {
        let name = format!("nobody{number}");
        let started = start(&site.browser(), &name, &format!("203.0.113.{number}")).await;
        assert_eq!(started.status(), 202, "{number}");
    }
    assert!(retry_after(&start(&site.browser(), "nobody", "203.0.113.99").await) > 200);
    assert!(retry_after(&start(&site.browser(), "alice", "198.51.100.1").await) > 200);
    assert_eq!(site.push_count(), 0);
}

/// T028: all anonymous clients share a total limit.
#[tokio::test]
async fn anonymous_clients_share_total_limit() {
    let emulator = Emulator::start().await.unwrap();
    tokio::time::pause();
    let ac = builder(&emulator).build().unwrap();
    let app = app(&ac);
    let ask = async |number: u32| {
        let body = Body::from(format!(r#"{{"username":"nobody{number}"}}"#));
        let request = Request::post("/auth/login").header("content-type", "application/json");
        app.clone().oneshot(request.body(body).unwrap()).await.unwrap().status()
    };
    for number in 0..20 {
        assert_eq!(ask(number).await, StatusCode::ACCEPTED);
    }
    assert_eq!(ask(20).await, StatusCode::TOO_MANY_REQUESTS);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(ask(21).await, StatusCode::ACCEPTED);
}

/// A hundred thousand starts for unknown usernames: memory stays constant, and the service gets no
/// call.
#[tokio::test]
async fn flood_of_names_needs_no_memory() {
    let max = RateLimit::new(1_000_000, Duration::from_secs(1));
    let limits = LoginLimits::default().overall(max).per_address(max);
    let site = Site::with(|b| b.login_limits(limits)).await;
    let calls = site.emulator.state().calls;
    let app = app(&site.ac);
    let mut memory = 0;
    let mut responses = HashMap::new();
    for number in 0_u32..100_000 {
        let body = Body::from(format!(r#"{{"username":"nobody{number}"}}"#));
        let request = Request::post("/auth/login").header("content-type", "application/json");
        let response = app.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        *responses.entry(response.status()).or_insert(0) += 1;
        if number == 20_000 {
            memory = resident();
        }
    }
    let grown = resident().saturating_sub(memory);
    println!("{responses:?}, {} MB, {} MB more since the 20,000th", memory >> 20, grown >> 20);
    assert!(grown < 16 << 20, "{grown} bytes more");
    // The last tenth of the 10,000 attempts is not for anonymous clients.
    assert_eq!(responses[&StatusCode::ACCEPTED], 9_000, "as many attempts wait as may");
    assert_eq!(responses[&StatusCode::TOO_MANY_REQUESTS], 91_000);
    assert_eq!(site.emulator.state().calls, calls);
}

/// The resident bytes of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// A store that hangs for one user.
struct HangingStore(MemoryTokenStore);

impl TokenStore for HangingStore {
    async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        if user.as_str() == "hang" {
            std::future::pending::<()>().await;
        }
        self.0.token(user).await
    }

    async fn assign(&self, user: &UserId, token: &UserToken) -> Result<UserToken, StoreError> {
        self.0.assign(user, token).await
    }
}

/// Sends a start; returns the response's bytes without the attempt cookie's value and the date.
async fn start_response(site: &Site, content_type: &str, body: &str) -> String {
    let address = site.url.strip_prefix("http://").unwrap();
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST /auth/login HTTP/1.1\r\nhost: {address}\r\ncontent-type: {content_type}\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    socket.read_to_string(&mut response).await.unwrap();
    let lines = response.split("\r\n").map(|line| {
        if let Some(rest) = line.strip_prefix(&format!("set-cookie: {ATTEMPT_COOKIE}=")) {
            let (value, attributes) = rest.split_once(';').unwrap();
            assert_eq!(value.len(), 43);
            format!("set-cookie: {ATTEMPT_COOKIE}=…;{attributes}")
        } else if line.starts_with("date: ") {
            "date: …".to_owned()
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\r\n")
}

/// T025, T026: the response to a start is the same for all users and all states of the store and
/// the service. So are the responses while it is pending, and the response to a start that is too
/// early.
#[tokio::test]
async fn start_reveals_nothing() {
    let site = Site::with(|b| {
        b.token_store(HangingStore(MemoryTokenStore::new())).login_timeout(Duration::from_secs(5))
    })
    .await;
    site.ac.enroll(&"phoneless".into()).await.unwrap();
    let users = ["alice", "nobody", "phoneless", "hang", "bob"];
    let mut reported = Vec::new();
    for user in users {
        if user == "bob" {
            site.emulator.inject_fault(Fault::new(Endpoint::AuthenticateUser, FaultKind::Hang));
        }
        let form = format!("username={user}&next=/a");
        reported.push(start_response(&site, "application/x-www-form-urlencoded", &form).await);
    }
    assert!(reported[0].starts_with("HTTP/1.1 303"), "{}", reported[0]);
    assert!(reported.windows(2).all(|pair| pair[0] == pair[1]), "{reported:#?}");
    // The same in the other format, for usernames that are free again.
    let mut reported = Vec::new();
    let browsers: Vec<_> = users.map(|user| (site.browser(), user)).into();
    // Each from its own address, because rejected starts count by address and name.
    let mut tries = 0_u16;
    for (browser, user) in &browsers {
        poll_until("the name is free again", async || {
            tries += 1;
            let [high, low] = tries.to_be_bytes();
            let started = start(browser, user, &format!("203.0.{high}.{low}")).await;
            (started.status() == 202).then_some(())
        })
        .await;
        let page = browser.page("/auth/waiting").await.text().await.unwrap();
        assert!(page.contains(site.url.strip_prefix("http://").unwrap()), "{page}");
        // The pages differ only in the typed username and the time.
        let (before, rest) = page.split_once(&format!("<bdi>{user}</bdi>")).unwrap();
        let (between, rest) = rest.split_once("<span ").unwrap();
        let (time, rest) = rest.split_once("</span>").unwrap();
        assert!(time.starts_with("data-started=") && time.ends_with(" UTC"), "{time}");
        let (_, after) = rest.split_once("</dl>").unwrap();
        reported.push((browser.status().await, format!("{before}{between}{after}")));
    }
    assert_eq!(reported[0].0, "pending");
    assert!(reported.windows(2).all(|pair| pair[0] == pair[1]), "{reported:#?}");
    for (browser, user) in &browsers {
        let has_timed_out = async || (browser.status().await == "timeout").then_some(());
        poll_until(user, has_timed_out).await;
        let page = browser.page("/auth/waiting").await.text().await.unwrap();
        assert!(page.contains("No answer came"), "{user}");
    }
}

/// T026: unknown usernames have the same limits as known ones.
#[tokio::test]
async fn rate_limit_response_reveals_nothing() {
    let site = Site::new().await;
    let mut delays = Vec::new();
    for user in ["alice", "nobody"] {
        let browser = site.browser();
        for _ in 0..5 {
            assert_eq!(start(&browser, user, "203.0.113.7").await.status(), 202);
        }
        let rejected = start(&browser, user, "203.0.113.8").await;
        delays.push(retry_after(&rejected));
        let problem: Value = rejected.json().await.unwrap();
        let detail = problem["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&format!("{} seconds", delays.last().unwrap())), "{detail}");
        let page = browser.form("/auth/login", &[("username", user)]).await;
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        assert!(retry_after(&page) > 200);
    }
    assert!(delays[0].abs_diff(delays[1]) <= 2, "{delays:?}");
}

/// A known browser supersedes an anonymous attempt, which is logged out at the service. An
/// anonymous browser supersedes no other attempt.
#[tokio::test]
async fn known_browser_supersedes_anonymous() {
    let site = Site::new().await;
    let (known_browser, other) =
        (site.known_browser("alice").await, site.known_browser("bob").await);
    let anonymous = site.browser();
    assert_eq!(start(&anonymous, "alice", "203.0.113.7").await.status(), 202);
    let theirs = pending_session(&site.emulator).await;
    // A browser known for one username is anonymous for another.
    assert_eq!(start(&other, "alice", "203.0.113.9").await.status(), 429);
    assert_eq!(start(&known_browser, "alice", "203.0.113.8").await.status(), 202);
    let withdrawn = async || {
        let sessions = site.emulator.state().sessions;
        let now = sessions.into_iter().find(|s| s.session_token == theirs.session_token).unwrap();
        (now.status == SessionStatus::Closed).then_some(())
    };
    poll_until("the anonymous login is cancelled", withdrawn).await;
    // The anonymous browser may start again, as for an unknown username.
    assert_eq!(start(&anonymous, "alice", "203.0.113.7").await.status(), 202);
    approve(&site.emulator).await;
    poll_until("in", async || (known_browser.status().await == "active").then_some(())).await;
    // The anonymous browser does not learn that its attempt was superseded.
    assert_eq!(anonymous.status().await, "pending");
}

/// Anonymous browsers cannot see a decline and may start again at once; the application gets an
/// event.
#[tokio::test]
async fn decline_is_reported_to_application_only() {
    let site = Site::new().await;
    let mut events = site.ac.events();
    let browser = site.browser();
    assert_eq!(start(&browser, "alice", "203.0.113.7").await.status(), 202);
    let session = pending_session(&site.emulator).await;
    site.emulator.act_on_session(&session.session_token, Action::Cancel).unwrap();
    let event = events.next().await.unwrap();
    let rejected = EventKind::LoginRejected { status: SessionStatus::Cancelled };
    assert_eq!((event.kind, event.user), (rejected, Some("alice".into())));
    // Status requests send no push (T029).
    for _ in 0..20 {
        assert_eq!(browser.status().await, "pending");
        assert_eq!(browser.page("/auth/waiting").await.status(), 200);
    }
    assert_eq!(site.push_count(), 1);
    assert_eq!(start(&site.browser(), "alice", "203.0.113.8").await.status(), 429);
    assert_eq!(start(&browser, "alice", "203.0.113.7").await.status(), 202);
    approve(&site.emulator).await;
    poll_until("in", async || (browser.status().await == "active").then_some(())).await;
}

/// A known browser learns at once that its attempt was declined.
#[tokio::test]
async fn known_browser_gets_decline_status() {
    let site = Site::new().await;
    let known_browser = site.known_browser("alice").await;
    assert_eq!(start(&known_browser, "alice", "203.0.113.7").await.status(), 202);
    let session = pending_session(&site.emulator).await;
    site.emulator.act_on_session(&session.session_token, Action::Cancel).unwrap();
    poll_until("the decline is reported", async || {
        (known_browser.status().await == "timeout").then_some(())
    })
    .await;
    let page = known_browser.page("/auth/waiting").await.text().await.unwrap();
    assert!(page.contains("No answer came"), "{page}");
    assert_eq!(start(&known_browser, "alice", "203.0.113.7").await.status(), 202);
}

/// Clients without cookies: credentials are only in bodies, and not in pages.
#[tokio::test]
async fn cookieless_client_gets_credential_in_body() {
    let site = Site::new().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let login = format!("{}/auth/login", site.url);
    let start = json!({ "username": "alice", "credential": "bearer" });
    for (name, value) in [("origin", site.url.as_str()), ("sec-fetch-site", "same-origin")] {
        let rejected = http.post(&login).json(&start).header(name, value).send().await.unwrap();
        assert_eq!(rejected.status(), 403, "{name}");
    }
    assert_eq!(site.push_count(), 0);
    let odd = json!({ "username": "alice", "credential": "both" });
    assert_eq!(http.post(&login).json(&odd).send().await.unwrap().status(), 422);

    let started = http.post(&login).json(&start).send().await.unwrap();
    assert_eq!(started.status(), 202);
    assert_eq!(started.headers()["cache-control"], "no-store");
    assert!(!started.headers().contains_key("set-cookie"));
    let started: Value = started.json().await.unwrap();
    assert_eq!(started["status"], "pending");
    let secret = started["attempt"].as_str().unwrap();
    let status = || http.get(format!("{}/auth/status", site.url)).bearer_auth(secret);
    let pending: Value = status().send().await.unwrap().json().await.unwrap();
    assert_eq!(pending, json!({ "status": "pending" }));
    approve(&site.emulator).await;
    let mut events =
        http.get(format!("{}/auth/events", site.url)).bearer_auth(secret).send().await.unwrap();
    let mut text = String::new();
    while !text.contains("active") {
        text.push_str(&String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap()));
    }
    drop(events);
    // Neither a cookie nor a page can claim this attempt.
    let thief = site.browser();
    thief.set_cookie(ATTEMPT_COOKIE, secret);
    assert_eq!(thief.status().await, "none");
    for (name, value) in [("origin", site.url.as_str()), ("sec-fetch-site", "same-origin")] {
        assert_eq!(status().header(name, value).send().await.unwrap().status(), 403);
    }
    // A response without a body would lose the credential.
    let head = http.head(format!("{}/auth/status", site.url)).bearer_auth(secret);
    assert_eq!(head.send().await.unwrap().status(), 200);
    let claimed = status().send().await.unwrap();
    assert!(!claimed.headers().contains_key("set-cookie"));
    let claimed: Value = claimed.json().await.unwrap();
    assert_eq!(claimed["status"], "active");
    let credential = claimed["credential"].as_str().unwrap();
    // The response may be lost, so it is repeated until the credential is used.
    let again: Value = status().send().await.unwrap().json().await.unwrap();
    assert_eq!(again, claimed);
    let page = http.get(&site.url).bearer_auth(credential).send().await.unwrap();
    assert_eq!(page.text().await.unwrap(), "alice");
    let has_timed_out: Value = status().send().await.unwrap().json().await.unwrap();
    assert_eq!(has_timed_out, json!({ "status": "timeout" }));
}

/// A client without cookies may also start again at once, with its attempt credential.
#[tokio::test]
async fn client_without_cookies_starts_again() {
    let site = Site::new().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let start = json!({ "username": "alice", "credential": "bearer" });
    let login = || http.post(format!("{}/auth/login", site.url)).json(&start);
    let started: Value = login().send().await.unwrap().json().await.unwrap();
    assert_eq!(login().send().await.unwrap().status(), 429);
    let secret = started["attempt"].as_str().unwrap();
    assert_eq!(login().bearer_auth(secret).send().await.unwrap().status(), 202);
}

/// A username that equals a user id is not that id: the two do not affect each other.
#[tokio::test]
async fn username_is_not_a_user_id() {
    let site = Site::with(|b| {
        b.resolve_username(|typed| async move {
            Ok::<_, std::io::Error>((typed == "mail").then(|| UserId::from("alice")))
        })
    })
    .await;
    let (ac, alice) = (site.ac.clone(), UserId::from("alice"));
    let login = tokio::spawn(async move { ac.log_in(&alice).await });
    pending_session(&site.emulator).await;
    let anonymous = site.browser();
    assert_eq!(start(&anonymous, "alice", "203.0.113.7").await.status(), 202);
    approve(&site.emulator).await;
    assert!(login.await.unwrap().is_ok());
    assert_eq!(anonymous.status().await, "pending");
}

/// Attempts of anonymous clients do not block the application.
#[tokio::test]
async fn application_supersedes_anonymous() {
    let site = Site::new().await;
    let anonymous = site.browser();
    assert_eq!(start(&anonymous, "alice", "203.0.113.7").await.status(), 202);
    let theirs = pending_session(&site.emulator).await;
    let alice = UserId::from("alice");
    let approved = async {
        poll_until("the application's push is sent", async || {
            let sessions = site.emulator.state().sessions;
            let newest = sessions.last().filter(|s| s.session_token != theirs.session_token)?;
            site.emulator.act_on_session(&newest.session_token, Action::Approve).ok()
        })
        .await;
    };
    let (credential, ()) = tokio::join!(site.ac.log_in(&alice), approved);
    assert!(credential.is_ok());
    assert_eq!(anonymous.status().await, "pending");
}

/// Only the cookie claims a browser's attempt.
#[tokio::test]
async fn cookie_attempt_rejects_bearer() {
    let site = Site::new().await;
    let browser = site.browser();
    assert_eq!(start(&browser, "alice", "203.0.113.7").await.status(), 202);
    let secret = browser.cookie(ATTEMPT_COOKIE).unwrap();
    approve(&site.emulator).await;
    let thief = site.browser();
    let status = thief.send(thief.get("/auth/status").bearer_auth(secret)).await;
    assert_eq!(status.json::<Value>().await.unwrap(), json!({ "status": "none" }));
    poll_until("in", async || (browser.status().await == "active").then_some(())).await;
}

/// The username is resolved after the response.
#[tokio::test]
async fn username_is_resolved_after_the_response() {
    let site = Site::with(|b| {
        b.resolve_username(|typed| async move {
            match typed.to_lowercase().split_once('@') {
                Some((_, "broken.example")) => Err("the directory is down"),
                Some((name, "users.example")) => Ok(Some(UserId::from(name))),
                _ => Ok(None),
            }
        })
    })
    .await;
    for typed in ["alice", "alice@broken.example", "alice@elsewhere.example"] {
        assert_eq!(start(&site.browser(), typed, "203.0.113.7").await.status(), 202);
    }
    let browser = site.browser();
    assert_eq!(start(&browser, "Alice@users.example", "203.0.113.7").await.status(), 202);
    approve(&site.emulator).await;
    poll_until("in", async || (browser.status().await == "active").then_some(())).await;
    assert_eq!(site.push_count(), 1);
}

/// The cookies' names; without `__Host-` the attributes are the same except where TLS is missing.
#[tokio::test]
async fn builder_sets_cookie_names() {
    for (secure, names) in [
        (true, ["__Host-mine", "__Host-mine-attempt", "__Host-mine-known"]),
        (false, ["mine", "mine-attempt", "mine-known"]),
    ] {
        let site =
            Site::with(
                |b| {
                    if secure { b.cookie_name("mine") } else { b.insecure_cookie_name("mine") }
                },
            )
            .await;
        let browser = site.browser();
        let started = start(&browser, "alice", "203.0.113.7").await;
        let set = started.headers()["set-cookie"].to_str().unwrap();
        assert_eq!(set.contains("; Secure"), secure, "{set}");
        assert!(set.contains("HttpOnly; SameSite=Lax") && set.contains("Path=/"), "{set}");
        assert!(browser.cookie(names[1]).is_some());
        approve(&site.emulator).await;
        poll_until("in", async || (browser.status().await == "active").then_some(())).await;
        assert!(browser.cookie(names[0]).is_some() && browser.cookie(names[1]).is_none());
        assert!(browser.cookie(names[2]).is_some());
        assert_eq!(browser.page("/").await.status(), 200);
        browser.json("/auth/logout", &json!({})).await;
        assert_eq!(
            browser.cookie_header(),
            format!("{}={}", names[2], browser.cookie(names[2]).unwrap())
        );
    }
}
