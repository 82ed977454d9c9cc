//! Pages that require certain methods or a recent login, and the confirmation on the phone that
//! leads back to them.

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
    Browser, advance, approve, builder, enroll_users, location, pending_session, poll_until, serve,
};

const SESSION: &str = "__Host-activeconnect";
const CHROMIUM: &str = "/usr/bin/chromium";
const MINUTE: Duration = Duration::from_secs(60);

struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    url: String,
}

async fn user_of_session(session: ActiveSession) -> String {
    format!("{} {}", session.user(), session.methods())
}

/// All routes need a session; `/secret` requires two methods, `/fresh` a login within the last
/// minute, `/both` one method and a login within the last hour.
fn app(ac: &Activeconnect) -> Router {
    let at = |path: &'static str, layer| {
        Router::new().route(path, get(user_of_session).post(user_of_session)).route_layer(layer)
    };
    Router::new()
        .merge(at("/secret", ac.layer().require_methods([AuthMethod::Facial, AuthMethod::Device])))
        .merge(at("/fresh", ac.layer().max_age(MINUTE)))
        .merge(at("/both", ac.layer().require_methods([AuthMethod::Device]).max_age(60 * MINUTE)))
        .merge(at("/open", ac.layer().optional()))
        .route("/", get(user_of_session))
        .layer(ac.layer())
        .nest("/auth", ac.routes())
}

async fn site() -> Site {
    site_of(|builder| builder).await
}

async fn site_of(configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder) -> Site {
    let emulator = Emulator::start().await.unwrap();
    let ac = configure(builder(&emulator)).build().unwrap();
    enroll_users(&emulator, &ac, &["alice", "bob"]).await;
    let url = serve(app(&ac)).await;
    Site { emulator, ac, url }
}

impl Site {
    async fn logged_in(&self) -> (Browser, SessionReport) {
        let browser = Browser::new(&self.url);
        let session = browser.log_in(&self.emulator, "alice").await;
        (browser, session)
    }

    fn push_count(&self) -> u64 {
        self.emulator.state().calls.authenticate_user
    }

    fn status(&self, session: &SessionReport) -> String {
        let sessions = self.emulator.state().sessions;
        let report = sessions.into_iter().find(|one| one.session_token == session.session_token);
        report.unwrap().status.to_string()
    }
}

/// Loads the waiting page until it redirects, and follows the redirect.
async fn claimed(browser: &Browser, waiting: &str) -> Response {
    let claimed = poll_until("the result is claimed", async || {
        let page = browser.page(waiting).await;
        (page.status() == 303).then_some(page)
    })
    .await;
    browser.page(location(&claimed)).await
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
    let reported = problem(browser.api("/secret").await).await;
    assert_eq!(reported["denial"], "step-up");
    assert_eq!(reported["methods"], json!(["device", "facial"]));
    assert_eq!(reported["confirm"], confirm);
    assert!(reported.get("max_age").is_none());
    let reported = problem(browser.api("/both").await).await;
    assert_eq!((&reported["methods"], &reported["max_age"]), (&json!(["device"]), &json!(3600)));

    advance(Duration::from_secs(61), Duration::from_secs(61)).await;
    let reported = problem(browser.api("/fresh").await).await;
    assert!(reported.get("methods").is_none());
    assert_eq!((&reported["max_age"], &reported["confirm"]), (&json!(60), &json!("/auth/confirm")));
    let page = browser.page("/fresh").await;
    assert_eq!(location(&page), "/auth/confirm?next=/fresh");

    // A missing session is reported first.
    let anonymous = Browser::new(&site.url);
    assert_eq!(location(&anonymous.page("/secret").await), "/auth/login?next=/secret");
    assert_eq!(anonymous.api("/secret").await.status(), 401);
    assert_eq!(site.push_count(), 1, "no push was sent");
}

