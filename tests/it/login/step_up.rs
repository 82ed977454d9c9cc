//! What some pages need beside a session: that the user was asked with certain methods, or not long
//! ago. And how a user gets there: by confirming on the phone, which brings them back.

use std::process::Stdio;
use std::time::Duration;

use activeconnect_emulator::{Action, Emulator, SessionReport};
use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn, map_response};
use axum::response::IntoResponse as _;
use axum::routing::get;
use reqwest::Response;
use serde_json::{Value, json};
use tokio::process::Command;
use tonic_types::StatusExt as _;
use tower_activeconnect::protocol::AuthMethod;
use tower_activeconnect::{ActiveSession, Activeconnect, ActiveconnectBuilder, Denial, UserId};

use crate::support::{
    Browser, approve, builder, location, pass, ringing, serve, until, with_phones,
};

const SESSION: &str = "__Host-activeconnect";
const CHROMIUM: &str = "/usr/bin/chromium";
const MINUTE: Duration = Duration::from_secs(60);

struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    url: String,
}

async fn greet(session: ActiveSession) -> String {
    format!("{} {}", session.user(), session.methods())
}

/// Everything needs a session; `/secret` two methods, `/fresh` a login of the last minute, `/both`
/// one method and a login of the last hour.
fn app(ac: &Activeconnect) -> Router {
    let at = |path: &'static str, layer| {
        Router::new().route(path, get(greet).post(greet)).route_layer(layer)
    };
    Router::new()
        .merge(at("/secret", ac.layer().require_methods([AuthMethod::Facial, AuthMethod::Device])))
        .merge(at("/fresh", ac.layer().max_age(MINUTE)))
        .merge(at("/both", ac.layer().require_methods([AuthMethod::Device]).max_age(60 * MINUTE)))
        .merge(at("/open", ac.layer().optional()))
        .route("/", get(greet))
        .layer(ac.layer())
        .nest("/auth", ac.routes())
}

async fn site() -> Site {
    site_of(|builder| builder).await
}

async fn site_of(configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder) -> Site {
    let emulator = Emulator::start().await.unwrap();
    let ac = configure(builder(&emulator)).build().unwrap();
    with_phones(&emulator, &ac, &["alice", "bob"]).await;
    let url = serve(app(&ac)).await;
    Site { emulator, ac, url }
}

impl Site {
    async fn logged_in(&self) -> (Browser, SessionReport) {
        let browser = Browser::new(&self.url);
        let session = browser.log_in(&self.emulator, "alice").await;
        (browser, session)
    }

    fn rings(&self) -> u64 {
        self.emulator.state().calls.authenticate_user
    }

    fn status(&self, session: &SessionReport) -> String {
        let sessions = self.emulator.state().sessions;
        let found = sessions.into_iter().find(|one| one.session_token == session.session_token);
        found.unwrap().status.to_string()
    }
}

/// Loads the waiting page until it goes on, and goes on.
async fn taken(browser: &Browser, waiting: &str) -> Response {
    let taken = until("the result is taken", async || {
        let page = browser.page(waiting).await;
        (page.status() == 303).then_some(page)
    })
    .await;
    browser.page(location(&taken)).await
}

async fn problem(response: Response) -> Value {
    assert_eq!(response.status(), 403);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(response.headers().get("set-cookie").is_none());
    response.json().await.unwrap()
}

#[tokio::test]
async fn step_up_is_explained_in_each_format() {
    let site = site().await;
    let (browser, _) = site.logged_in().await;
    assert_eq!(browser.page("/").await.status(), 200);

    let confirm = "/auth/confirm?methods=device%2Cfacial";
    let page = browser.page("/secret?a=1&b").await;
    let expected = format!("{confirm}&next=/secret%3Fa%3D1%26b");
    assert_eq!((page.status().as_u16(), location(&page)), (303, expected.as_str()));
    let form = browser.form("/secret", &[]).await;
    assert_eq!(form.status(), 403);
    assert!(form.text().await.unwrap().contains(&format!("href=\"{confirm}\"")));
    let told = problem(browser.api("/secret").await).await;
    assert_eq!(told["denial"], "step-up");
    assert_eq!(told["methods"], json!(["device", "facial"]));
    assert_eq!(told["confirm"], confirm);
    assert!(told.get("max_age").is_none());
    let told = problem(browser.api("/both").await).await;
    assert_eq!((&told["methods"], &told["max_age"]), (&json!(["device"]), &json!(3600)));

    pass(Duration::from_secs(61), Duration::from_secs(61)).await;
    let told = problem(browser.api("/fresh").await).await;
    assert!(told.get("methods").is_none());
    assert_eq!((&told["max_age"], &told["confirm"]), (&json!(60), &json!("/auth/confirm")));
    let page = browser.page("/fresh").await;
    assert_eq!(location(&page), "/auth/confirm?next=/fresh");

    // A session is needed first, whoever asks.
    let stranger = Browser::new(&site.url);
    assert_eq!(location(&stranger.page("/secret").await), "/auth/login?next=/secret");
    assert_eq!(stranger.api("/secret").await.status(), 401);
    assert_eq!(site.rings(), 1, "nobody's phone rang for any of this");
}

