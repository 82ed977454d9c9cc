//! Pages that the application provides.

use activeconnect_emulator::Action;
use tower_activeconnect::pages::{ErrorPage, LoginPage, PageResult, Pages, WaitingPage};
use tower_activeconnect::setup::BuildError;

use super::fixture::{Site, header};
use crate::support::{approve, builder, location, poll_until};

struct OwnPages;

impl Pages for OwnPages {
    fn waiting(&self, page: &WaitingPage) -> PageResult {
        let login = page.login.as_ref().ok_or("it is over")?;
        Ok(format!("own {} {} {}", page.layout.lang, login.name, login.follow.events))
    }

    fn error(&self, page: &ErrorPage) -> PageResult {
        Ok(format!("own {} {}", page.status, page.heading))
    }
}

/// The application's pages and the crate's other pages, all with the security headers.
#[tokio::test]
async fn application_replaces_pages() {
    let site = Site::new(|builder| builder.pages(OwnPages)).await;
    let browser = site.browser();
    let login = browser.page("/auth/login").await.text().await.unwrap();
    assert!(login.contains("<h1>Log in</h1>"), "{login}");
    browser.form("/auth/login", &[("username", "alice")]).await;
    let waiting = browser.page("/auth/waiting?lang=de").await;
    assert!(header(&waiting, "content-security-policy").contains("script-src 'self'"));
    assert_eq!(header(&waiting, "content-type"), "text/html; charset=utf-8");
    assert_eq!(waiting.text().await.unwrap(), "own de alice /auth/events");
    let anonymous = site.browser();
    let form = anonymous.post("/form").header("accept", "text/html").form(&[("a", "b")]);
    let denied = anonymous.send(form).await;
    assert_eq!(denied.status(), 401);
    assert_eq!(header(&denied, "cache-control"), "no-store");
    assert_eq!(denied.text().await.unwrap(), "own 401 You are not logged in");
}

/// An application page that fails shows no error text.
#[tokio::test]
async fn failing_page_is_an_empty_500() {
    struct Failing;
    impl Pages for Failing {
        fn login(&self, _: &LoginPage) -> PageResult {
            Err("secret reason".into())
        }
    }
    let site = Site::new(|builder| builder.pages(Failing)).await;
    let response = site.browser().page("/auth/login").await;
    assert_eq!(response.status(), 500);
    assert_eq!(response.text().await.unwrap(), "");
}

/// The gate and the routes redirect to the application's pages.
#[tokio::test]
async fn redirects_use_own_page_addresses() {
    let site = Site::new(|builder| {
        builder
            .mount_prefix("/app")
            .login_page("/signin")
            .waiting_page("/wait")
            .locked_page("/away")
            .confirm_page("/sure")
    })
    .await;
    let browser = site.browser();
    let response = browser.page("/form?a=b").await;
    assert_eq!(location(&response), "/app/signin?next=/app/form%3Fa%3Db");
    let started_at = browser.form("/auth/login", &[("username", "alice"), ("next", "/form")]).await;
    assert_eq!(location(&started_at), "/app/wait?next=/app/form");
    assert_eq!(location(&browser.page("/form").await), "/app/wait?next=/app/form");
    let session = approve(&site.emulator).await;
    poll_until("in", async || (browser.status().await == "active").then_some(())).await;
    assert_eq!(
        location(&browser.page("/careful").await),
        "/app/sure?methods=facial&next=/app/careful"
    );
    let api = browser.api("/careful").await.text().await.unwrap();
    assert!(api.contains("\"confirm\":\"/app/auth/confirm?methods=facial\""), "{api}");
    site.emulator.act_on_session(&session.session_token, Action::WalkAway).unwrap();
    poll_until("away", async || (browser.status().await == "walkaway").then_some(())).await;
    assert_eq!(location(&browser.page("/form").await), "/app/away?next=/app/form");
    assert_eq!(location(&browser.form("/auth/logout", &[]).await), "/app/signin");
    let result = builder(&site.emulator).login_page("https://elsewhere.example/").build();
    assert!(matches!(result, Err(BuildError::InvalidPath { .. })));
}