/// gRPC: `PERMISSION_DENIED`, with `ErrorInfo` in tonic's own types.
#[tokio::test]
async fn step_up_is_explained_in_grpc() {
    let site = site().await;
    let (browser, _) = site.logged_in().await;
    let call = browser.post("/both").header("content-type", "application/grpc");
    let response = browser.send(call).await;
    assert_eq!(response.status(), 200);
    let status = tonic::Status::from_header_map(response.headers()).unwrap();
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

/// Without JavaScript: page, form, waiting page, and back, with a new credential instead of the
/// old.
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
    assert_eq!(site.push_count(), 1, "a page sends no push");

    let started_at = browser.form(&confirm, &[("username", "bob")]).await;
    let waiting = "/auth/waiting?next=/secret%3Fa%3D1";
    assert_eq!((started_at.status().as_u16(), location(&started_at)), (303, waiting));
    let pending = pending_session(&site.emulator).await;
    assert_eq!(pending.user_id, before.user_id, "the session's own user, whatever is posted");
    assert_eq!(pending.methods, ["device", "facial"]);
    assert_eq!(browser.status().await, "pending");
    assert_eq!(browser.api("/").await.status(), 200, "the session is unchanged");
    assert_eq!(browser.cookie(SESSION).unwrap(), old);

    approve(&site.emulator).await;
    assert_eq!(location(&claimed(&browser, waiting).await), "/secret?a=1");
    let new = browser.cookie(SESSION).unwrap();
    assert_ne!(new, old);
    let secret = browser.page("/secret?a=1").await;
    assert_eq!(secret.status(), 200);
    assert_eq!(secret.text().await.unwrap(), "alice device,facial");
    assert_eq!(site.push_count(), 2);

    let thief = Browser::new(&site.url);
    thief.set_cookie(SESSION, &old);
    assert_eq!(thief.api("/").await.status(), 401, "the old credential is void");
    poll_until("the old session is logged out", async || {
        (site.status(&before) == "closed").then_some(())
    })
    .await;
}

/// A program posts to the given URL, and gets the new credential with the status.
#[tokio::test]
async fn program_confirms_with_bearer() {
    let site = site().await;
    let (browser, _) = site.logged_in().await;
    let old = browser.cookie(SESSION).unwrap();
    let reported = problem(browser.api("/both").await).await;
    let started_at = browser.send(browser.post(reported["confirm"].as_str().unwrap())).await;
    assert_eq!(started_at.status(), 202);
    assert_eq!(started_at.text().await.unwrap(), r#"{"status":"pending"}"#);
    approve(&site.emulator).await;
    // With only the attempt's cookie, the confirmed session ends, too.
    browser.set_cookie(SESSION, "");
    poll_until("taken", async || (browser.status().await == "active").then_some(())).await;
    assert_ne!(browser.cookie(SESSION).unwrap(), old);
    assert_eq!(browser.api("/both").await.text().await.unwrap(), "alice device");
    let thief = Browser::new(&site.url);
    thief.set_cookie(SESSION, &old);
    assert_eq!(thief.api("/").await.status(), 401);
    // A larger set of methods does not satisfy the other page.
    assert_eq!(problem(browser.api("/secret").await).await["denial"], "step-up");
}

/// A confirmation ends with its session, even after the approval.
#[tokio::test]
async fn confirmation_ends_with_its_session() {
    let site = site().await;
    let (browser, _) = site.logged_in().await;
    let confirm = "/auth/confirm?methods=device%2Cfacial";
    assert_eq!(browser.send(browser.post(confirm)).await.status(), 202);
    let pending = approve(&site.emulator).await;
    let mut events = browser.api("/auth/events").await;
    let mut text = String::new();
    while !text.contains("active") {
        text.push_str(&String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap()));
    }
    // A request with only the session's credential.
    let elsewhere = Browser::new(&site.url);
    elsewhere.set_cookie(SESSION, &browser.cookie(SESSION).unwrap());
    assert_eq!(elsewhere.json("/auth/logout", &json!({})).await.status(), 200);
    browser.set_cookie(SESSION, "");
    assert_ne!(browser.status().await, "active");
    assert!(site.ac.sessions(&"alice".into()).await.unwrap().is_empty());
    poll_until("withdrawn there", async || (site.status(&pending) == "closed").then_some(())).await;
}

