//! A login by phone, an allowed request, and a remote logout.

use std::time::Duration;

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::routing::get;
use serde_json::json;
use tower_activeconnect::{ActiveSession, Activeconnect};

use crate::support::{
    Browser, approve, builder, enroll_users, location, pending_session, poll_until, serve,
};

fn app(ac: &Activeconnect) -> Router {
    Router::new()
        .route(
            "/",
            get(|session: ActiveSession| async move { format!("Hello {}", session.user()) }),
        )
        .route("/posts", get(async || "posts").post(async || "posted"))
        .layer(ac.layer())
        .nest("/auth", ac.routes())
}

async fn site() -> (Emulator, Activeconnect, String) {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice", "bob"]).await;
    let url = serve(app(&ac)).await;
    (emulator, ac, url)
}

#[tokio::test]
async fn script_login_ends_with_remote_logout() {
    let (emulator, _ac, url) = site().await;
    let browser = Browser::new(&url);
    assert_eq!(browser.status().await, "none");
    assert_eq!(browser.api("/").await.status(), 401);

    let started = browser.json("/auth/login", &json!({"username": "alice"})).await;
    assert_eq!(started.status(), 202);
    assert_eq!(started.text().await.unwrap(), r#"{"status":"pending"}"#);
    assert_eq!(browser.status().await, "pending");
    assert_eq!(browser.api("/").await.status(), 401);
    let session = approve(&emulator).await;
    poll_until("active", async || (browser.status().await == "active").then_some(())).await;
    assert_eq!(browser.cookie("__Host-activeconnect-attempt"), None);
    let hello = browser.api("/").await;
    assert_eq!(hello.status(), 200);
    assert_eq!(hello.headers()["cache-control"], "private");
    assert_eq!(hello.text().await.unwrap(), "Hello alice");

    emulator.act_on_session(&session.session_token, Action::WalkAway).unwrap();
    poll_until("suspended", async || (browser.api("/").await.status() == 403).then_some(())).await;
    assert_eq!(browser.status().await, "walkaway");
    emulator.act_on_session(&session.session_token, Action::Return).unwrap();
    poll_until("back", async || (browser.api("/").await.status() == 200).then_some(())).await;

    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    poll_until("the browser is denied", async || {
        (browser.api("/").await.status() == 401).then_some(())
    })
    .await;
    assert_eq!(browser.status().await, "closed");
    assert_eq!(browser.api("/").await.status(), 401);
}

#[tokio::test]
async fn browser_without_javascript_logs_in() {
    let (emulator, _ac, url) = site().await;
    let browser = Browser::new(&url);
    let sent_away = browser.page("/posts?page=2").await;
    assert_eq!(sent_away.status(), 303);
    assert_eq!(location(&sent_away), "/auth/login?next=/posts%3Fpage%3D2");
    let form = browser.page(location(&sent_away)).await;
    assert_eq!(form.status(), 200);
    assert!(form.text().await.unwrap().contains(r#"name="next" value="/posts?page=2""#));

    let fields = [("username", "alice"), ("next", "/posts?page=2")];
    let started_at = browser.form("/auth/login", &fields).await;
    let waiting = "/auth/waiting?next=/posts%3Fpage%3D2";
    assert_eq!((started_at.status().as_u16(), location(&started_at)), (303, waiting));
    let gated = browser.page("/posts").await;
    assert_eq!((gated.status().as_u16(), location(&gated)), (303, "/auth/waiting?next=/posts"));
    assert_eq!(browser.page(waiting).await.status(), 200);
    approve(&emulator).await;
    let target = poll_until("the result is claimed", async || {
        let page = browser.page(waiting).await;
        (page.status() == 303).then_some(page)
    })
    .await;
    assert_eq!(location(&target), waiting);
    assert_eq!(location(&browser.page(location(&target)).await), "/posts?page=2");
    assert_eq!(browser.page("/posts?page=2").await.status(), 200);

    let out = browser.form("/auth/logout", &[]).await;
    assert_eq!((out.status().as_u16(), location(&out)), (303, "/auth/login"));
    assert_eq!(browser.cookie("__Host-activeconnect"), None);
    assert_eq!(emulator.state().sessions[0].status.to_string(), "closed");
    assert_eq!(browser.page("/posts").await.status(), 303);
}

#[tokio::test]
async fn declined_login_is_denied() {
    let (emulator, _ac, url) = site().await;
    let browser = Browser::new(&url);
    browser.json("/auth/login", &json!({"username": "alice"})).await;
    let session = pending_session(&emulator).await;
    emulator.act_on_session(&session.session_token, Action::Cancel).unwrap();
    // The decline frees the username: the same browser starts again and logs in.
    assert_eq!(browser.status().await, "pending");
    assert_eq!(browser.api("/").await.status(), 401);
    browser.log_in(&emulator, "alice").await;
    assert_eq!(browser.api("/").await.status(), 200);
}

#[tokio::test]
async fn requests_add_no_polls() {
    let emulator = Emulator::start().await.unwrap();
    let interval = Duration::from_secs(1);
    let ac = builder(&emulator).poll_interval(interval).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let url = serve(app(&ac)).await;
    let browser = Browser::new(&url);
    browser.log_in(&emulator, "alice").await;
    let (started_at, before) = (std::time::Instant::now(), emulator.state().calls.status);
    for _ in 0..2_000 {
        assert_eq!(browser.api("/").await.status(), 200);
    }
    let max = started_at.elapsed().as_secs_f64() / (0.8 * interval.as_secs_f64()) + 2.0;
    let calls = emulator.state().calls.status - before;
    assert!(f64::from(u32::try_from(calls).unwrap()) <= max, "{calls} calls, {max} allowed");
}

/// T033: two tabs, or a repeated request, of the starting browser: one session.
#[tokio::test]
async fn result_makes_one_session() {
    let (emulator, ac, url) = site().await;
    let browser = Browser::new(&url);
    browser.json("/auth/login", &json!({"username": "alice"})).await;
    let attempt = browser.cookie("__Host-activeconnect-attempt").unwrap();
    approve(&emulator).await;
    poll_until("claimed", async || (browser.status().await == "active").then_some(())).await;
    let first = browser.cookie("__Host-activeconnect").unwrap();
    let again = async |path: &str| {
        let again = Browser::new(&url);
        again.set_cookie("__Host-activeconnect-attempt", &attempt);
        again.api(path).await;
        again.cookie("__Host-activeconnect")
    };
    for path in ["/auth/status", "/auth/waiting"] {
        assert_eq!(again(path).await.as_ref(), Some(&first), "{path}: the same response");
    }
    assert_eq!(ac.sessions(&"alice".into()).await.unwrap().len(), 1);
    // The browser presented the credential.
    assert_eq!(browser.api("/").await.status(), 200);
    for path in ["/auth/status", "/auth/waiting"] {
        assert_eq!(again(path).await, None, "{path}");
    }
    assert_eq!(browser.api("/").await.status(), 200);
}

/// T032: neither the username nor another attempt gives access to this attempt.
#[tokio::test]
async fn attempt_bound_to_browser() {
    let (emulator, _ac, url) = site().await;
    let browser = Browser::new(&url);
    browser.json("/auth/login", &json!({"username": "alice"})).await;
    approve(&emulator).await;
    let anonymous = Browser::new(&url);
    anonymous.json("/auth/login", &json!({"username": "nobody"})).await;
    anonymous.set_cookie("__Host-activeconnect-attempt", &"A".repeat(43));
    let polled = emulator.state().calls.status;
    poll_until("the approval is known", async || {
        (emulator.state().calls.status >= polled + 3).then_some(())
    })
    .await;
    assert_eq!(anonymous.status().await, "none");
    assert_eq!(anonymous.cookie("__Host-activeconnect"), None);
    assert_eq!(browser.status().await, "active");
}
