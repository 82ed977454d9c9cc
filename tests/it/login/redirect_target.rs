//! The redirect target of a login: the requested path of this site, or `/`.

use std::time::Duration;

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use futures_util::{StreamExt as _, stream};
use reqwest::Response;
use serde_json::json;
use tower_activeconnect::login::{LoginLimits, RateLimit};
use tower_activeconnect::{ActiveSession, Activeconnect};
use url::form_urlencoded;

use crate::support::chromium::Chromium;
use crate::support::{Browser, approve, builder, enroll_users, location, poll_until, serve};

/// One case a line: the requested value and the target; the routes are at `/auth`.
const CORPUS: &str = include_str!("redirect_target.jsonl");

fn corpus() -> Vec<(String, String)> {
    let corpus: Vec<_> = CORPUS.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(corpus.len() >= 200);
    corpus
}

/// A site whose pages are all gated except the login's, and which responds with the requested URL.
async fn site() -> (Emulator, Activeconnect, String) {
    let emulator = Emulator::start().await.unwrap();
    // Allows hundreds of logins a minute.
    let often = RateLimit::new(10_000, Duration::from_secs(1));
    let limits = LoginLimits::default().per_user([often]).per_address(often).overall(often);
    let ac = builder(&emulator).login_limits(limits).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let echo = async |_: ActiveSession, request: Request| format!("you are at {}", request.uri());
    let app = Router::new().fallback(echo).layer(ac.layer()).nest("/auth", ac.routes());
    let url = serve(app).await;
    (emulator, ac, url)
}

async fn login_page(browser: &Browser, next: &str) -> String {
    let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    let page = browser.page(&format!("/auth/login?next={next}")).await;
    assert_eq!(page.status(), 200);
    kept_next(&page.text().await.unwrap())
}

