//! Credentials of other systems: another layer's bearer tokens, and cookies with the gate's name.

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::routing::get;
use reqwest::header::{AUTHORIZATION, COOKIE};
use serde_json::{Value, json};
use tower_activeconnect::{ActiveSession, Activeconnect};

use crate::support::{Browser, approve, builder, enroll_users, poll_until, serve};

const SESSION: &str = "__Host-activeconnect";
/// Values with the length and characters of a credential.
const FOREIGN: [&str; 2] =
    ["kJ8s2-Qw_7zR4tYp0LmN6vBx1CdF3gHj5KaSeUiOoPE", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"];

struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    url: String,
}

impl Site {
    async fn new() -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).build().unwrap();
        enroll_users(&emulator, &ac, &["alice", "bob"]).await;
        let app = Router::new()
            .route("/", get(|session: ActiveSession| async move { session.user().to_string() }))
            .layer(ac.layer())
            .nest("/auth", ac.routes());
        let url = serve(app).await;
        Self { emulator, ac, url }
    }

    async fn credential(&self, user: &str) -> String {
        let browser = Browser::new(&self.url);
        browser.log_in(&self.emulator, user).await;
        browser.cookie(SESSION).unwrap()
    }

    /// Gets `path` with these cookies of the gate's name and these bearer tokens.
    async fn get(&self, path: &str, cookies: &[&str], bearers: &[&str]) -> reqwest::Response {
        let mut request = reqwest::Client::new().get(format!("{}{path}", self.url));
        for value in cookies {
            request = request.header(COOKIE, format!("{SESSION}={value}"));
        }
        for value in bearers {
            request = request.header(AUTHORIZATION, format!("Bearer {value}"));
        }
        request.send().await.unwrap()
    }
}

/// T182: a value that does not verify belongs to another layer and is ignored.
#[tokio::test]
async fn foreign_bearer_beside_the_cookie_is_ignored() {
    let site = Site::new().await;
    let alice = site.credential("alice").await;
    let alice = alice.as_str();
    for foreign in FOREIGN {
        for (cookies, bearers) in [
            (&[alice][..], &[foreign][..]),
            (&[alice], &[foreign, foreign]),
            (&[alice], &FOREIGN),
            (&[foreign, alice], &[]),
            (&[alice, foreign], &[FOREIGN[0], alice]),
            (&[foreign], &[alice]),
            (&[""], &[alice]),
        ] {
            let page = site.get("/", cookies, bearers).await;
            assert_eq!(page.text().await.unwrap(), "alice", "{cookies:?} {bearers:?}");
            let status: Value =
                site.get("/auth/status", cookies, bearers).await.json().await.unwrap();
            assert_eq!(status["status"], "active", "{cookies:?} {bearers:?}");
        }
        assert_eq!(site.get("/", &[], &[foreign]).await.status(), 401);
        assert_eq!(site.get("/", &[foreign], &FOREIGN).await.status(), 401);
    }
}

/// T182: two different valid credentials are ambiguous and rejected, for active and ended sessions.
#[tokio::test]
async fn two_credentials_of_ours_are_rejected() {
    let site = Site::new().await;
    let (alice, bob) = (site.credential("alice").await, site.credential("bob").await);
    let (alice, bob) = (alice.as_str(), bob.as_str());
    let rejected = async |cookies: &[&str], bearers: &[&str]| {
        let response = site.get("/", cookies, bearers).await;
        assert_eq!(response.status(), 401, "{cookies:?} {bearers:?}");
        let actual: Value = response.json().await.unwrap();
        assert_eq!(actual["denial"], "no-session");
    };
    for live in [true, false] {
        rejected(&[alice], &[bob]).await;
        rejected(&[alice, bob], &[]).await;
        rejected(&[], &[bob, alice]).await;
        rejected(&[alice, FOREIGN[0]], &[bob]).await;
        let equal = site.get("/", &[alice, alice], &[alice]).await;
        assert_eq!(equal.text().await.unwrap(), "alice");
        if live {
            site.ac.end_all_sessions(&"bob".into()).await.unwrap();
        }
    }
}

/// T182: a confirmation with another system's bearer token gets a cookie credential.
#[tokio::test]
async fn foreign_bearer_gets_cookie_credential() {
    let site = Site::new().await;
    let browser = Browser::new(&site.url);
    browser.log_in(&site.emulator, "alice").await;
    let confirm = browser.post("/auth/confirm").bearer_auth(FOREIGN[0]).json(&json!({}));
    let confirm = browser.send(confirm).await;
    assert_eq!(confirm.status(), 202);
    assert_eq!(confirm.text().await.unwrap(), r#"{"status":"pending"}"#);
    let before = browser.cookie(SESSION).unwrap();
    approve(&site.emulator).await;
    let claimed = async || {
        let status = browser.get("/auth/status").bearer_auth(FOREIGN[0]);
        browser.send(status).await;
        browser.cookie(SESSION).filter(|now| *now != before)
    };
    poll_until("the confirmed session replaces the one before", claimed).await;
    assert_eq!(browser.api("/").await.text().await.unwrap(), "alice");
}