/// gRPC: `PERMISSION_DENIED`, and the same in `ErrorInfo`, read by tonic's own types.
#[tokio::test]
async fn step_up_is_explained_in_grpc() {
    let site = site().await;
    let (browser, _) = site.logged_in().await;
    let call = browser.post("/both").header("content-type", "application/grpc");
    let answer = browser.send(call).await;
    assert_eq!(answer.status(), 200);
    let status = tonic::Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.reason, "STEP_UP");
    let expected = [
        ("denial", "step-up"),
        ("methods", "device"),
        ("max_age", "3600"),
        ("confirm", "/auth/confirm?methods=device"),
    ];
    assert_eq!(info.metadata.len(), expected.len());
    for (name, value) in expected {
        assert_eq!(info.metadata[name], value);
    }
}

/// Without JavaScript: page, form, waiting page, and back, with a new credential in the place of
/// the old.
#[tokio::test]
async fn confirmation_issues_new_credential() {
    let site = site().await;
    let (browser, before) = site.logged_in().await;
    let old = browser.cookie(SESSION).unwrap();
    let sent_away = browser.page("/secret?a=1").await;
    let confirm = location(&sent_away).to_owned();

    let page = browser.page(&confirm).await;
    assert_eq!(page.status(), 200);
    assert_eq!(page.headers()["cache-control"], "no-store");
    let page = page.text().await.unwrap();
    assert!(page.contains("<form method=\"post\"><button>"), "{page}");
    assert!(page.contains("<bdi>alice</bdi>") && page.contains("unlock the phone"), "{page}");
    assert!(page.contains("show your face") && !page.contains("accept"), "{page}");
    assert_eq!(site.rings(), 1, "a page rings nobody");

    let begun = browser.form(&confirm, &[("username", "bob")]).await;
    let waiting = "/auth/waiting?next=/secret%3Fa%3D1";
    assert_eq!((begun.status().as_u16(), location(&begun)), (303, waiting));
    let asked = ringing(&site.emulator).await;
    assert_eq!(asked.user_id, before.user_id, "the session's own user, whatever is posted");
    assert_eq!(asked.methods, ["device", "facial"]);
    assert_eq!(browser.status().await, "pending");
    assert_eq!(browser.api("/").await.status(), 200, "the session is as it was");
    assert_eq!(browser.cookie(SESSION).unwrap(), old);

    approve(&site.emulator).await;
    assert_eq!(location(&taken(&browser, waiting).await), "/secret?a=1");
    let new = browser.cookie(SESSION).unwrap();
    assert_ne!(new, old);
    let secret = browser.page("/secret?a=1").await;
    assert_eq!(secret.status(), 200);
    assert_eq!(secret.text().await.unwrap(), "alice device,facial");
    assert_eq!(site.rings(), 2);

    let thief = Browser::new(&site.url);
    thief.set_cookie(SESSION, &old);
    assert_eq!(thief.api("/").await.status(), 401, "the old credential is void");
    until("the old session is logged out", async || {
        (site.status(&before) == "closed").then_some(())
    })
    .await;
}

