//! The theme, and the content and headers of each page.

use std::time::Duration;

use activeconnect_emulator::{Action, Emulator};
use reqwest::header::ACCEPT;
use serde_json::json;
use tower_activeconnect::pages::{Logo, Theme};
use tower_activeconnect::setup::BuildError;

use super::fixture::{Site, attributes, files, header};
use crate::support::{advance, approve, builder, poll_until};

const HTML: &str = "text/html,application/xhtml+xml";
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

fn acme() -> Theme {
    Theme::new()
        .app_name("Acme & Sons")
        .logo(Logo::path("/logo.svg"))
        .accent("#0a7")
        .sign_up_url("/register")
        .support_url("mailto:help@acme.example")
        .privacy_url("https://acme.example/privacy")
}

fn assert_themed(page: &str) {
    assert!(page.contains("<span>Acme &#38; Sons</span>"), "{page}");
    assert!(page.contains(" · Acme &#38; Sons</title>"), "{page}");
    assert!(attributes(page, "src").contains(&"/logo.svg".to_owned()), "{page}");
    let links = attributes(page, "href");
    for link in ["mailto:help@acme.example", "https://acme.example/privacy"] {
        assert!(links.iter().any(|found| found == link), "{link}: {page}");
    }
    assert!(!page.contains("<style") && !page.contains(" style="), "{page}");
    assert!(!page.replace("<script src=", "").contains("<script"), "{page}");
}

/// The pages of the routes, and the gate's pages: 401, 403 and 503.
#[tokio::test]
async fn theme_is_on_every_page() {
    let site = Site::new(|builder| builder.theme(acme())).await;
    let browser = site.browser();
    let form = || browser.post("/form").header(ACCEPT, HTML).form(&[("a", "b")]);
    let page = browser.page("/auth/login").await.text().await.unwrap();
    assert!(attributes(&page, "href").contains(&"/register".to_owned()), "{page}");
    let mut responses = vec![
        browser.page("/auth/login").await,
        browser.page("/auth/waiting").await,
        browser.send(form()).await,
        browser.form("/auth/login", &[("username", "")]).await,
    ];
    browser.form("/auth/login", &[("username", "alice")]).await;
    responses.push(browser.page("/auth/waiting").await);
    responses.push(browser.send(form()).await);
    let session = approve(&site.emulator).await;
    poll_until("in", async || (browser.status().await == "active").then_some(())).await;
    responses.push(browser.page("/auth/confirm").await);
    responses.push(browser.page("/auth/confirm?methods=device").await);
    site.emulator.act_on_session(&session.session_token, Action::WalkAway).unwrap();
    poll_until("away", async || (browser.status().await == "walkaway").then_some(())).await;
    responses.push(browser.page("/auth/locked").await);
    responses.push(browser.send(form()).await);
    let statuses: Vec<u16> = responses.iter().map(|response| response.status().as_u16()).collect();
    assert_eq!(statuses, [200, 400, 401, 422, 200, 401, 200, 400, 200, 403]);
    for response in responses {
        assert_eq!(header(&response, "content-security-policy"), CSP);
        assert_eq!(header(&response, "cache-control"), "no-store");
        assert_themed(&response.text().await.unwrap());
    }
}

/// The gate cannot know whether the session is active.
#[tokio::test]
async fn unavailable_page_has_the_theme_and_language() {
    let site = Site::new(|builder| builder.theme(acme())).await;
    let browser = site.browser();
    browser.log_in(&site.emulator, "alice").await;
    drop(site.emulator);
    advance(Duration::from_secs(20), Duration::from_secs(5)).await;
    let request = browser.get("/").header(ACCEPT, HTML).header("accept-language", "es");
    let response = browser.send(request).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(header(&response, "content-security-policy"), CSP);
    let page = response.text().await.unwrap();
    assert_themed(&page);
    assert!(page.contains("lang=\"es\""), "{page}");
    assert!(page.contains("<h1>No disponible por el momento</h1>"), "{page}");
}

/// The page shows the typed username, whether or not the user exists.
#[tokio::test]
async fn waiting_page_is_the_same_for_all() {
    let site = Site::new(|builder| builder).await;
    let mut pages = Vec::new();
    for name in [" Alice <b>", "alice", "nobody"] {
        let browser = site.browser();
        browser.form("/auth/login", &[("username", name)]).await;
        let page = browser.page("/auth/waiting?username=mallory&name=mallory").await;
        let page = page.text().await.unwrap();
        let escaped = name.trim().replace('<', "&#60;").replace('>', "&#62;");
        let name = format!("<dd><bdi>{escaped}</bdi></dd>");
        assert_eq!(page.matches(&name).count(), 1, "{page}");
        assert!(!page.contains("mallory"), "{page}");
        let seconds: u64 = attributes(&page, "data-seconds")[0].parse().unwrap();
        assert!((50..=60).contains(&seconds), "{seconds}");
        let rest: Vec<&str> =
            page.lines().filter(|line| !line.contains("<bdi>") && !line.contains("<dt>")).collect();
        pages.push(rest.join("\n"));
    }
    assert!(pages.windows(2).all(|two| two[0] == two[1]), "{pages:?}");
}

/// Without scripts a page reloads and has a button; with scripts it does neither.
#[tokio::test]
async fn refresh_is_only_without_scripts() {
    let site = Site::new(|builder| builder).await;
    let browser = site.browser();
    browser.json("/auth/login", &json!({ "username": "alice" })).await;
    let page = browser.page("/auth/waiting?next=/form").await.text().await.unwrap();
    let refresh = "<noscript><meta http-equiv=\"refresh\" content=\"3\"></noscript>";
    assert!(page.contains(refresh), "{page}");
    assert_eq!(page.matches("http-equiv").count(), 1, "{page}");
    // Outside `noscript`, because a script that failed to load does not run either.
    let link = "<a href=\"/auth/waiting?next=/form\" class=\"button\">Go on</a>";
    let button = format!("<p data-without-script>{link}</p>");
    assert!(page.contains(&button), "{page}");
    assert_eq!(files(&page).len(), 4, "{page}");
}

#[tokio::test]
async fn build_rejects_unusable_themes() {
    let emulator = Emulator::start().await.unwrap();
    for (theme, setting) in [
        (Theme::new().accent("green"), "accent"),
        (Theme::new().app_name(" "), "app_name"),
        (Theme::new().sign_up_url("javascript:alert(1)"), "sign_up_url"),
        (Theme::new().support_url("//evil.example"), "support_url"),
        (Theme::new().privacy_url("data:text/html,x"), "privacy_url"),
        (Theme::new().logo(Logo::path("https://evil.example/x.png")), "logo"),
        (Theme::new().logo(Logo::bytes("text/html", &b"<p>"[..])), "logo"),
    ] {
        let error = builder(&emulator).theme(theme).build().unwrap_err();
        assert!(error.to_string().contains(setting), "{error}");
        assert!(matches!(error, BuildError::InvalidTheme { .. }), "{error}");
    }
}
