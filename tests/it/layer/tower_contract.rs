//! Tower's service contract, nested layers, and second-factor logins.

use std::convert::Infallible;
use std::time::Duration;

use activeconnect_emulator::{Action, Emulator, SessionReport};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::routing::get;
use futures_util::{StreamExt as _, stream};
use http::request::Parts;
use http::{Request, Response};
use serde_json::json;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use tower_activeconnect::identity::SessionCredential;
use tower_activeconnect::{ActiveSession, Activeconnect, ActiveconnectLayer, Denial, UserId};

use crate::support::{Browser, approve, builder, enroll_users, poll_until, serve, session_of};

/// T118: a denial drops the ready service and its permit.
#[tokio::test]
async fn denial_releases_the_permit() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    let inner = service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(Response::new(Body::from("inner")))
    });
    let mut one = ac.layer().layer(GlobalConcurrencyLimitLayer::new(1).layer(inner));
    let mut two = one.clone();
    let denied = one.ready().await.unwrap().call(Request::new(Body::empty())).await.unwrap();
    assert_eq!(denied.status(), 401);
    drop(denied);
    // `one` stays alive, as in a connection or a `Buffer`.
    let ready = tokio::time::timeout(Duration::from_secs(2), two.ready()).await;
    assert!(ready.is_ok(), "the denied request still holds the only permit");
}

/// RFC 9110: a 401 has a challenge. design.md: all denials are `no-store`.
#[tokio::test]
async fn extractor_under_optional_layer_denies() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    let app = Router::new()
        .route("/", get(|_: ActiveSession| async { "in" }))
        .layer(ac.layer().optional());
    let browser = Browser::new(&serve(app).await);
    let denied = browser.api("/").await;
    assert_eq!(denied.status(), 401);
    assert_eq!(denied.headers()["cache-control"], "no-store");
    assert!(denied.headers().contains_key("www-authenticate"));
}

fn with_test_user_resolver(ac: &Activeconnect) -> Activeconnect {
    ac.with_user_resolver(|parts: &Parts| {
        parts.headers.get("x-test-user").map(|user| UserId::from(user.to_str().unwrap()))
    })
}

fn second_factor_app(ac: &Activeconnect) -> Router {
    let ac = with_test_user_resolver(ac);
    Router::new()
        .route("/", get(|s: ActiveSession| async move { s.user().to_string() }))
        .layer(ac.layer())
        .nest("/auth", ac.routes())
}

async fn log_in_as(browser: &Browser, emulator: &Emulator, user: &str) -> String {
    let post = browser.post("/auth/login").header("x-test-user", user).json(&json!({}));
    assert_eq!(browser.send(post).await.status(), 202);
    let session = approve(emulator).await;
    poll_until("taken", async || {
        let get = browser.get("/auth/status").header("x-test-user", user);
        browser.send(get).await.text().await.unwrap().contains("active").then_some(())
    })
    .await;
    session.session_token
}

fn session_status(emulator: &Emulator, token: &str) -> String {
    let sessions = emulator.state().sessions;
    sessions.iter().find(|s| s.session_token == token).unwrap().status.to_string()
}

/// The application logged its user out already; the logout still ends the cookie's session.
#[tokio::test]
async fn second_factor_logout_needs_no_user() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let browser = Browser::new(&serve(second_factor_app(&ac)).await);
    let token = log_in_as(&browser, &emulator, "alice").await;
    browser.json("/auth/logout", &json!({})).await;
    assert_eq!(browser.cookie("__Host-activeconnect"), None);
    assert_eq!(session_status(&emulator, &token), "closed");
}

/// A login logs out the previous session, also that of another user.
#[tokio::test]
async fn second_factor_login_ends_previous_session() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice", "bob"]).await;
    let browser = Browser::new(&serve(second_factor_app(&ac)).await);
    let alices = log_in_as(&browser, &emulator, "alice").await;
    log_in_as(&browser, &emulator, "bob").await;
    poll_until("closed", async || (session_status(&emulator, &alices) == "closed").then_some(()))
        .await;
}

/// An attempt for one user is not pending for another user's request.
#[tokio::test]
async fn second_factor_attempt_is_bound_to_user() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice", "bob"]).await;
    let browser = Browser::new(&serve(second_factor_app(&ac)).await);
    let post = browser.post("/auth/login").header("x-test-user", "alice").json(&json!({}));
    assert_eq!(browser.send(post).await.status(), 202);
    let denied = browser.send(browser.get("/").header("x-test-user", "bob")).await;
    assert!(denied.text().await.unwrap().contains("no-session"));
}

/// An engine with one logged-in user.
struct Fixture {
    emulator: Emulator,
    ac: Activeconnect,
    credential: SessionCredential,
    session: SessionReport,
}

impl Fixture {
    async fn with_user(user: &str) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).build().unwrap();
        enroll_users(&emulator, &ac, &[user]).await;
        let user = UserId::from(user);
        let (credential, session) = tokio::join!(ac.log_in(&user), approve(&emulator));
        Self { emulator, ac, credential: credential.unwrap(), session }
    }

    /// Allows the user in `x-test-user` while any session of the user is active.
    fn any_session(&self) -> ActiveconnectLayer {
        with_test_user_resolver(&self.ac).layer().allow_any_user_session()
    }
}