/// A program posts to what it was told, and finds the new credential with the status.
#[tokio::test]
async fn program_confirms_too() {
    let site = site().await;
    let (browser, _) = site.logged_in().await;
    let old = browser.cookie(SESSION).unwrap();
    let told = problem(browser.api("/both").await).await;
    let begun = browser.send(browser.post(told["confirm"].as_str().unwrap())).await;
    assert_eq!(begun.status(), 202);
    assert_eq!(begun.text().await.unwrap(), r#"{"status":"pending"}"#);
    approve(&site.emulator).await;
    // With the attempt's cookie alone: the session that it confirms ends all the same.
    browser.set_cookie(SESSION, "");
    until("taken", async || (browser.status().await == "active").then_some(())).await;
    assert_ne!(browser.cookie(SESSION).unwrap(), old);
    assert_eq!(browser.api("/both").await.text().await.unwrap(), "alice device");
    let thief = Browser::new(&site.url);
    thief.set_cookie(SESSION, &old);
    assert_eq!(thief.api("/").await.status(), 401);
    // Another set, though a larger one, is not what the other page requires.
    assert_eq!(problem(browser.api("/secret").await).await["denial"], "step-up");
}

/// A confirmation is of a session: it comes to nothing when that is over, even once approved.
#[tokio::test]
async fn confirmation_does_not_outlive_its_session() {
    let site = site().await;
    let (browser, _) = site.logged_in().await;
    let confirm = "/auth/confirm?methods=device%2Cfacial";
    assert_eq!(browser.send(browser.post(confirm)).await.status(), 202);
    let asked = approve(&site.emulator).await;
    let mut events = browser.api("/auth/events").await;
    let mut text = String::new();
    while !text.contains("active") {
        text.push_str(&String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap()));
    }
    // Elsewhere, by the session's credential alone.
    let elsewhere = Browser::new(&site.url);
    elsewhere.set_cookie(SESSION, &browser.cookie(SESSION).unwrap());
    assert_eq!(elsewhere.json("/auth/logout", &json!({})).await.status(), 200);
    browser.set_cookie(SESSION, "");
    assert_ne!(browser.status().await, "active");
    assert!(site.ac.sessions(&"alice".into()).await.unwrap().is_empty());
    until("withdrawn there", async || (site.status(&asked) == "closed").then_some(())).await;
}

