//! A layer that denies requests for its own login, by a mistake of the application.

use std::time::Duration;

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::http::header::ACCEPT;
use reqwest::Response;
use serde_json::{Value, json};
use tower::Layer as _;
use tower_activeconnect::protocol::AuthMethod;
use tower_activeconnect::{Activeconnect, ActiveconnectBuilder};

use super::fixture::{Log, skip};
use crate::support::{Browser, builder, location, serve};

const HTML: &str = "text/html";
const ERROR: &str = "the layer turns its own login page away";

type Configure = fn(ActiveconnectBuilder) -> ActiveconnectBuilder;
type Application = fn(&Activeconnect) -> Router;

fn page() -> Router {
    Router::new().fallback(async || "page")
}

fn plain(builder: ActiveconnectBuilder) -> ActiveconnectBuilder {
    builder
}

async fn site(configure: Configure, application: Application) -> Browser {
    let emulator = Emulator::start().await.unwrap();
    let ac = configure(builder(&emulator)).build().unwrap();
    Browser::new(&serve(application(&ac)).await)
}

/// Loads a page like a browser, with all redirects; returns their number.
async fn load(browser: &Browser, page: &str) -> (Response, usize) {
    let (mut page, mut redirects) = (page.to_owned(), 0);
    loop {
        let response = browser.page(&page).await;
        if response.status() != 303 || redirects == 20 {
            return (response, redirects);
        }
        page = location(&response).to_owned();
        redirects += 1;
    }
}

/// The page that a browser gets in this application, and the log's text.
async fn assert_explained(
    configure: Configure,
    application: Application,
    page: &str,
    mistake: &str,
) {
    let log = Log::capture();
    let browser = site(configure, application).await;
    let (response, redirects) = load(&browser, "/reports?year=1").await;
    assert_eq!((response.status().as_u16(), redirects), (500, 1), "{mistake}");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let page_text = response.text().await.unwrap().replace("&#34;", "\"").replace("&quot;", "\"");
    assert!(page_text.contains(mistake), "{mistake}: {page_text}");
    let line = log.only(ERROR, &[]);
    assert!(line.starts_with("ERROR") && line.contains(&format!("page=\"{page}\"")), "{line}");
    assert!(line.replace("\\\"", "\"").contains(mistake), "{mistake}: {line}");
}

/// T021: no mistake causes a redirect loop, and each is explained.
#[tokio::test]
async fn forgotten_routes_are_named() {
    let application: Application = |ac| page().layer(ac.layer());
    let mistake = "the login routes are forgotten: add .nest(\"/auth\", ac.routes())";
    assert_explained(plain, application, "/auth/login", mistake).await;
}

/// T021
#[tokio::test]
async fn routes_behind_the_layer_are_named() {
    let mistake = "the login routes are behind the layer, or not nested at \"/auth\"";
    let application: Application = |ac| page().nest("/auth", ac.routes()).layer(ac.layer());
    assert_explained(plain, application, "/auth/login", mistake).await;
    let around: Application = |ac| {
        let gated_app = page().nest("/auth", ac.routes());
        Router::new().fallback_service(ac.layer().layer(gated_app))
    };
    assert_explained(plain, around, "/auth/login", mistake).await;
}

/// T021
#[tokio::test]
async fn routes_nested_elsewhere_are_named() {
    let mistake = "or not nested at \"/auth\", which is ActiveconnectBuilder::auth_path";
    let application: Application = |ac| page().layer(ac.layer()).nest("/login", ac.routes());
    assert_explained(plain, application, "/auth/login", mistake).await;
    let mistake = "or not nested at \"/in\", which is ActiveconnectBuilder::auth_path";
    let other_path: Configure = |builder| builder.auth_path("/in");
    let application: Application = |ac| page().layer(ac.layer()).nest("/auth", ac.routes());
    assert_explained(other_path, application, "/in/login", mistake).await;
}

/// T021
#[tokio::test]
async fn misplaced_routes_are_reported_with_path() {
    let log = Log::capture();
    let browser = site(plain, |ac| page().layer(ac.layer()).nest("/login", ac.routes())).await;
    assert_eq!(browser.page("/login/login").await.status(), 200);
    assert_eq!(load(&browser, "/").await.0.status(), 500);
    let line = log.only(ERROR, &[]).replace("\\\"", "\"");
    let mistake = "the login routes are nested at \"/login\", and ActiveconnectBuilder::auth_path is \"/auth\"";
    assert!(line.contains(mistake), "{line}");
}

