//! WebKit takes no `Secure` cookie on plain http, not on the loopback either.

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::routing::get;
use tower_activeconnect::{ActiveSession, ActiveconnectBuilder};

use crate::support::blog::Blog;
use crate::support::webdriver::WebDriver;
use crate::support::{approve, builder, serve, with_phones};

/// The service of a site in WebKit at which alice has begun to log in and has approved.
async fn log_in(
    webkit: &WebDriver,
    configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
) -> Emulator {
    let emulator = Emulator::start().await.unwrap();
    let ac = configure(builder(&emulator)).build().unwrap();
    with_phones(&emulator, &ac, &["alice"]).await;
    let hello = async |session: ActiveSession| format!("Hello {}", session.user());
    let app = Router::new().route("/", get(hello)).layer(ac.layer()).nest("/auth", ac.routes());
    webkit.go(&serve(app).await).await;
    submit_login(webkit).await;
    approve(&emulator).await;
    emulator
}

async fn submit_login(webkit: &WebDriver) {
    webkit.until("!!document.querySelector('[name=username]')").await;
    webkit.eval("document.querySelector('[name=username]').value = 'alice'").await;
    webkit.eval("document.querySelector('main form button, form button').click()").await;
}

/// T154: the page says why, and what the application can do.
#[tokio::test]
async fn refused_secure_cookie_is_explained() {
    let Some(webkit) = WebDriver::webkit().await else { return };
    let _emulator = log_in(&webkit, |builder| builder).await;
    webkit.until("document.body.innerText.includes('insecure_cookie_name')").await;
    let text = webkit.text().await;
    assert!(text.contains("No login waits here"), "{text}");
    assert!(text.contains("WebKit"), "{text}");
}

/// T154: the way out that the documentation names.
#[tokio::test]
async fn insecure_cookie_name_works_on_the_loopback() {
    let Some(webkit) = WebDriver::webkit().await else { return };
    let _emulator = log_in(&webkit, |builder| builder.insecure_cookie_name("session")).await;
    webkit.until("document.body.innerText.includes('Hello alice')").await;
}

/// T154: the example that everybody starts with.
#[tokio::test]
async fn example_blog_works_in_webkit() {
    let Some(webkit) = WebDriver::webkit().await else { return };
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    blog.register("alice").await;
    webkit.go(&blog.url).await;
    submit_login(&webkit).await;
    approve(&emulator).await;
    webkit.until("document.title.startsWith('Timeline')").await;
    webkit.go(&blog.url).await;
    webkit.until("document.title.startsWith('Timeline')").await;
}
