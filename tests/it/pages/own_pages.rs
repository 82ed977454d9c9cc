//! Pages of the application's own.

use tower_activeconnect::pages::{PageResult, Pages, RefusedPage, WaitingPage};

use super::fixture::{Site, header};

struct OwnPages;

impl Pages for OwnPages {
    fn waiting(&self, page: &WaitingPage) -> PageResult {
        let login = page.login.as_ref().ok_or("it is over")?;
        Ok(format!("own {} {} {}", page.layout.lang, login.name, login.follow.events))
    }

    fn refused(&self, page: &RefusedPage) -> PageResult {
        Ok(format!("own {} {}", page.status, page.heading))
    }
}

/// Those that it has, and the crate's others; both with the headers of a page.
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
    let stranger = site.browser();
    let form = stranger.post("/form").header("accept", "text/html").form(&[("a", "b")]);
    let refused = stranger.send(form).await;
    assert_eq!(refused.status(), 401);
    assert_eq!(header(&refused, "cache-control"), "no-store");
    assert_eq!(refused.text().await.unwrap(), "own 401 You are not logged in");
}

/// An application's page that fails tells nothing.
#[tokio::test]
async fn failing_page_is_an_empty_500() {
    struct Failing;
    impl Pages for Failing {
        fn login(&self, _: &tower_activeconnect::pages::LoginPage) -> PageResult {
            Err("secret reason".into())
        }
    }
    let site = Site::new(|builder| builder.pages(Failing)).await;
    let answer = site.browser().page("/auth/login").await;
    assert_eq!(answer.status(), 500);
    assert_eq!(answer.text().await.unwrap(), "");
}