/// Without a session of one's own the way is to the login, wherever one came from: the layer may have
/// let another session of the user in.
#[tokio::test]
async fn confirmation_without_session_leads_to_login() {
    let site = site().await;
    let confirm = "/auth/confirm?next=/secret";
    let stranger = Browser::new(&site.url);
    assert_eq!(location(&stranger.page(confirm).await), "/auth/login?next=/secret");
    // A form that does not say that it is one's page's, as from old browsers.
    let form = stranger.send(stranger.post(confirm).form(&[("a", "b")])).await;
    assert_eq!(location(&form), "/auth/login?next=/secret");
    let told = stranger.send(stranger.post(confirm)).await;
    assert_eq!(told.status(), 401);
    assert_eq!(told.headers()["www-authenticate"], r#"Activeconnect login="/auth/login""#);
}

/// A login that is too old is made anew by the same methods.
#[tokio::test]
async fn max_age_confirmation_keeps_methods() {
    let site = site_of(|builder| builder.methods([AuthMethod::Acceptance])).await;
    let (browser, _) = site.logged_in().await;
    assert_eq!(browser.api("/fresh").await.status(), 200);
    pass(Duration::from_secs(61), Duration::from_secs(61)).await;
    let confirm = location(&browser.page("/fresh").await).to_owned();
    assert_eq!(confirm, "/auth/confirm?next=/fresh");
    let begun = browser.form(&confirm, &[]).await;
    assert_eq!(approve(&site.emulator).await.methods, ["acceptance"]);
    assert_eq!(location(&taken(&browser, location(&begun)).await), "/fresh");
    assert_eq!(browser.page("/fresh").await.text().await.unwrap(), "alice acceptance");
}

/// Declined, or not answered: told at once, the session as it was, and to be tried again.
#[tokio::test]
async fn failed_confirmation_keeps_session() {
    let site = site_of(|builder| builder.login_timeout(Duration::from_secs(10))).await;
    let (browser, before) = site.logged_in().await;
    let old = browser.cookie(SESSION).unwrap();
    let confirm = "/auth/confirm?methods=device%2Cfacial&next=/secret";
    for declines in [true, false] {
        assert_eq!(browser.form(confirm, &[]).await.status(), 303);
        let asked = ringing(&site.emulator).await;
        if declines {
            site.emulator.act_on_session(&asked.session_token, Action::Cancel).unwrap();
        } else {
            pass(Duration::from_secs(11), Duration::from_millis(500)).await;
        }
        let page = until("it is told", async || {
            let page = browser.page("/auth/waiting?next=/secret").await;
            assert_eq!(page.status(), 200);
            let page = page.text().await.unwrap();
            page.contains("No answer came").then_some(page)
        })
        .await;
        let again = "href=\"/auth/confirm?methods=device%2Cfacial&#38;next=/secret\"";
        assert!(page.contains(again), "{page}");
        assert_eq!(browser.status().await, "active");
        assert_eq!(browser.cookie(SESSION).unwrap(), old);
        assert_eq!(browser.api("/").await.text().await.unwrap(), "alice ");
        assert_eq!(browser.page("/secret").await.status(), 303);
        assert_eq!(site.status(&before), "active");
    }
}

/// Nobody has a phone ring by methods that no layer requires, for somebody else, from elsewhere, or
/// without a session.
#[tokio::test]
async fn confirmation_is_limited_to_required_methods() {
    let site = site().await;
    let (browser, before) = site.logged_in().await;
    for odd in ["acceptance", "facial", "device,facial,acceptance", "", "nose", "device,,nose"] {
        let path = format!("/auth/confirm?methods={odd}");
        if odd.is_empty() {
            // What the session was asked with, which is what the service chose.
            assert_eq!(browser.page(&path).await.status(), 200);
            continue;
        }
        assert_eq!(browser.page(&path).await.status(), 400, "{odd}");
        assert_eq!(browser.form(&path, &[]).await.status(), 400, "{odd}");
        assert_eq!(browser.json(&path, &json!({})).await.status(), 400, "{odd}");
    }
    let confirm = "/auth/confirm?methods=device&next=/both&username=bob&user=bob";
    let elsewhere = browser.post(confirm).header("sec-fetch-site", "cross-site");
    let elsewhere = elsewhere.header("sec-fetch-mode", "navigate");
    assert_eq!(browser.send(elsewhere).await.status(), 403);
    let stranger = Browser::new(&site.url);
    assert_eq!(location(&stranger.page(confirm).await), "/auth/login?next=/both");
    assert_eq!(location(&stranger.form(confirm, &[]).await), "/auth/login?next=/both");
    assert_eq!(stranger.send(stranger.post(confirm)).await.status(), 401);
    assert_eq!(site.rings(), 1);
    let evil = "/auth/confirm?methods=device&next=//evil.example&username=bob";
    let begun = browser.form(evil, &[("username", "bob"), ("next", "//evil.example")]).await;
    assert_eq!(location(&begun), "/auth/waiting");
    assert_eq!(ringing(&site.emulator).await.user_id, before.user_id);
    approve(&site.emulator).await;
    assert_eq!(location(&taken(&browser, location(&begun)).await), "/");
}

/// Who began nothing here does not hold the user up who is logged in, and a limit of one session is
/// enough to confirm.
#[tokio::test]
async fn anonymous_login_blocks_no_confirmation() {
    let deadline = Duration::from_secs(5);
    let site = site_of(|builder| builder.max_sessions_per_user(1).login_timeout(deadline)).await;
    let (browser, _) = site.logged_in().await;
    let stranger = Browser::new(&site.url);
    until("the name is free again", async || {
        let begun = stranger.json("/auth/login", &json!({"username": "alice"})).await;
        (begun.status() == 202).then_some(())
    })
    .await;
    let begun = browser.form("/auth/confirm?methods=device&next=/both", &[]).await;
    assert_eq!(begun.status(), 303);
    let asked = until("her own phone rings", async || {
        let sessions = site.emulator.state().sessions;
        let methods = ["device".to_owned()];
        sessions.into_iter().find(|s| s.methods == methods && s.status.to_string() == "pending")
    })
    .await;
    site.emulator.act_on_session(&asked.session_token, Action::Approve).unwrap();
    assert_eq!(location(&taken(&browser, location(&begun)).await), "/both");
    assert_eq!(browser.page("/both").await.status(), 200);
    assert_eq!(site.ac.sessions(&"alice".into()).await.unwrap().len(), 1);
}

/// An optional layer that requires something lets through, and says why it did not allow.
#[tokio::test]
async fn optional_layer_says_step_up() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    with_phones(&emulator, &ac, &["alice"]).await;
    let why = async |session: Option<ActiveSession>, request: Request| match session {
        Some(session) => session.user().to_string(),
        None => request.extensions().get::<Denial>().unwrap().as_str().to_owned(),
    };
    let layer = ac.layer().optional().require_methods([AuthMethod::Facial]);
    let app = Router::new()
        .route("/", get(why))
        .route("/needs", get(greet))
        .layer(layer)
        .nest("/auth", ac.routes());
    let browser = Browser::new(&serve(app).await);
    browser.log_in(&emulator, "alice").await;
    assert_eq!(browser.api("/").await.text().await.unwrap(), "step-up");
    let needs = problem(browser.api("/needs").await).await;
    assert_eq!(needs["methods"], json!(["facial"]));
}

#[derive(Clone)]
struct AppUser(String);

async fn other_login(mut request: Request, next: Next) -> axum::response::Response {
    if let Some(user) = request.headers().get("x-test-user") {
        let user = AppUser(user.to_str().unwrap().to_owned());
        request.extensions_mut().insert(user);
    }
    next.run(request).await
}

