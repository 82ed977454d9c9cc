//! WebKit rejects `Secure` cookies on plain HTTP, also on the loopback.

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::routing::get;
use tower_activeconnect::{ActiveSession, ActiveconnectBuilder};

use crate::support::blog::Blog;
use crate::support::webdriver::WebDriver;
use crate::support::{approve, builder, enroll_users, serve};

/// Starts a site, and approves a login of alice in WebKit.
async fn log_in(
    webkit: &WebDriver,
    configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
) -> Emulator {
    let emulator = Emulator::start().await.unwrap();
    let ac = configure(builder(&emulator)).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let hello = async |session: ActiveSession| format!("Hello {}", session.user());
    let app = Router::new().route("/", get(hello)).layer(ac.layer()).nest("/auth", ac.routes());
    webkit.navigate(&serve(app).await).await;
    submit_login(webkit).await;
    approve(&emulator).await;
    emulator
}

async fn submit_login(webkit: &WebDriver) {
    webkit.wait_for("!!document.querySelector('[name=username]')").await;
    webkit.eval("document.querySelector('[name=username]').value = 'alice'").await;
    webkit.eval("document.querySelector('main form button, form button').click()").await;
}

/// T154: the page explains the reason and the remedy.
#[tokio::test]
async fn rejected_secure_cookie_is_explained() {
    let Some(webkit) = WebDriver::webkit().await else { return };
    let _emulator = log_in(&webkit, |builder| builder).await;
    webkit.wait_for("document.body.innerText.includes('insecure_cookie_name')").await;
    let text = webkit.text().await;
    assert!(text.contains("No login waits here"), "{text}");
    assert!(text.contains("WebKit"), "{text}");
}

/// T154: the remedy that the documentation names.
#[tokio::test]
async fn insecure_cookie_name_works_on_the_loopback() {
    let Some(webkit) = WebDriver::webkit().await else { return };
    let _emulator = log_in(&webkit, |builder| builder.insecure_cookie_name("session")).await;
    webkit.wait_for("document.body.innerText.includes('Hello alice')").await;
}

/// T154: the example blog.
#[tokio::test]
async fn example_blog_works_in_webkit() {
    let Some(webkit) = WebDriver::webkit().await else { return };
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    blog.register("alice").await;
    webkit.navigate(&blog.url).await;
    submit_login(&webkit).await;
    approve(&emulator).await;
    webkit.wait_for("document.title.startsWith('Timeline')").await;
    webkit.navigate(&blog.url).await;
    webkit.wait_for("document.title.startsWith('Timeline')").await;
}
