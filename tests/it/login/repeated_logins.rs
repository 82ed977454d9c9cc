//! One browser that logs in and out repeatedly.

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::routing::get;

use crate::support::{Browser, builder, enroll_users, serve};

/// A known browser is not rate-limited by its own logins.
#[tokio::test]
async fn known_browser_logs_in_repeatedly() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
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
