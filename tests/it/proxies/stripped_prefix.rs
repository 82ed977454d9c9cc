//! A proxy that strips a prefix: browsers request `/app/…`, and the application receives `/…`.

use activeconnect_emulator::Action;
use reqwest::header::WWW_AUTHENTICATE;
use tower_activeconnect::ActiveconnectBuilder;

use super::Site;
use super::servers::Proxy;
use crate::support::{Browser, approve, location, poll_until};

const HEADER: &str = "proxy_set_header X-Forwarded-Prefix /app;";

fn trust_loopback(builder: ActiveconnectBuilder) -> ActiveconnectBuilder {
    builder.trusted_proxies(["127.0.0.0/8".parse().unwrap()])
}

/// nginx in front of the application, under `/app/`.
async fn stripping_nginx(site: &Site, directives: &str) -> Proxy {
    let location = format!("location /app/ {{ proxy_pass {}/; {directives} }}", site.url);
    Proxy::nginx(&format!("server {{ listen LISTEN; {location} }}")).await
}

/// Follows a login from the requested page to the final URL.
async fn login_leads_to(site: &Site, proxy: &Proxy, user: &str, wanted: &str) -> String {
    let browser = Browser::new(&proxy.url());
    let turned_away = browser.page(wanted).await;
    let login = location(&turned_away).to_owned();
    assert!(login.starts_with("/app/auth/login"), "{login}");
    let page = browser.page(&login).await.text().await.unwrap();
    assert!(page.contains("action=\"/app/auth/login\""), "{page}");
    let next = page.split("name=\"next\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let next = next.replace("&#38;", "&").replace("&amp;", "&");
    let started_at = browser.form("/app/auth/login", &[("username", user), ("next", &next)]).await;
    let waiting = location(&started_at).to_owned();
    assert!(waiting.starts_with("/app/auth/waiting"), "{waiting}");
    approve(&site.emulator).await;
    let waiting_page = poll_until("the result is claimed", async || {
        let page = browser.page(&waiting).await;
        (page.status() == 303).then(|| location(&page).to_owned())
    })
    .await;
    let target = location(&browser.page(&waiting_page).await).to_owned();
    assert_eq!(browser.page(&target).await.status(), 200, "{target}");
    let out = browser.form("/app/auth/logout", &[]).await;
    assert_eq!(location(&out), "/app/auth/login");
    target
}

/// T147: all pages of a login are under the prefix, and so is the final URL.
#[tokio::test]
async fn login_stays_under_the_prefix() {
    let set: fn(ActiveconnectBuilder) -> ActiveconnectBuilder =
        |builder| builder.mount_prefix("/app");
    let set_twice: fn(ActiveconnectBuilder) -> ActiveconnectBuilder =
        |builder| builder.mount_prefix("/app").auth_path("/app/auth");
    for (configure, directives) in [(set, ""), (set_twice, ""), (trust_loopback, HEADER)] {
        let site = Site::start(configure).await;
        let proxy = stripping_nginx(&site, directives).await;
        let reports = login_leads_to(&site, &proxy, "alice", "/app/reports?q=1&r=2").await;
        assert_eq!(reports, "/app/reports?q=1&r=2");
        assert_eq!(login_leads_to(&site, &proxy, "bob", "/app/").await, "/app/");
    }
}

/// T147: denials link to paths under the prefix, for scripts and pages.
#[tokio::test]
async fn denials_use_paths_under_the_prefix() {
    let site = Site::start(|builder| builder.mount_prefix("/app")).await;
    let proxy = stripping_nginx(&site, "").await;
    let browser = Browser::new(&proxy.url());
    let rejected = browser.api("/app/reports").await;
    assert_eq!(rejected.headers()[WWW_AUTHENTICATE], "Activeconnect login=\"/app/auth/login\"");
    let htmx = browser.get("/app/part").header("hx-request", "true");
    let current = format!("{}/app/reports?q=1", proxy.url());
    let htmx = browser.send(htmx.header("hx-current-url", current)).await;
    let host_is_the_upstreams = htmx.headers().get("hx-redirect").unwrap();
    assert_eq!(host_is_the_upstreams, "/app/auth/login");
    let boosted = browser.get("/app/reports?q=1").header("hx-request", "true");
    let boosted = browser.send(boosted.header("hx-boosted", "true")).await;
    let redirect = &boosted.headers()["hx-redirect"];
    assert_eq!(redirect, "/app/auth/login?next=/app/reports%3Fq%3D1");

    let started_at = browser.form("/app/auth/login", &[("username", "alice")]).await;
    assert_eq!(location(&started_at), "/app/auth/waiting");
    let session = approve(&site.emulator).await;
    poll_until("logged in", async || {
        let page = browser.page("/app/auth/waiting").await;
        (page.status() == 303).then_some(())
    })
    .await;
    assert_eq!(browser.page("/app/reports").await.status(), 200);
    site.emulator.act_on_session(&session.session_token, Action::WalkAway).unwrap();
    poll_until("locked", async || {
        let page = browser.page("/app/reports?q=1").await;
        (page.status() == 303)
            .then(|| assert_eq!(location(&page), "/app/auth/locked?next=/app/reports%3Fq%3D1"))
    })
    .await;
}

/// T147: a prefix from a client or from an untrusted proxy is ignored.
#[tokio::test]
async fn forged_prefix_is_ignored() {
    let trusting = Site::start(trust_loopback).await;
    let plain = Site::start(|builder| builder).await;
    let set = Site::start(|builder| trust_loopback(builder).mount_prefix("/set")).await;
    for (site, values, login) in [
        (&trusting, &["/app"][..], "/app/auth/login?next=/app/reports"),
        (&trusting, &["/forged", "/app"], "/auth/login?next=/reports"),
        (&trusting, &["//evil.example"], "/auth/login?next=/reports"),
        (&trusting, &["/app/../evil"], "/auth/login?next=/reports"),
        (&plain, &["/app"], "/auth/login?next=/reports"),
        (&set, &["/app"], "/set/auth/login?next=/set/reports"),
    ] {
        let browser = Browser::new(&site.url);
        let mut request = browser.get("/reports").header("accept", "text/html");
        for value in values {
            request = request.header("x-forwarded-prefix", *value);
        }
        assert_eq!(location(&browser.send(request).await), login, "{values:?}");
    }
}