/// Without an own session the redirect goes to the login: the layer may have allowed another
/// session of the user.
#[tokio::test]
async fn confirmation_without_session_leads_to_login() {
    let site = site().await;
    let confirm = "/auth/confirm?next=/secret";
    let anonymous = Browser::new(&site.url);
    assert_eq!(location(&anonymous.page(confirm).await), "/auth/login?next=/secret");
    // A form without fetch metadata or origin, as from old browsers.
    let form = anonymous.send(anonymous.post(confirm).form(&[("a", "b")])).await;
    assert_eq!(location(&form), "/auth/login?next=/secret");
    let reported = anonymous.send(anonymous.post(confirm)).await;
    assert_eq!(reported.status(), 401);
    assert_eq!(reported.headers()["www-authenticate"], r#"Activeconnect login="/auth/login""#);
}

/// A login that is too old is repeated with the same methods.
#[tokio::test]
async fn max_age_confirmation_keeps_methods() {
    let site = site_of(|builder| builder.methods([AuthMethod::Acceptance])).await;
    let (browser, _) = site.logged_in().await;
    assert_eq!(browser.api("/fresh").await.status(), 200);
    advance(Duration::from_secs(61), Duration::from_secs(61)).await;
    let confirm = location(&browser.page("/fresh").await).to_owned();
    assert_eq!(confirm, "/auth/confirm?next=/fresh");
    let started_at = browser.form(&confirm, &[]).await;
    assert_eq!(approve(&site.emulator).await.methods, ["acceptance"]);
    assert_eq!(location(&claimed(&browser, location(&started_at)).await), "/fresh");
    assert_eq!(browser.page("/fresh").await.text().await.unwrap(), "alice acceptance");
}

/// A decline or a timeout is reported at once; the session stays, and the user can try again.
#[tokio::test]
async fn failed_confirmation_keeps_session() {
    let site = site_of(|builder| builder.login_timeout(Duration::from_secs(10))).await;
    let (browser, before) = site.logged_in().await;
    let old = browser.cookie(SESSION).unwrap();
    let confirm = "/auth/confirm?methods=device%2Cfacial&next=/secret";
    for declines in [true, false] {
        assert_eq!(browser.form(confirm, &[]).await.status(), 303);
        let pending = pending_session(&site.emulator).await;
        if declines {
            site.emulator.act_on_session(&pending.session_token, Action::Cancel).unwrap();
        } else {
            advance(Duration::from_secs(11), Duration::from_millis(500)).await;
        }
        let page = poll_until("the decline is reported", async || {
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

/// A confirmation is possible only with methods that a layer requires, for the own session, and
/// from the same origin.
#[tokio::test]
async fn confirmation_is_limited_to_required_methods() {
    let site = site().await;
    let (browser, before) = site.logged_in().await;
    for odd in ["acceptance", "facial", "device,facial,acceptance", "", "nose", "device,,nose"] {
        let path = format!("/auth/confirm?methods={odd}");
        if odd.is_empty() {
            // The methods of the session, as chosen by the service.
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
    let anonymous = Browser::new(&site.url);
    assert_eq!(location(&anonymous.page(confirm).await), "/auth/login?next=/both");
    assert_eq!(location(&anonymous.form(confirm, &[]).await), "/auth/login?next=/both");
    assert_eq!(anonymous.send(anonymous.post(confirm)).await.status(), 401);
    assert_eq!(site.push_count(), 1);
    let evil = "/auth/confirm?methods=device&next=//evil.example&username=bob";
    let started_at = browser.form(evil, &[("username", "bob"), ("next", "//evil.example")]).await;
    assert_eq!(location(&started_at), "/auth/waiting");
    assert_eq!(pending_session(&site.emulator).await.user_id, before.user_id);
    approve(&site.emulator).await;
    assert_eq!(location(&claimed(&browser, location(&started_at)).await), "/");
}

/// An anonymous attempt does not block the logged-in user, and a limit of one session suffices to
/// confirm.
#[tokio::test]
async fn anonymous_login_blocks_no_confirmation() {
    let deadline = Duration::from_secs(5);
    let site = site_of(|builder| builder.max_sessions_per_user(1).login_timeout(deadline)).await;
    let (browser, _) = site.logged_in().await;
    let anonymous = Browser::new(&site.url);
    poll_until("the name is free again", async || {
        let started_at = anonymous.json("/auth/login", &json!({"username": "alice"})).await;
        (started_at.status() == 202).then_some(())
    })
    .await;
    let started_at = browser.form("/auth/confirm?methods=device&next=/both", &[]).await;
    assert_eq!(started_at.status(), 303);
    let pending = poll_until("a push is sent to her phone", async || {
        let sessions = site.emulator.state().sessions;
        let methods = ["device".to_owned()];
        sessions.into_iter().find(|s| s.methods == methods && s.status.to_string() == "pending")
    })
    .await;
    site.emulator.act_on_session(&pending.session_token, Action::Approve).unwrap();
    assert_eq!(location(&claimed(&browser, location(&started_at)).await), "/both");
    assert_eq!(browser.page("/both").await.status(), 200);
    assert_eq!(site.ac.sessions(&"alice".into()).await.unwrap().len(), 1);
}

/// An optional layer with requirements allows the request, and provides the denial.
#[tokio::test]
async fn optional_layer_reports_step_up() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let reason = async |session: Option<ActiveSession>, request: Request| match session {
        Some(session) => session.user().to_string(),
        None => request.extensions().get::<Denial>().unwrap().as_str().to_owned(),
    };
    let layer = ac.layer().optional().require_methods([AuthMethod::Facial]);
    let app = Router::new()
        .route("/", get(reason))
        .route("/needs", get(user_of_session))
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

/// With a user resolver: for the resolved user, with the user's own session.
#[tokio::test]
async fn resolved_user_confirms() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice", "bob"]).await;
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
    poll_until("logged in", async || status("alice").await.contains("active").then_some(())).await;
    assert_eq!(of("alice", browser.get("/secret")).await.status(), 403);

    let confirm = "/auth/confirm?methods=device,facial&next=/secret";
    assert_eq!(of("bob", browser.post(confirm)).await.status(), 401, "not bob's session");
    assert_eq!(browser.send(browser.post(confirm)).await.status(), 401, "without a session");
    assert_eq!(of("alice", browser.post(confirm)).await.status(), 202);
    let pending = approve(&emulator).await;
    assert_eq!(pending.user_id, first.user_id);
    // Bob's login in the same browser can't claim alice's attempt.
    let polled = emulator.state().calls.status;
    poll_until("polls of both sessions", async || {
        assert!(!status("bob").await.contains("active"));
        (emulator.state().calls.status >= polled + 6).then_some(())
    })
    .await;
    let old = browser.cookie(SESSION).unwrap();
    poll_until("taken", async || {
        status("alice").await;
        (browser.cookie(SESSION).unwrap() != old).then_some(())
    })
    .await;
    let secret = of("alice", browser.get("/secret")).await;
    assert_eq!(secret.text().await.unwrap(), "alice device,facial");
    assert_eq!(of("bob", browser.get("/secret")).await.status(), 401);
}

/// A policy with a permission to enter the username and press the button; the rest of the policy
/// stays.
async fn phone_with_hand_method(response: axum::response::Response) -> axum::response::Response {
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

/// In Chromium: to the page that requires more, through login and confirmation.
#[tokio::test]
async fn browser_confirms_and_returns_to_page() {
    if !std::path::Path::new(CHROMIUM).exists() {
        println!("there is no {CHROMIUM}");
        return;
    }
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let arrive = async move |session: ActiveSession, uri: Uri| {
        arrived.send(format!("{} {uri}", session.methods())).unwrap();
    };
    let layer = ac.layer().require_methods([AuthMethod::Facial]);
    let app = Router::new()
        .route("/secret", get(arrive))
        .layer(layer)
        .nest("/auth", ac.routes().layer(map_response(phone_with_hand_method)));
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
    poll_until("another push is sent", async || {
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