/// T021
#[tokio::test]
async fn own_pages_behind_the_layer_are_named() {
    let own_login: Configure = |builder| builder.login_page("/signin");
    let application: Application = |ac| page().layer(ac.layer()).nest("/auth", ac.routes());
    let mistake = "/signin is a page of the application to which the layer sends users";
    assert_explained(own_login, application, "/signin", mistake).await;
    // No proxy strips the prefix: requests have it.
    let prefixed: Configure = |builder| builder.login_page("/signin").mount_prefix("/app");
    let mistake = "/app/signin is a page of the application to which the layer sends users";
    assert_explained(prefixed, application, "/app/signin", mistake).await;
}

/// T021: a prefix that no proxy strips, and one that leaves a slash.
#[tokio::test]
async fn wrong_prefix_does_not_loop() {
    let prefixed: Configure = |builder| builder.mount_prefix("/app");
    let application: Application =
        |ac| Router::new().nest("/auth", ac.routes()).fallback_service(ac.layer().layer(page()));
    let mistake = "ActiveconnectBuilder::mount_prefix is only for a prefix that a proxy strips";
    assert_explained(prefixed, application, "/app/auth/login", mistake).await;
    let browser = site(prefixed, application).await;
    assert_eq!(browser.page("//auth/login").await.status(), 500);
}

/// T021: scripts, forms and `HEAD` get the explanation in their formats.
#[tokio::test]
async fn every_client_gets_the_explanation() {
    let browser = site(plain, |ac| page().nest("/auth", ac.routes()).layer(ac.layer())).await;
    for path in ["/auth/login", "/auth/status", "/auth/assets/style.css", "/auth/sessions/end"] {
        let response = browser.json(path, &json!({ "username": "alice" })).await;
        assert_eq!(response.status(), 500, "{path}");
        assert!(!response.headers().contains_key("www-authenticate"));
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: Value = response.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().contains("behind the layer"), "{problem}");
        assert_eq!(problem["denial"], "no-session");
    }
    let form = browser.form("/auth/login", &[("username", "alice")]).await;
    assert_eq!(form.status(), 500);
    assert!(form.text().await.unwrap().contains("behind the layer"));
    let head = browser.send(browser.head("/auth/login").header(ACCEPT, HTML)).await;
    assert_eq!((head.status().as_u16(), head.text().await.unwrap().as_str()), (500, ""));
    // A route that only looks like the login belongs to the application.
    for path in ["/auth", "/auth/", "/auth/logins", "/authlogin", "/x/auth/login"] {
        assert_eq!(browser.api(path).await.status(), 401, "{path}");
    }
}

/// T021: repeated requests do not flood the log.
#[tokio::test]
async fn misplaced_routes_are_logged_once_a_minute() {
    let log = Log::capture();
    let browser = site(plain, |ac| page().layer(ac.layer())).await;
    for _ in 0..4 {
        browser.page("/auth/login").await;
    }
    log.only(ERROR, &[]);
    skip(Duration::from_secs(61)).await;
    browser.page("/auth/login").await;
    let lines = log.with(ERROR);
    assert!(lines.len() == 2 && lines[1].contains("suppressed=3"), "{lines:?}");
}

/// T021: clients cannot cause such log lines in a correct setup.
#[tokio::test]
async fn lookalike_path_is_accepted() {
    let log = Log::capture();
    let browser = site(plain, |ac| page().layer(ac.layer()).nest("/auth", ac.routes())).await;
    assert_eq!(browser.page("/auth/login").await.status(), 200);
    let response = browser.page("//auth/login").await;
    assert_eq!(response.status(), 303);
    assert_eq!(location(&response).split('?').next(), Some("/auth/login"));
    assert_eq!(browser.json("//auth/login", &json!({})).await.status(), 401);
    assert_eq!(log.with(ERROR), [""; 0]);
}

/// T021: an own page may be behind a layer that does not redirect to it.
#[tokio::test]
async fn gated_confirm_page_is_accepted() {
    let log = Log::capture();
    let own_confirm: Configure = |builder| builder.confirm_page("/confirm");
    let browser = site(own_confirm, |ac| {
        let careful = ac.layer().require_methods([AuthMethod::Facial]);
        let transfer = Router::new().route("/transfer", axum::routing::get(async || "done"));
        page().merge(transfer.route_layer(careful)).layer(ac.layer()).nest("/auth", ac.routes())
    })
    .await;
    let response = browser.page("/confirm").await;
    assert_eq!(
        (response.status().as_u16(), location(&response)),
        (303, "/auth/login?next=/confirm")
    );
    assert_eq!(log.with(ERROR), [""; 0]);
}
