//! Tower's contract, and the answers of the layer and its routes beside another login.

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

use crate::support::{Browser, approve, builder, serve, session_of, until, with_phones};

/// T118: a denial drops the ready service, permit and all.
#[tokio::test]
async fn denial_gives_the_permit_back() {
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
    // `one` is kept, as a connection or a Buffer keeps its service between requests.
    let ready = tokio::time::timeout(Duration::from_secs(2), two.ready()).await;
    assert!(ready.is_ok(), "the denied request still holds the only permit");
}

/// RFC 9110: 401 has a challenge; design.md: all denials are `no-store`.
#[tokio::test]
async fn extractor_under_optional_layer_denies_alike() {
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

fn beside_another_login(ac: &Activeconnect) -> Activeconnect {
    ac.with_user_resolver(|parts: &Parts| {
        parts.headers.get("x-test-user").map(|user| UserId::from(user.to_str().unwrap()))
    })
}

fn presence(ac: &Activeconnect) -> Router {
    let ac = beside_another_login(ac);
    Router::new()
        .route("/", get(|s: ActiveSession| async move { s.user().to_string() }))
        .layer(ac.layer())
        .nest("/auth", ac.routes())
}

async fn log_in_as(browser: &Browser, emulator: &Emulator, user: &str) -> String {
    let post = browser.post("/auth/login").header("x-test-user", user).json(&json!({}));
    assert_eq!(browser.send(post).await.status(), 202);
    let session = approve(emulator).await;
    until("taken", async || {
        let get = browser.get("/auth/status").header("x-test-user", user);
        browser.send(get).await.text().await.unwrap().contains("active").then_some(())
    })
    .await;
    session.session_token
}

fn status_of(emulator: &Emulator, token: &str) -> String {
    let sessions = emulator.state().sessions;
    sessions.iter().find(|s| s.session_token == token).unwrap().status.to_string()
}

/// The application has logged its user out already; our logout still ends what the cookie names.
#[tokio::test]
async fn presence_logout_needs_no_user() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    with_phones(&emulator, &ac, &["alice"]).await;
    let browser = Browser::new(&serve(presence(&ac)).await);
    let token = log_in_as(&browser, &emulator, "alice").await;
    browser.json("/auth/logout", &json!({})).await;
    assert_eq!(browser.cookie("__Host-activeconnect"), None);
    assert_eq!(status_of(&emulator, &token), "closed");
}

/// "a session that was there before is logged out", another user's too.
#[tokio::test]
async fn presence_login_ends_the_session_before_it() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    with_phones(&emulator, &ac, &["alice", "bob"]).await;
    let browser = Browser::new(&serve(presence(&ac)).await);
    let alices = log_in_as(&browser, &emulator, "alice").await;
    log_in_as(&browser, &emulator, "bob").await;
    until("closed", async || (status_of(&emulator, &alices) == "closed").then_some(())).await;
}

/// An attempt begun for one user says nothing to another user's request.
#[tokio::test]
async fn presence_attempt_of_another_user_is_not_pending() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    with_phones(&emulator, &ac, &["alice", "bob"]).await;
    let browser = Browser::new(&serve(presence(&ac)).await);
    let post = browser.post("/auth/login").header("x-test-user", "alice").json(&json!({}));
    assert_eq!(browser.send(post).await.status(), 202);
    let denied = browser.send(browser.get("/").header("x-test-user", "bob")).await;
    assert!(denied.text().await.unwrap().contains("no-session"));
}

/// An engine with one user who is logged in.
struct Realm {
    emulator: Emulator,
    ac: Activeconnect,
    credential: SessionCredential,
    session: SessionReport,
}

impl Realm {
    async fn of(user: &str) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).build().unwrap();
        with_phones(&emulator, &ac, &[user]).await;
        let user = UserId::from(user);
        let (credential, session) = tokio::join!(ac.log_in(&user), approve(&emulator));
        Self { emulator, ac, credential: credential.unwrap(), session }
    }

    /// Lets in whom `x-test-user` names while any session of theirs is active.
    fn any_session(&self) -> ActiveconnectLayer {
        beside_another_login(&self.ac).layer().allow_any_user_session()
    }
}

