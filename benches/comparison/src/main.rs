//! The costs of comparable crates for an allowed request, compared with this crate's layer: one
//! `GET` through an in-process axum router with a small immediate response. Crates with a store
//! have 10,000 sessions, and one of these sends all requests.
//!
//! ```text
//! cargo run --release --locked --manifest-path benches/comparison/Cargo.toml -- --bench
//! ```

#[path = "../../support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::routing::get;
use axum_extra::extract::PrivateCookieJar;
use axum_extra::extract::cookie::{Cookie, Key};
use axum_login::{AuthManagerLayerBuilder, AuthSession, AuthUser, AuthnBackend, login_required};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use jwt_authorizer::{AuthError, IntoLayer as _, JwtAuthorizer, RegisteredClaims};
use support::service::{NoOpLayer, requests};
use support::{Case, Prepare};
use tower::{ServiceBuilder, ServiceExt as _};
use activeconnect_emulator::{Action, Emulator};
use tower_activeconnect::client::{Client, RemoteSession};
use tower_activeconnect::{Activeconnect, Authentication, Credentials, MemoryTokenStore, UserToken};
use tower_http::validate_request::ValidateRequestHeaderLayer;
use tower_sessions::{MemoryStore, Session, SessionManagerLayer};

const SESSIONS: usize = 10_000;
const NOOP: &str = "no-op layer";

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let cases = runtime.block_on(cases());
    let rows = support::measure_times(cases);
    support::write("comparison", &rows);
}

fn router() -> Router<()> {
    Router::new().route("/", get(async || "hello"))
}

/// All routes respond alike.
fn app_with_response(app: Router, ask: impl FnMut() -> Request<Body> + 'static) -> Prepare {
    requests(app.with_state(()), ask, (200, 1))
}

async fn cases() -> Vec<Case> {
    let case = |name, prepare| Case::new(name, prepare).over(NOOP).against(GATE);
    let bare = Case::new("bare router", app_with_response(router(), cookies(vec!["id=1".into()])));
    let noop = app_with_response(router().layer(NoOpLayer), cookies(vec!["id=1".into()]));
    let (jwt_hs256, hs256) = jwt(Algorithm::HS256).await;
    let (jwt_es256, es256) = jwt(Algorithm::ES256).await;
    let (sessions_app, sessions) = tower_sessions().await;
    let (login_app, logins) = axum_login().await;
    let (jar_app, jars) = private_jar().await;
    #[expect(deprecated, reason = "it is the cheapest there is")]
    let bearer = router().layer(ValidateRequestHeaderLayer::bearer("0123456789"));
    vec![
        bare,
        Case::new(NOOP, noop).over("bare router"),
        gate(),
        case("tower-http bearer", app_with_response(bearer, bearers("0123456789".into()))),
        case("tower-sessions", app_with_response(sessions_app, cookies(sessions))),
        case("axum-login", app_with_response(login_app, cookies(logins))),
        case("JWT HS256", app_with_response(jwt_hs256, bearers(hs256))),
        case("JWT ES256", app_with_response(jwt_es256, bearers(es256))),
        case("private cookie jar", app_with_response(jar_app, cookies(jars))),
        case("a status call per request", status_call()),
    ]
}

/// Requests with one of these cookies, as the third of three cookies.
fn cookies(cookies: Vec<String>) -> impl FnMut() -> Request<Body> + 'static {
    let cookies = format!("theme=dark; lang=en; {}", cookies[cookies.len() / 2]);
    move || Request::get("/").header("cookie", &cookies).body(Body::empty()).unwrap()
}

fn bearers(token: String) -> impl FnMut() -> Request<Body> + 'static {
    move || {
        let value = format!("Bearer {token}");
        Request::get("/").header("authorization", value).body(Body::empty()).unwrap()
    }
}

const GATE: &str = "this crate's layer";

fn gate() -> Case {
    let hour = Duration::from_secs(3600);
    let credentials = Credentials::new("APPLICATION", "MXG9EDN581U33XTPLPFT75V2").unwrap();
    let ac = Activeconnect::builder(credentials)
        .token_store(MemoryTokenStore::new())
        .poll_interval(hour)
        .max_staleness(2 * hour)
        .build()
        .unwrap();
    let sessions = (0..SESSIONS).map(|i| {
        let user = format!("user-{i:07}").into();
        format!("__Host-activeconnect={}", ac.bench_session(&user, false).expose())
    });
    let ask = cookies(sessions.collect());
    let app = router().layer(ac.layer()).with_state(());
    Case::new(GATE, requests(app, ask, (200, 1))).over(NOOP)
}

/// The cookies that this app sets at `/begin`.
async fn started_at(app: &Router, name: &str) -> Vec<String> {
    let mut cookies = Vec::new();
    for _ in 0..SESSIONS {
        let request = Request::get("/begin").body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let cookie = response.headers()["set-cookie"].to_str().unwrap();
        assert!(cookie.starts_with(name));
        cookies.push(cookie.split(';').next().unwrap().to_owned());
    }
    cookies
}