/// Beside another login: for the user whom it names, by the session that is theirs.
#[tokio::test]
async fn beside_another_login_the_resolved_user_confirms() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    with_phones(&emulator, &ac, &["alice", "bob"]).await;
    let ac = ac.with_user_resolver(|parts: &Parts| {
        parts.extensions.get::<AppUser>().map(|user| UserId::from(&user.0))
    });
    let browser = Browser::new(&serve(app(&ac).layer(from_fn(other_login))).await);
    let of = |user: &'static str, request: reqwest::RequestBuilder| {
        browser.send(request.header("x-test-user", user))
    };
    of("alice", browser.post("/auth/login").json(&json!({}))).await;
    let first = approve(&emulator).await;
    let status = async |user| of(user, browser.get("/auth/status")).await.text().await.unwrap();
    until("logged in", async || status("alice").await.contains("active").then_some(())).await;
    assert_eq!(of("alice", browser.get("/secret")).await.status(), 403);

    let confirm = "/auth/confirm?methods=device,facial&next=/secret";
    assert_eq!(of("bob", browser.post(confirm)).await.status(), 401, "not bob's session");
    assert_eq!(browser.send(browser.post(confirm)).await.status(), 401, "nobody");
    assert_eq!(of("alice", browser.post(confirm)).await.status(), 202);
    let asked = approve(&emulator).await;
    assert_eq!(asked.user_id, first.user_id);
    // Bob's login in the same browser can't take what was begun for alice.
    let polled = emulator.state().calls.status;
    until("polls of both sessions", async || {
        assert!(!status("bob").await.contains("active"));
        (emulator.state().calls.status >= polled + 6).then_some(())
    })
    .await;
    let old = browser.cookie(SESSION).unwrap();
    until("taken", async || {
        status("alice").await;
        (browser.cookie(SESSION).unwrap() != old).then_some(())
    })
    .await;
    let secret = of("alice", browser.get("/secret")).await;
    assert_eq!(secret.text().await.unwrap(), "alice device,facial");
    assert_eq!(of("bob", browser.get("/secret")).await.status(), 401);
}

/// The user's hand: types the name where one is asked for, and presses the button. The rest of the
/// policy stays, and so does that of all else.
async fn with_a_hand(response: axum::response::Response) -> axum::response::Response {
    let (mut parts, body) = response.into_parts();
    let Some(policy) = parts.headers.get("content-security-policy") else {
        return (parts, body).into_response();
    };
    let policy = policy.to_str().unwrap();
    let policy = policy.replace("script-src 'self'", "script-src 'self' 'unsafe-inline'");
    parts.headers.insert("content-security-policy", policy.parse().unwrap());
    parts.headers.remove("content-length");
    let page = axum::body::to_bytes(body, 100_000).await.unwrap();
    let page = String::from_utf8(page.to_vec()).unwrap();
    let hand = "<script>const name = document.querySelector('[name=username]');
        if (name) name.value = 'alice';
        document.querySelector('form button')?.click();</script></body>";
    (parts, page.replace("</body>", hand)).into_response()
}

/// In a real browser: to the page that needs more, through the login and the confirmation.
#[tokio::test]
async fn browser_confirms_and_is_where_it_wanted_to_go() {
    if !std::path::Path::new(CHROMIUM).exists() {
        println!("there is no {CHROMIUM}");
        return;
    }
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    with_phones(&emulator, &ac, &["alice"]).await;
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let arrive = async move |session: ActiveSession, uri: Uri| {
        arrived.send(format!("{} {uri}", session.methods())).unwrap();
    };
    let layer = ac.layer().require_methods([AuthMethod::Facial]);
    let app = Router::new()
        .route("/secret", get(arrive))
        .layer(layer)
        .nest("/auth", ac.routes().layer(map_response(with_a_hand)));
    let url = serve(app).await;
    let profile = tempfile::tempdir().unwrap();
    let _chromium = Command::new(CHROMIUM)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--no-proxy-server", "--remote-debugging-port=0"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("{url}/secret?a=1"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let first = approve(&emulator).await;
    assert!(first.methods.is_empty());
    until("the phone rings once more", async || {
        let sessions = emulator.state().sessions;
        let methods = ["facial".to_owned()];
        let again = sessions.into_iter().find(|session| session.methods == methods)?;
        emulator.act_on_session(&again.session_token, Action::Approve).ok()
    })
    .await;
    let arrival = tokio::time::timeout(Duration::from_secs(20), arrivals.recv()).await;
    assert_eq!(arrival.expect("it arrives").unwrap(), "facial /secret?a=1");
    assert_eq!(emulator.state().calls.authenticate_user, 2);
}
