//! T148: the recipes of docs/behind-a-proxy.md, unchanged, in nginx and Caddy.

use std::sync::{Arc, Mutex};

use activeconnect_emulator::{Action, Endpoint, Fault, FaultKind};
use axum::Router;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Request, State, WebSocketUpgrade, ws};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tower_activeconnect::ActiveconnectBuilder;

use super::Site;
use super::servers::Proxy;
use crate::support::{Browser, approve, location, poll_until, serve};

const DOCS: &str = include_str!("../../../docs/behind-a-proxy.md");

/// The recipe in this language, with the addresses of the application and the service.
fn recipe(language: &str, app: &str, service: &str) -> String {
    let (_, recipes) = DOCS.split_once("\n## Forward authentication\n").unwrap();
    let (_, recipe) = recipes.split_once(&format!("```{language}\n")).unwrap();
    let (recipe, _) = recipe.split_once("```").unwrap();
    let address = |url: &str| url.strip_prefix("http://").unwrap().to_owned();
    recipe.replace("127.0.0.1:3000", &address(app)).replace("127.0.0.1:8080", &address(service))
}

/// The service's record of one request.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    line: String,
    /// The values of `X-Auth-User`, in each spelling that some services treat alike.
    users: Vec<String>,
    body: String,
}

/// A service that does not use this crate.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<Vec<Record>>>);

impl Service {
    async fn respond(
        State(service): State<Self>,
        upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
        request: Request,
    ) -> Response {
        let line = format!("{} {}", request.method(), request.uri());
        let is_user = |name: &str| name.replace('_', "-") == "x-auth-user";
        let users = request.headers().iter().filter(|(name, _)| is_user(name.as_str()));
        let users: Vec<_> = users.map(|(_, value)| value.to_str().unwrap().to_owned()).collect();
        let body = axum::body::to_bytes(request.into_body(), 1_000).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        service.0.lock().unwrap().push(Record { line, users: users.clone(), body });
        let text = users.join(", ");
        match upgrade {
            Ok(upgrade) => upgrade.on_upgrade(async move |mut socket| {
                let _ = socket.send(ws::Message::Text(text.into())).await;
            }),
            Err(_) => text.into_response(),
        }
    }