/// Reads the session before the handler runs.
async fn tower_sessions() -> (Router, Vec<String>) {
    async fn read(session: Session, request: Request<Body>, next: Next) -> Response<Body> {
        let user: Option<u64> = session.get("user").await.unwrap();
        assert_eq!(user, Some(7));
        next.run(request).await
    }
    let start = async |session: Session| session.insert("user", 7_u64).await.unwrap();
    let app = router()
        .layer(from_fn(read))
        .route("/begin", get(start))
        .layer(SessionManagerLayer::new(MemoryStore::default()));
    let cookies = started_at(&app, "id=").await;
    (app, cookies)
}

#[derive(Clone, Debug)]
struct User(u64);

impl AuthUser for User {
    type Id = u64;

    fn id(&self) -> u64 {
        self.0
    }

    fn session_auth_hash(&self) -> &[u8] {
        b"0123456789abcdef"
    }
}

#[derive(Clone)]
struct Users(Arc<HashMap<u64, User>>);

impl AuthnBackend for Users {
    type User = User;
    type Credentials = u64;
    type Error = Infallible;

    async fn authenticate(&self, id: u64) -> Result<Option<User>, Infallible> {
        Ok(self.0.get(&id).cloned())
    }

    async fn get_user(&self, id: &u64) -> Result<Option<User>, Infallible> {
        Ok(self.0.get(id).cloned())
    }
}

async fn axum_login() -> (Router, Vec<String>) {
    let start = async |mut session: AuthSession<Users>| session.login(&User(7)).await.unwrap();
    let sessions = SessionManagerLayer::new(MemoryStore::default());
    let users = Users(Arc::new((0..1_000).map(|id| (id, User(id))).collect()));
    let app = router()
        .layer(login_required!(Users))
        .route("/begin", get(start))
        .layer(AuthManagerLayerBuilder::new(users, sessions).build());
    let cookies = started_at(&app, "id=").await;
    (app, cookies)
}

async fn private_jar() -> (Router, Vec<String>) {
    async fn read(jar: PrivateCookieJar, request: Request<Body>, next: Next) -> Response<Body> {
        assert_eq!(jar.get("user").unwrap().value(), "7");
        next.run(request).await
    }
    let key = Key::generate();
    let start = async |jar: PrivateCookieJar| jar.add(Cookie::new("user", "7"));
    let app = Router::new()
        .route("/", get(async || "hello"))
        .layer(from_fn_with_state(key.clone(), read))
        .route("/begin", get(start))
        .with_state(key);
    let cookies = started_at(&app, "user=").await;
    (app, cookies)
}

/// jwt-authorizer's response type is from another axum version.
struct Answer(Response<Body>);

impl From<AuthError> for Answer {
    fn from(error: AuthError) -> Self {
        panic!("{error}");
    }
}

async fn jwt(algorithm: Algorithm) -> (Router, String) {
    let (key, builder) = match algorithm {
        Algorithm::HS256 => (
            EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef"),
            JwtAuthorizer::<RegisteredClaims>::from_secret("0123456789abcdef0123456789abcdef"),
        ),
        _ => (
            EncodingKey::from_ec_pem(include_bytes!("ec.pem")).unwrap(),
            JwtAuthorizer::from_ec_pem_text(include_str!("ec.pub.pem")),
        ),
    };
    let claims = serde_json::json!({ "sub": "alice", "exp": 4_000_000_000_u64 });
    let token = jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).unwrap();
    let layer = ServiceBuilder::new()
        .map_response(|Answer(response)| response)
        .layer(builder.build().await.unwrap().into_layer())
        .map_response(Answer);
    (router().layer(layer), token)
}

/// Each request waits for a status call, as with the vendor's own SDK.
fn status_call() -> Prepare {
    // The service runs on its own thread.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (emulator, client, session) = std::thread::scope(|scope| {
        scope.spawn(|| runtime.block_on(active_session())).join().unwrap()
    });
    let (client, session) = (Arc::new(client), Arc::new(session));
    let ask = move |request: Request<Body>, next: Next| {
        let (client, session) = (client.clone(), session.clone());
        async move {
            let actual = format!("{:?}", client.status(&session).await.unwrap());
            assert_eq!(actual, "Status(Active)");
            next.run(request).await
        }
    };
    let app = router().layer(from_fn(ask)).with_state(());
    let mut request = cookies(vec!["id=1".into()]);
    let runtime = Arc::new(runtime);
    Box::new(move |turns| {
        let _ = &emulator;
        let (app, runtime) = (app.clone(), runtime.clone());
        let requests: Vec<_> = (0..turns).map(|_| request()).collect();
        Box::new(move || {
            runtime.block_on(async {
                for request in requests {
                    let response = app.clone().oneshot(request).await.unwrap();
                    assert_eq!(response.status(), 200);
                }
            });
        })
    })
}

async fn active_session() -> (Emulator, Client, RemoteSession) {
    let emulator = Emulator::start().await.unwrap();
    let (id, secret) = (emulator.application_id(), emulator.application_secret().clone());
    let credentials = Credentials::new(id, secret).unwrap().with_server(emulator.url()).unwrap();
    let client = Client::new(credentials).unwrap();
    let token = UserToken::random().unwrap();
    client.add_users(std::slice::from_ref(&token)).await.unwrap();
    emulator.register_device(token.as_str()).unwrap();
    let options = Authentication::default();
    let session = client.authenticate_user(&token, &options).await.unwrap();
    emulator.act(token.as_str(), Action::Approve).unwrap();
    (emulator, client, session)
}