/// The hidden field `next` of the login page.
fn kept_next(page: &str) -> String {
    let (_, rest) = page.split_once(r#"name="next" value=""#).unwrap();
    let (value, _) = rest.split_once('"').unwrap();
    let entities =
        [("&#38;", "&"), ("&#39;", "'"), ("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\"")];
    entities.iter().fold(value.to_owned(), |text, (entity, plain)| text.replace(entity, plain))
}

/// T020, T021: `next` in the query of the login page.
#[tokio::test]
async fn every_next_value_is_kept_or_rejected() {
    let (_emulator, _ac, url) = site().await;
    let browser = Browser::new(&url);
    for (wanted, expected) in &corpus() {
        assert_eq!(login_page(&browser, wanted).await, *expected, "{wanted:?}");
    }
    for too_long in [format!("/{}", "a".repeat(2048)), format!("/{}", "é".repeat(1000))] {
        assert_eq!(login_page(&browser, &too_long).await, "/");
    }
    let fits = format!("/{}", "a".repeat(2047));
    assert_eq!(login_page(&browser, &fits).await, fits);
}

/// Approves all pending logins, without end.
async fn approve_all(emulator: &Emulator) {
    loop {
        let sessions = emulator.state().sessions.into_iter();
        for session in sessions.filter(|session| session.status.to_string() == "pending") {
            let _ = emulator.act_on_session(&session.session_token, Action::Approve);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits for the approval; returns the response of the waiting page.
async fn claimed(browser: &Browser, waiting: &str) -> Response {
    poll_until("taken", async || {
        let page = browser.page(waiting).await;
        (page.status() == 303).then_some(page)
    })
    .await
}

/// The target of a login with this `next`.
async fn destination(site: &str, user: &str, next: &str) -> String {
    let browser = Browser::new(site);
    let started_at = browser.form("/auth/login", &[("username", user), ("next", next)]).await;
    assert_eq!(started_at.status(), 303);
    let waiting = location(&started_at);
    assert!(waiting.starts_with("/auth/waiting"), "{waiting}");
    let claimed = claimed(&browser, waiting).await;
    assert_eq!(location(&claimed), waiting);
    let onward = browser.page(location(&claimed)).await;
    assert_eq!(onward.status(), 303);
    location(&onward).to_owned()
}

/// T020: every value in the form of an approved login; Chromium resolves each target.
#[tokio::test]
async fn every_login_redirects_to_this_site() {
    let (emulator, ac, url) = site().await;
    let corpus = corpus();
    let users: Vec<String> = (0..corpus.len()).map(|number| format!("user{number}")).collect();
    enroll_users(&emulator, &ac, &users.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let logins = users.iter().zip(&corpus).map(async |(user, (wanted, expected))| {
        let led_to = destination(&url, user, wanted).await;
        assert_eq!(led_to, *expected, "{wanted:?}");
        led_to
    });
    let led_to: Vec<String> = tokio::select! {
        led_to = stream::iter(logins).buffered(16).collect() => led_to,
        () = approve_all(&emulator) => unreachable!("the task runs until the test ends"),
    };
    let Some(chromium) = Chromium::start().await else { return };
    let tab = chromium.profile().await.tab().await;
    tab.navigate(&format!("{url}/auth/login")).await;
    let origins = "list => list.map(place => new URL(place, location.href).origin)";
    let origins = tab.eval(&format!("({origins})({})", json!(led_to))).await;
    assert_eq!(origins, json!(vec![&url; led_to.len()]));
}

/// The most hostile values, by a browser's navigation.
#[tokio::test]
async fn browser_stays_on_this_site() {
    let (emulator, ac, url) = site().await;
    let Some(chromium) = Chromium::start().await else { return };
    let corpus = corpus();
    for (number, wanted) in [
        "//evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "/\t/evil.example",
        "/\n\\evil.example",
        "https:evil.example",
        "javascript:alert(1)",
        "/.//evil.example",
        "/%2e%2e//evil.example",
        "//evil.example\\@www.app.localhost",
        "/auth/login?next=/auth/login",
        "/%61uth",
        "/x%2f..%2fauth/login",
        "/a?next=//evil.example",
        "/%09/evil.example",
        "/posts//evil.example",
        "/posts?a=b#//evil.example",
    ]
    .into_iter()
    .enumerate()
    {
        let (_, expected) = corpus.iter().find(|(value, _)| value == wanted).unwrap();
        let user = format!("user{number}");
        enroll_users(&emulator, &ac, &[&user]).await;
        let profile = chromium.profile().await;
        let tab = profile.tab().await;
        tab.navigate(&format!("{url}/auth/login")).await;
        let fill = format!(
            "document.querySelector('[name=username]').value = '{user}';
             document.querySelector('[name=next]').value = {};
             document.querySelector('button').click()",
            json!(wanted),
        );
        tab.eval(&fill).await;
        approve(&emulator).await;
        tab.wait_for("document.body.innerText.startsWith('you are at')").await;
        // The fragment stays in the browser.
        assert_eq!(tab.url().await, format!("{url}{expected}"), "{wanted:?}");
    }
}

/// The prefix of a nested router is kept, to the login and back.
#[tokio::test]
async fn nested_prefixes_are_kept() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).auth_path("/app/v1/auth").build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let posts = Router::new()
        .route("/posts", get(async |_: ActiveSession| "posts"))
        .layer(ac.layer())
        .merge(
            Router::new()
                .route("/own", get(async |_: ActiveSession| "own"))
                .layer(ac.layer().optional()),
        );
    let inner = Router::new().merge(posts).nest("/auth", ac.routes());
    let app = Router::new().nest("/app", Router::new().nest("/v1", inner));
    let browser = Browser::new(&serve(app).await);
    let by_the_extractor = browser.page("/app/v1/own").await;
    assert_eq!(location(&by_the_extractor), "/app/v1/auth/login?next=/app/v1/own");
    let sent_away = browser.page("/app/v1/posts?page=2").await;
    assert_eq!(location(&sent_away), "/app/v1/auth/login?next=/app/v1/posts%3Fpage%3D2");
    let page = browser.page(location(&sent_away)).await.text().await.unwrap();
    assert_eq!(kept_next(&page), "/app/v1/posts?page=2");
    let loops = browser.page("/app/v1/auth/login?next=/app/v1/%61uth/login").await;
    assert_eq!(kept_next(&loops.text().await.unwrap()), "/");
    let fields = [("username", "alice"), ("next", "/app/v1/posts?page=2")];
    let mut url_path = location(&browser.form("/app/v1/auth/login", &fields).await).to_owned();
    approve(&emulator).await;
    let posts = poll_until("there", async || {
        let page = browser.page(&url_path).await;
        if page.status() == 303 {
            url_path = location(&page).to_owned();
            return None;
        }
        (page.text().await.unwrap() == "posts").then(|| url_path.clone())
    })
    .await;
    assert_eq!(posts, "/app/v1/posts?page=2");
}

/// T021: a browser without cookies gets an explanation at both steps, and no redirect.
#[tokio::test]
async fn browser_without_cookies_does_not_loop() {
    let (emulator, _ac, url) = site().await;
    let browser = Browser::new(&url);
    let explained = async |browser: &Browser, url_path: &str| {
        let page = browser.page(url_path).await;
        assert_eq!(page.status(), 400, "{url_path}");
        assert!(!page.headers().contains_key("location"));
        assert!(page.text().await.unwrap().contains("allow cookies"));
    };
    let started_at =
        browser.form("/auth/login", &[("username", "alice"), ("next", "/posts")]).await;
    explained(&Browser::new(&url), location(&started_at)).await;
    approve(&emulator).await;
    let claimed = claimed(&browser, location(&started_at)).await;
    assert_eq!(location(&claimed), "/auth/waiting?next=/posts");
    explained(&Browser::new(&url), location(&claimed)).await;
    assert_eq!(location(&browser.page(location(&claimed)).await), "/posts");
}

/// Chromium drops a `Secure` cookie of a site without TLS that is not the loopback.
#[tokio::test]
async fn site_without_tls_explains_lost_cookie() {
    let (emulator, _ac, url) = site().await;
    let Some(chromium) = Chromium::start().await else { return };
    let profile = chromium.profile().await;
    let tab = profile.tab().await;
    tab.navigate(&format!("{}/posts", url.replace("127.0.0.1", "app.example"))).await;
    tab.eval("document.querySelector('[name=username]').value = 'alice'").await;
    tab.eval("document.querySelector('button').click()").await;
    approve(&emulator).await;
    tab.wait_for("document.body.innerText.includes('begins with https')").await;
    assert!(tab.url().await.ends_with("/auth/waiting?next=/posts"));
    assert!(profile.cookies().await.is_empty());
}
