//! Logging in with strangers about: budgets, known browsers, answers that tell nothing, clients
//! without cookies.

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

use crate::support::{Browser, approve, builder, ringing, until, with_phones};

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

    /// A site whose users are alice and bob, behind a proxy on the loopback that it trusts.
    async fn with(configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let table = Arc::new(MemoryTokenStore::new());
        let builder = builder(&emulator).token_store(table.clone());
        let builder = builder.trusted_proxies(["127.0.0.1/32".parse().unwrap()]);
        let ac = configure(builder).build().unwrap();
        with_phones(&emulator, &ac, &["alice", "bob"]).await;
        let url = serve(app(&ac)).await;
        Self { emulator, table, ac, url }
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.url)
    }

    /// How often a phone was to ring.
    fn rings(&self) -> u64 {
        self.emulator.state().calls.authenticate_user
    }

    /// A browser in which this user has logged in once, at another instance of the application.
    async fn known(&self, user: &str) -> Browser {
        let other = builder(&self.emulator).token_store(self.table.clone()).build().unwrap();
        let there = Browser::new(&serve(app(&other)).await);
        there.log_in(&self.emulator, user).await;
        there.json("/auth/logout", &json!({})).await;
        let browser = self.browser();
        browser.set_cookie(KNOWN, &there.cookie(KNOWN).unwrap());
        browser
    }
}

/// As [`support::serve`], and the application knows who is connected.
async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}")
}

/// Starts a login from an address.
async fn start(browser: &Browser, user: &str, address: &str) -> Response {
    let request = browser.post("/auth/login").json(&json!({ "username": user }));
    browser.send(request.header("x-forwarded-for", address)).await
}

fn retry_after(response: &Response) -> u64 {
    assert_eq!(response.status(), 429);
    response.headers()["retry-after"].to_str().unwrap().parse().unwrap()
}

/// T027, T030: a thousand starts from a thousand addresses ring within the budget; meanwhile the
/// user gets in from a browser that is known.
#[tokio::test]
async fn thousand_starts_ring_within_the_budget() {
    let overall = RateLimit::new(10_000, Duration::from_secs(1));
    let site = Site::with(|b| b.login_limits(LoginLimits::default().overall(overall))).await;
    let known = site.known("alice").await;
    let before = site.rings();
    let attacker = site.browser();
    let mut events = site.ac.events();
    for number in 0_u32..1_000 {
        let address = format!("203.0.{}.{}", number / 250, number % 250);
        // One browser that tries again and again, and others that join it.
        let response = if number % 2 == 0 {
            start(&attacker, "alice", &address).await
        } else {
            start(&site.browser(), "alice", &address).await
        };
        if number == 20 {
            assert!(retry_after(&response) > 200, "the budget of five minutes is spent");
        }
        if number == 500 {
            let started = start(&known, "alice", "203.0.113.1").await;
            assert_eq!(started.status(), 202, "strangers do not keep the user out");
            until("the user is in", async || {
                let sessions = site.emulator.state().sessions;
                if let Some(ringing) =
                    sessions.last().filter(|s| s.status == SessionStatus::Pending)
                {
                    // If it is a stranger's, the user's own login may have closed it just now.
                    _ = site.emulator.act_on_session(&ringing.session_token, Action::Approve);
                }
                (known.status().await == "active").then_some(())
            })
            .await;
        }
    }
    assert!(site.rings() - before <= 6, "{} rang", site.rings() - before);
    assert_eq!(known.page("/").await.status(), 200);
    let mut hit = false;
    while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, events.next()).await {
        hit |= event.kind == EventKind::LimitReached(Limit::Logins);
    }
    assert!(hit, "the application is told");
}

/// T028: one address has its budget, whatever names it tries and whatever it says of itself.
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
    assert_eq!(site.rings(), 0);
}