/// What a handler finds, under these two layers.
async fn found(
    inner: ActiveconnectLayer,
    outer: ActiveconnectLayer,
    request: http::request::Builder,
) -> (u16, String) {
    let look = async |request: Request<Body>| {
        let user = ActiveSession::from_extensions(request.extensions());
        let user = user.map(|session| session.user().to_string());
        let denial = request.extensions().get::<Denial>().map(|denial| denial.as_str());
        format!("{} {}", user.as_deref().unwrap_or("nobody"), denial.unwrap_or("let in"))
    };
    let app = Router::new().route("/", get(look)).layer(inner).layer(outer);
    let answer = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (status, body) = (answer.status().as_u16(), answer.into_body());
    (status, String::from_utf8(to_bytes(body, 64 * 1024).await.unwrap().into()).unwrap())
}

fn request_of(realm: &Realm) -> http::request::Builder {
    Request::get("/").header("authorization", format!("Bearer {}", realm.credential.expose()))
}

fn seen(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

#[tokio::test]
async fn inner_of_two_layers_of_one_engine_wins() {
    let alice = Realm::of("alice").await;
    let (login, any) = (|| alice.ac.layer(), || alice.any_session());
    with_phones(&alice.emulator, &alice.ac, &["bob"]).await;
    let bob = UserId::from("bob");
    let (logged_in, _) = tokio::join!(alice.ac.log_in(&bob), approve(&alice.emulator));
    logged_in.unwrap();
    let as_both = || request_of(&alice).header("x-test-user", "bob");
    assert_eq!(found(any(), login(), as_both()).await, seen("bob let in"));
    assert_eq!(found(login(), any(), as_both()).await, seen("alice let in"));
    // The outer one let alice in; nobody is named for the inner one.
    assert_eq!(found(any(), login(), request_of(&alice)).await.0, 401);
    let optional = found(any().optional(), login(), request_of(&alice)).await;
    assert_eq!(optional, seen("nobody no-identity"));
    // And the other way round: what the outer one said against it is forgotten.
    assert_eq!(found(login(), any().optional(), request_of(&alice)).await, seen("alice let in"));
}

#[tokio::test]
async fn inner_of_two_engines_layers_wins() {
    let (alice, bob) = (Realm::of("alice").await, Realm::of("bob").await);
    let as_both = || request_of(&alice).header("x-test-user", "bob");
    let inner = || bob.ac.layer();
    assert_eq!(found(bob.any_session(), alice.ac.layer(), as_both()).await, seen("bob let in"));
    assert_eq!(found(inner(), alice.ac.layer(), request_of(&alice)).await.0, 401);
    let optional = found(inner().optional(), alice.ac.layer(), request_of(&alice)).await;
    assert_eq!(optional, seen("nobody no-session"));
    let reversed = found(inner(), alice.ac.layer().optional(), request_of(&bob)).await;
    assert_eq!(reversed, seen("bob let in"));
}

/// T001, in the extensions: what others put there lets nobody in.
#[tokio::test]
async fn foreign_extension_is_denied() {
    let alice = Realm::of("alice").await;
    let session = session_of(&alice.ac, &alice.credential.expose()).await;
    let planted = || Request::get("/").extension(session.clone());
    let layer = || alice.ac.layer();
    let open = || alice.ac.layer().optional();
    assert_eq!(found(layer(), open(), planted()).await.0, 401);
    assert_eq!(found(open(), open(), planted()).await, seen("nobody no-session"));
    // Nor does a denial keep anybody out.
    let denied = request_of(&alice).extension(Denial::Ended);
    assert_eq!(found(layer(), layer(), denied).await, seen("alice let in"));
}

/// Whichever of the two sessions ends, the answer ends.
#[tokio::test]
async fn guards_of_both_layers_hold() {
    for ends_outer in [false, true] {
        let (alice, bob) = (Realm::of("alice").await, Realm::of("bob").await);
        let endless = async || {
            let first = stream::once(async { Ok::<_, Infallible>("first") });
            Body::from_stream(first.chain(stream::pending()))
        };
        let app = Router::new().route("/", get(endless)).layer(bob.any_session());
        let browser = Browser::new(&serve(app.layer(alice.ac.layer())).await);
        let request =
            browser.get("/").bearer_auth(alice.credential.expose()).header("x-test-user", "bob");
        let mut answer = browser.send(request).await;
        assert_eq!(answer.chunk().await.unwrap().unwrap(), "first");
        let ended = if ends_outer { &alice } else { &bob };
        ended.emulator.act_on_session(&ended.session.session_token, Action::Close).unwrap();
        let rest = tokio::time::timeout(Duration::from_secs(10), answer.chunk()).await;
        assert!(rest.expect("it goes on").is_err(), "the outer one ended: {ends_outer}");
    }
}