/// The response of a handler that reports its user and denial, behind these two layers.
async fn respond(
    inner: ActiveconnectLayer,
    outer: ActiveconnectLayer,
    request: http::request::Builder,
) -> (u16, String) {
    let look = async |request: Request<Body>| {
        let user = ActiveSession::from_extensions(request.extensions());
        let user = user.map(|session| session.user().to_string());
        let denial = request.extensions().get::<Denial>().map(|denial| denial.as_str());
        format!("{} {}", user.as_deref().unwrap_or("none"), denial.unwrap_or("allowed"))
    };
    let app = Router::new().route("/", get(look)).layer(inner).layer(outer);
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (status, body) = (response.status().as_u16(), response.into_body());
    (status, String::from_utf8(to_bytes(body, 64 * 1024).await.unwrap().into()).unwrap())
}

fn bearer_request(realm: &Fixture) -> http::request::Builder {
    Request::get("/").header("authorization", format!("Bearer {}", realm.credential.expose()))
}

fn ok(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

#[tokio::test]
async fn inner_layer_of_same_engine_wins() {
    let alice = Fixture::with_user("alice").await;
    let (login, any) = (|| alice.ac.layer(), || alice.any_session());
    enroll_users(&alice.emulator, &alice.ac, &["bob"]).await;
    let bob = UserId::from("bob");
    let (logged_in, _) = tokio::join!(alice.ac.log_in(&bob), approve(&alice.emulator));
    logged_in.unwrap();
    let as_both = || bearer_request(&alice).header("x-test-user", "bob");
    assert_eq!(respond(any(), login(), as_both()).await, ok("bob allowed"));
    assert_eq!(respond(login(), any(), as_both()).await, ok("alice allowed"));
    // The outer layer allowed alice, but the inner layer's resolver returns no user.
    assert_eq!(respond(any(), login(), bearer_request(&alice)).await.0, 401);
    let optional = respond(any().optional(), login(), bearer_request(&alice)).await;
    assert_eq!(optional, ok("none no-identity"));
    // In the other order, the inner layer removes the denial of the outer one.
    assert_eq!(
        respond(login(), any().optional(), bearer_request(&alice)).await,
        ok("alice allowed")
    );
}

#[tokio::test]
async fn inner_layer_of_other_engine_wins() {
    let (alice, bob) = (Fixture::with_user("alice").await, Fixture::with_user("bob").await);
    let as_both = || bearer_request(&alice).header("x-test-user", "bob");
    let inner = || bob.ac.layer();
    assert_eq!(respond(bob.any_session(), alice.ac.layer(), as_both()).await, ok("bob allowed"));
    assert_eq!(respond(inner(), alice.ac.layer(), bearer_request(&alice)).await.0, 401);
    let optional = respond(inner().optional(), alice.ac.layer(), bearer_request(&alice)).await;
    assert_eq!(optional, ok("none no-session"));
    let reversed = respond(inner(), alice.ac.layer().optional(), bearer_request(&bob)).await;
    assert_eq!(reversed, ok("bob allowed"));
}

/// T001: an extension from other code does not allow a request.
#[tokio::test]
async fn foreign_extension_is_denied() {
    let alice = Fixture::with_user("alice").await;
    let session = session_of(&alice.ac, &alice.credential.expose()).await;
    let planted = || Request::get("/").extension(session.clone());
    let layer = || alice.ac.layer();
    let open = || alice.ac.layer().optional();
    assert_eq!(respond(layer(), open(), planted()).await.0, 401);
    assert_eq!(respond(open(), open(), planted()).await, ok("none no-session"));
    // A foreign denial does not deny a request.
    let denied = bearer_request(&alice).extension(Denial::Ended);
    assert_eq!(respond(layer(), layer(), denied).await, ok("alice allowed"));
}

/// The response is cut when either session ends.
#[tokio::test]
async fn guards_of_both_layers_cut() {
    for ends_outer in [false, true] {
        let (alice, bob) = (Fixture::with_user("alice").await, Fixture::with_user("bob").await);
        let endless = async || {
            let first = stream::once(async { Ok::<_, Infallible>("first") });
            Body::from_stream(first.chain(stream::pending()))
        };
        let app = Router::new().route("/", get(endless)).layer(bob.any_session());
        let browser = Browser::new(&serve(app.layer(alice.ac.layer())).await);
        let request =
            browser.get("/").bearer_auth(alice.credential.expose()).header("x-test-user", "bob");
        let mut response = browser.send(request).await;
        assert_eq!(response.chunk().await.unwrap().unwrap(), "first");
        let ended = if ends_outer { &alice } else { &bob };
        ended.emulator.act_on_session(&ended.session.session_token, Action::Close).unwrap();
        let rest = tokio::time::timeout(Duration::from_secs(10), response.chunk()).await;
        assert!(rest.expect("the response ends").is_err(), "the outer session ended: {ends_outer}");
    }
}