/// T028: and all together have one.
#[tokio::test]
async fn all_strangers_together_are_counted() {
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

/// A hundred thousand starts for names that do not exist: memory stays flat, and the service hears
/// of none.
#[tokio::test]
async fn flood_of_names_costs_nothing() {
    let most = RateLimit::new(1_000_000, Duration::from_secs(1));
    let limits = LoginLimits::default().overall(most).per_address(most);
    let site = Site::with(|b| b.login_limits(limits)).await;
    let calls = site.emulator.state().calls;
    let app = app(&site.ac);
    let mut memory = 0;
    let mut answers = HashMap::new();
    for number in 0_u32..100_000 {
        let body = Body::from(format!(r#"{{"username":"nobody{number}"}}"#));
        let request = Request::post("/auth/login").header("content-type", "application/json");
        let answer = app.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        *answers.entry(answer.status()).or_insert(0) += 1;
        if number == 20_000 {
            memory = resident();
        }
    }
    let grown = resident().saturating_sub(memory);
    println!("{answers:?}, {} MB, {} MB more since the 20,000th", memory >> 20, grown >> 20);
    assert!(grown < 16 << 20, "{grown} bytes more");
    // The last tenth of the 10,000 attempts is not for strangers.
    assert_eq!(answers[&StatusCode::ACCEPTED], 9_000, "as many attempts wait as may");
    assert_eq!(answers[&StatusCode::TOO_MANY_REQUESTS], 91_000);
    assert_eq!(site.emulator.state().calls, calls);
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// A store that never answers for one user.
struct Hanging(MemoryTokenStore);

impl TokenStore for Hanging {
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

/// Sends a start and gives the answer's bytes, without what may differ: the attempt cookie's value
/// and the date.
async fn answer_to_a_start(site: &Site, content_type: &str, body: &str) -> String {
    let address = site.url.strip_prefix("http://").unwrap();
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST /auth/login HTTP/1.1\r\nhost: {address}\r\ncontent-type: {content_type}\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let lines = answer.split("\r\n").map(|line| {
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

/// T025, T026: whoever it is, and whatever the store and the service do, the start's answer is the
/// same; so are the answers while it waits, and the one that comes too early.
#[tokio::test]
async fn start_reveals_nothing() {
    let site = Site::with(|b| {
        b.token_store(Hanging(MemoryTokenStore::new())).login_timeout(Duration::from_secs(5))
    })
    .await;
    site.ac.enroll(&"phoneless".into()).await.unwrap();
    let users = ["alice", "nobody", "phoneless", "hang", "bob"];
    let mut told = Vec::new();
    for user in users {
        if user == "bob" {
            site.emulator.inject_fault(Fault::new(Endpoint::AuthenticateUser, FaultKind::Hang));
        }
        let form = format!("username={user}&next=/a");
        told.push(answer_to_a_start(&site, "application/x-www-form-urlencoded", &form).await);
    }
    assert!(told[0].starts_with("HTTP/1.1 303"), "{}", told[0]);
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:#?}");
    // And in the other form, for those whose names are free again.
    let mut told = Vec::new();
    let browsers: Vec<_> = users.map(|user| (site.browser(), user)).into();
    // From one address each time: refused starts count by address and name.
    let mut tries = 0_u16;
    for (browser, user) in &browsers {
        until("the name is free again", async || {
            tries += 1;
            let [high, low] = tries.to_be_bytes();
            let started = start(browser, user, &format!("203.0.{high}.{low}")).await;
            (started.status() == 202).then_some(())
        })
        .await;
        let page = browser.page("/auth/waiting").await.text().await.unwrap();
        assert!(page.contains(site.url.strip_prefix("http://").unwrap()), "{page}");
        // What differs is what was typed, and the time.
        let (before, rest) = page.split_once(&format!("<bdi>{user}</bdi>")).unwrap();
        let (between, rest) = rest.split_once("<span ").unwrap();
        let (time, rest) = rest.split_once("</span>").unwrap();
        assert!(time.starts_with("data-started=") && time.ends_with(" UTC"), "{time}");
        let (_, after) = rest.split_once("</dl>").unwrap();
        told.push((browser.status().await, format!("{before}{between}{after}")));
    }
    assert_eq!(told[0].0, "pending");
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:#?}");
    for (browser, user) in &browsers {
        let over = async || (browser.status().await == "timeout").then_some(());
        until(user, over).await;
        let page = browser.page("/auth/waiting").await.text().await.unwrap();
        assert!(page.contains("No answer came"), "{user}");
    }
}

/// T026: names that do not exist have the same budget as those that do.
#[tokio::test]
async fn rate_limit_response_reveals_nothing() {
    let site = Site::new().await;
    let mut waits = Vec::new();
    for user in ["alice", "nobody"] {
        let browser = site.browser();
        for _ in 0..5 {
            assert_eq!(start(&browser, user, "203.0.113.7").await.status(), 202);
        }
        let refused = start(&browser, user, "203.0.113.8").await;
        waits.push(retry_after(&refused));
        let problem: Value = refused.json().await.unwrap();
        let detail = problem["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&format!("{} seconds", waits.last().unwrap())), "{detail}");
        let page = browser.form("/auth/login", &[("username", user)]).await;
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        assert!(retry_after(&page) > 200);
    }
    assert!(waits[0].abs_diff(waits[1]) <= 2, "{waits:?}");
}

/// A browser in which the user has logged in before takes the place of a stranger's attempt, which
/// is logged out at the service; a stranger does not take anybody's.
#[tokio::test]
async fn known_browser_goes_before_strangers() {
    let site = Site::new().await;
    let (known, other) = (site.known("alice").await, site.known("bob").await);
    let stranger = site.browser();
    assert_eq!(start(&stranger, "alice", "203.0.113.7").await.status(), 202);
    let theirs = ringing(&site.emulator).await;
    // Known by one name is not known by another.
    assert_eq!(start(&other, "alice", "203.0.113.9").await.status(), 429);
    assert_eq!(start(&known, "alice", "203.0.113.8").await.status(), 202);
    let withdrawn = async || {
        let sessions = site.emulator.state().sessions;
        let now = sessions.into_iter().find(|s| s.session_token == theirs.session_token).unwrap();
        (now.status == SessionStatus::Closed).then_some(())
    };
    until("the stranger's login is withdrawn", withdrawn).await;
    // The stranger's browser may start anew, as it could for a name that does not exist.
    assert_eq!(start(&stranger, "alice", "203.0.113.7").await.status(), 202);
    approve(&site.emulator).await;
    until("in", async || (known.status().await == "active").then_some(())).await;
    // The stranger does not learn that somebody went before them.
    assert_eq!(stranger.status().await, "pending");
}

/// A decline looks like nothing; the same browser may start again at once, and the application is
/// told.
#[tokio::test]
async fn decline_is_reported_to_application_only() {
    let site = Site::new().await;
    let mut events = site.ac.events();
    let browser = site.browser();
    assert_eq!(start(&browser, "alice", "203.0.113.7").await.status(), 202);
    let session = ringing(&site.emulator).await;
    site.emulator.act_on_session(&session.session_token, Action::Cancel).unwrap();
    let event = events.next().await.unwrap();
    let refused = EventKind::LoginRefused { status: SessionStatus::Cancelled };
    assert_eq!((event.kind, event.user), (refused, Some("alice".into())));
    // However often it is asked about, the phone does not ring again by itself (T029).
    for _ in 0..20 {
        assert_eq!(browser.status().await, "pending");
        assert_eq!(browser.page("/auth/waiting").await.status(), 200);
    }
    assert_eq!(site.rings(), 1);
    assert_eq!(start(&site.browser(), "alice", "203.0.113.8").await.status(), 429);
    assert_eq!(start(&browser, "alice", "203.0.113.7").await.status(), 202);
    approve(&site.emulator).await;
    until("in", async || (browser.status().await == "active").then_some(())).await;
}

/// A browser that is known for the name learns at once that it came to nothing.
#[tokio::test]
async fn known_browser_is_told_of_a_decline() {
    let site = Site::new().await;
    let known = site.known("alice").await;
    assert_eq!(start(&known, "alice", "203.0.113.7").await.status(), 202);
    let session = ringing(&site.emulator).await;
    site.emulator.act_on_session(&session.session_token, Action::Cancel).unwrap();
    until("told", async || (known.status().await == "timeout").then_some(())).await;
    let page = known.page("/auth/waiting").await.text().await.unwrap();
    assert!(page.contains("No answer came"), "{page}");
    assert_eq!(start(&known, "alice", "203.0.113.7").await.status(), 202);
}

/// Clients without cookies: secrets come in bodies alone, and to no page.
#[tokio::test]
async fn cookieless_client_gets_credential_in_body() {
    let site = Site::new().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let login = format!("{}/auth/login", site.url);
    let begin = json!({ "username": "alice", "credential": "bearer" });
    for (name, value) in [("origin", site.url.as_str()), ("sec-fetch-site", "same-origin")] {
        let refused = http.post(&login).json(&begin).header(name, value).send().await.unwrap();
        assert_eq!(refused.status(), 403, "{name}");
    }
    assert_eq!(site.rings(), 0);
    let odd = json!({ "username": "alice", "credential": "both" });
    assert_eq!(http.post(&login).json(&odd).send().await.unwrap().status(), 422);

    let started = http.post(&login).json(&begin).send().await.unwrap();
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
    // Nobody else's way: neither a cookie nor a page takes it.
    let thief = site.browser();
    thief.set_cookie(ATTEMPT_COOKIE, secret);
    assert_eq!(thief.status().await, "none");
    for (name, value) in [("origin", site.url.as_str()), ("sec-fetch-site", "same-origin")] {
        assert_eq!(status().header(name, value).send().await.unwrap().status(), 403);
    }
    // An answer without a body would lose it.
    let head = http.head(format!("{}/auth/status", site.url)).bearer_auth(secret);
    assert_eq!(head.send().await.unwrap().status(), 200);
    let taken = status().send().await.unwrap();
    assert!(!taken.headers().contains_key("set-cookie"));
    let taken: Value = taken.json().await.unwrap();
    assert_eq!(taken["status"], "active");
    let credential = taken["credential"].as_str().unwrap();
    // Its answer may be lost on the way, so it is given again, until the credential is used.
    let again: Value = status().send().await.unwrap().json().await.unwrap();
    assert_eq!(again, taken);
    let page = http.get(&site.url).bearer_auth(credential).send().await.unwrap();
    assert_eq!(page.text().await.unwrap(), "alice");
    let over: Value = status().send().await.unwrap().json().await.unwrap();
    assert_eq!(over, json!({ "status": "timeout" }));
}

/// A client without cookies may begin anew at once as well, by the secret that it was given.
#[tokio::test]
async fn client_without_cookies_begins_anew() {
    let site = Site::new().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let begin = json!({ "username": "alice", "credential": "bearer" });
    let login = || http.post(format!("{}/auth/login", site.url)).json(&begin);
    let started: Value = login().send().await.unwrap().json().await.unwrap();
    assert_eq!(login().send().await.unwrap().status(), 429);
    let secret = started["attempt"].as_str().unwrap();
    assert_eq!(login().bearer_auth(secret).send().await.unwrap().status(), 202);
}

/// Names that are typed are not the ids that they look like: neither is in the other's way.
#[tokio::test]
async fn name_is_no_id() {
    let site = Site::with(|b| {
        b.resolve_username(|typed| async move {
            Ok::<_, std::io::Error>((typed == "mail").then(|| UserId::from("alice")))
        })
    })
    .await;
    let (ac, alice) = (site.ac.clone(), UserId::from("alice"));
    let login = tokio::spawn(async move { ac.log_in(&alice).await });
    ringing(&site.emulator).await;
    let stranger = site.browser();
    assert_eq!(start(&stranger, "alice", "203.0.113.7").await.status(), 202);
    approve(&site.emulator).await;
    assert!(login.await.unwrap().is_ok());
    assert_eq!(stranger.status().await, "pending");
}

/// Strangers who have the phone ring do not keep the application from it.
#[tokio::test]
async fn application_goes_before_strangers() {
    let site = Site::new().await;
    let stranger = site.browser();
    assert_eq!(start(&stranger, "alice", "203.0.113.7").await.status(), 202);
    let theirs = ringing(&site.emulator).await;
    let alice = UserId::from("alice");
    let approved = async {
        until("ours rings", async || {
            let sessions = site.emulator.state().sessions;
            let newest = sessions.last().filter(|s| s.session_token != theirs.session_token)?;
            site.emulator.act_on_session(&newest.session_token, Action::Approve).ok()
        })
        .await;
    };
    let (credential, ()) = tokio::join!(site.ac.log_in(&alice), approved);
    assert!(credential.is_ok());
    assert_eq!(stranger.status().await, "pending");
}

/// A browser's attempt is taken by its cookie alone.
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
    until("in", async || (browser.status().await == "active").then_some(())).await;
}

/// Whom a typed name means is asked behind the answer.
#[tokio::test]
async fn name_is_looked_up_behind_the_answer() {
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
    until("in", async || (browser.status().await == "active").then_some(())).await;
    assert_eq!(site.rings(), 1);
}

/// The names of the cookies; without `__Host-` they say so nowhere but where they must.
#[tokio::test]
async fn cookies_are_called_as_the_builder_says() {
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
        until("in", async || (browser.status().await == "active").then_some(())).await;
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