    fn record(&self) -> Vec<Record> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Headers of clients that claim to be another user.
const FORGED: [(&str, &str); 5] = [
    ("X-Auth-User", "mallory"),
    ("x-auth-user", "root"),
    ("X_Auth_User", "mallory"),
    ("x-auth_user", "mallory"),
    ("X_AUTH-USER", "mallory"),
];

fn forge(mut request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    for (name, value) in FORGED {
        request = request.header(name, value);
    }
    request
}

async fn open_socket(proxy: &Proxy, origin: &str, cookies: &str) -> Result<String, u16> {
    let mut request = format!("ws://{}/socket", proxy.address()).into_client_request().unwrap();
    for (name, value) in [("origin", origin), ("cookie", cookies), ("x-auth-user", "mallory")] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((mut socket, _)) => match futures_util::StreamExt::next(&mut socket).await {
            Some(Ok(Message::Text(text))) => Ok(text.to_string()),
            other => panic!("{other:?}"),
        },
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

/// Asserts each promise of the recipe.
async fn assert_recipe_gates(site: &Site, service: &Service, proxy: &Proxy) {
    let browser = Browser::new(&proxy.url());
    // Without a session no request reaches the service.
    let api = browser.send(forge(browser.get("/reports?q=1"))).await;
    assert_eq!(api.status(), 401, "{}", proxy.log());
    let request = forge(browser.get("/reports?q=1")).header("accept", "text/html");
    let page = browser.send(request).await;
    assert_eq!((page.status().as_u16(), location(&page)), (303, "/auth/login?next=/reports?q=1"));
    assert_eq!(open_socket(proxy, &proxy.url(), "").await, Err(401));
    assert_eq!(browser.api("/auth/verify").await.status(), 404, "for the proxy alone");
    assert_eq!(service.record(), []);

    // The login leads back to the requested page.
    let login = browser.page(location(&page)).await.text().await.unwrap();
    assert!(login.contains("value=\"/reports?q=1\""), "{login}");
    browser.form("/auth/login", &[("username", "alice"), ("next", "/reports?q=1")]).await;
    let session = approve(&site.emulator).await;
    poll_until("the login is claimed", async || {
        let waiting = browser.page("/auth/waiting?next=/reports?q=1").await;
        (waiting.status() == 303 && location(&waiting) == "/reports?q=1").then_some(())
    })
    .await;

    // The service gets this user, whatever the client sends.
    let send = async |request: reqwest::RequestBuilder| {
        let response = browser.send(forge(request)).await;
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(send(browser.get("/reports?q=1&r=2")).await, (200, "alice".to_owned()));
    let form = browser.post("/reports").form(&[("a", "b")]).header("accept", "text/html");
    assert_eq!(send(form).await, (200, "alice".to_owned()));
    let observed = |line: &str, body: &str| Record {
        line: line.to_owned(),
        users: vec!["alice".to_owned()],
        body: body.to_owned(),
    };
    assert_eq!(
        service.record(),
        [observed("GET /reports?q=1&r=2", ""), observed("POST /reports", "a=b")]
    );
    let cookies = browser.cookie_header();
    assert_eq!(open_socket(proxy, &proxy.url(), &cookies).await, Ok("alice".to_owned()));
    assert_eq!(open_socket(proxy, "https://evil.example", &cookies).await, Err(403));
    assert_eq!(service.record().len(), 1);

    // The client gets the denial of `verify`.
    let becomes = async |status: u16| {
        let look = async || (send(browser.get("/")).await.0 == status).then_some(());
        poll_until(&format!("the proxy answers {status}"), look).await;
        service.record();
        let answered = send(browser.get("/")).await.0;
        assert_eq!(answered, status);
        assert_eq!(service.record().len(), usize::from(status == 200));
    };
    site.emulator.act_on_session(&session.session_token, Action::WalkAway).unwrap();
    becomes(403).await;
    site.emulator.act_on_session(&session.session_token, Action::Return).unwrap();
    becomes(200).await;
    let odd = Fault::new(Endpoint::Status, FaultKind::UnknownStatus);
    site.emulator.inject_fault(odd.for_user(&session.user_id));
    becomes(503).await;
    site.emulator.clear_faults();
    becomes(200).await;
    site.emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    becomes(401).await;
}

/// If `verify` returns no user, the client cannot name one.
async fn assert_forged_names_are_dropped(site: &Site, service: &Service, proxy: &Proxy) {
    let browser = Browser::new(&proxy.url());
    browser.log_in(&site.emulator, "alice").await;
    assert_eq!(browser.send(forge(browser.get("/"))).await.status(), 200);
    let [observed] = &service.record()[..] else { panic!("one request") };
    assert!(observed.users.is_empty(), "{observed:?}");
}

async fn start(
    configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
) -> (Site, Service, String) {
    let site = Site::start(configure).await;
    let service = Service::default();
    let app = Router::new().fallback(any(Service::respond)).with_state(service.clone());
    let url = serve(app).await;
    (site, service, url)
}

async fn nginx(site: &Site, service: &str) -> Proxy {
    let recipe = recipe("nginx", &site.url, service);
    Proxy::nginx(&recipe.replace("listen 80;", "listen LISTEN;")).await
}

async fn caddy(site: &Site, service: &str, copied: &str) -> Proxy {
    let recipe = recipe("caddyfile", &site.url, service);
    let recipe = recipe.replace("copy_headers X-Auth-User", copied);
    let directives = recipe.strip_prefix("app.example.com {\n").unwrap();
    Proxy::caddy(directives.trim_end().strip_suffix('}').unwrap()).await
}

#[tokio::test]
async fn nginx_recipe_gates_all_requests() {
    let (site, service, url) = start(|b| b.verify_user_header("x-auth-user")).await;
    assert_recipe_gates(&site, &service, &nginx(&site, &url).await).await;
}

#[tokio::test]
async fn nginx_recipe_drops_forged_names() {
    let (site, service, url) = start(|builder| builder).await;
    assert_forged_names_are_dropped(&site, &service, &nginx(&site, &url).await).await;
}

#[tokio::test]
async fn caddy_recipe_gates_all_requests() {
    let (site, service, url) = start(|b| b.verify_user_header("x-auth-user")).await;
    let caddy = caddy(&site, &url, "copy_headers X-Auth-User").await;
    assert_recipe_gates(&site, &service, &caddy).await;
}

#[tokio::test]
async fn caddy_recipe_drops_forged_names() {
    let (site, service, url) = start(|builder| builder).await;
    assert_forged_names_are_dropped(&site, &service, &caddy(&site, &url, "").await).await;
}
