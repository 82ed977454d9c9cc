//! One browser that logs in and out, over and over.

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::routing::get;

use crate::support::{Browser, builder, serve, with_phones};

/// A browser that its user has logged in with before is not slowed down by that.
#[tokio::test]
async fn known_browser_logs_in_again_and_again() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    with_phones(&emulator, &ac, &["alice"]).await;
    let app = Router::new()
        .route("/", get(async || "Hello"))
        .layer(ac.layer())
        .nest("/auth", ac.routes());
    let browser = Browser::new(&serve(app).await);
    for _ in 0..13 {
        browser.log_in(&emulator, "alice").await;
        assert_eq!(browser.page("/").await.status(), 200);
        browser.form("/auth/logout", &[]).await;
    }
}
