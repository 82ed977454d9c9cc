//! All sessions of a user: changes of the token, and ending all sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::http::request::Parts;
use axum::routing::get;
use tower_activeconnect::session::LogoutOutcome;
use tower_activeconnect::store::StoreError;
use tower_activeconnect::{
    ActiveSession, Activeconnect, MemoryTokenStore, TokenStore, UserId, UserToken,
};

use crate::support::{Browser, advance, builder, enroll_users, poll_until, serve, session_of};

fn app(ac: &Activeconnect) -> Router {
    Router::new()
        .route("/", get(|s: ActiveSession| async move { s.user().to_string() }))
        .layer(ac.layer())
        .nest("/auth", ac.routes())
}

/// A token store that can hang.
struct UnreliableStore {
    table: Arc<MemoryTokenStore>,
    sulks: Arc<AtomicBool>,
}

impl TokenStore for UnreliableStore {
    async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        if self.sulks.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.table.token(user).await
    }

    async fn assign(&self, user: &UserId, token: &UserToken) -> Result<UserToken, StoreError> {
        self.table.assign(user, token).await
    }
}

struct Site {
    emulator: Emulator,
    table: Arc<MemoryTokenStore>,
    sulks: Arc<AtomicBool>,
    ac: Activeconnect,
    browser: Browser,
}

async fn site() -> Site {
    let emulator = Emulator::start().await.unwrap();
    let (table, sulks) = (Arc::new(MemoryTokenStore::new()), Arc::new(AtomicBool::new(false)));
    let store = UnreliableStore { table: table.clone(), sulks: sulks.clone() };
    let ac = builder(&emulator).poll_interval(Duration::from_secs(5)).token_store(store);
    let ac = ac.build().unwrap();
    enroll_users(&emulator, &ac, &["alice", "bob"]).await;
    let browser = Browser::new(&serve(app(&ac)).await);
    Site { emulator, table, sulks, ac, browser }
}

#[tokio::test]
async fn removed_token_ends_sessions_within_a_minute() {
    let site = site().await;
    site.browser.log_in(&site.emulator, "alice").await;
    let credential = site.browser.cookie("__Host-activeconnect").unwrap();
    let session = session_of(&site.ac, &credential).await;
    // A live session, which is polled continuously.
    let revoked = tokio::spawn(async move { session.revoked().await });
    site.table.remove(&"alice".into()).await.unwrap();
    advance(Duration::from_secs(70), Duration::from_secs(5)).await;
    assert!(revoked.is_finished());
    assert_eq!(site.browser.api("/").await.status(), 401);
    poll_until("ended there", async || {
        let sessions = site.emulator.state().sessions;
        sessions.iter().all(|s| s.status.to_string() == "closed").then_some(())
    })
    .await;
}

#[tokio::test]
async fn changed_token_denies_parked_session() {
    let site = site().await;
    site.browser.log_in(&site.emulator, "alice").await;
    advance(Duration::from_secs(130), Duration::from_secs(5)).await;
    site.table.remove(&"alice".into()).await.unwrap();
    site.table.assign(&"alice".into(), &UserToken::random().unwrap()).await.unwrap();
    assert_eq!(site.browser.api("/").await.status(), 401);
}

#[tokio::test]
async fn hanging_store_costs_only_availability() {
    let site = site().await;
    site.browser.log_in(&site.emulator, "alice").await;
    advance(Duration::from_secs(130), Duration::from_secs(5)).await;
    site.sulks.store(true, Ordering::SeqCst);
    assert_eq!(site.browser.api("/").await.status(), 503);
    assert!(site.browser.cookie("__Host-activeconnect").is_some());
    site.sulks.store(false, Ordering::SeqCst);
    poll_until("it answers again", async || {
        (site.browser.api("/").await.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn end_all_sessions_ends_only_that_users() {
    let site = site().await;
    let (alice, bob) = (UserId::from("alice"), UserId::from("bob"));
    let other = Browser::new(&serve(app(&site.ac)).await);
    site.browser.log_in(&site.emulator, "alice").await;
    // Another browser of alice, known from an earlier login.
    let known = "__Host-activeconnect-known";
    other.set_cookie(known, &site.browser.cookie(known).unwrap());
    other.log_in(&site.emulator, "alice").await;
    let third = Browser::new(&serve(app(&site.ac)).await);
    third.log_in(&site.emulator, "bob").await;
    assert_eq!(
        (
            site.ac.sessions(&alice).await.unwrap().len(),
            site.ac.sessions(&bob).await.unwrap().len()
        ),
        (2, 1)
    );
    assert_eq!(site.ac.end_all_sessions(&alice).await.unwrap(), LogoutOutcome::Confirmed);
    assert_eq!(
        (
            site.ac.sessions(&alice).await.unwrap().len(),
            site.ac.sessions(&bob).await.unwrap().len()
        ),
        (0, 1)
    );
    assert_eq!(site.browser.api("/").await.status(), 401);
    assert_eq!(other.api("/").await.status(), 401);
    assert_eq!(third.api("/").await.status(), 200);
}

#[tokio::test]
async fn any_user_session_allows_if_configured() {
    let site = site().await;
    let ac = site.ac.with_user_resolver(|parts: &Parts| {
        parts.headers.get("x-peer").map(|peer| UserId::from(peer.to_str().unwrap()))
    });
    let app = Router::new()
        .route("/any", get(|s: ActiveSession| async move { s.user().to_string() }))
        .layer(ac.layer().allow_any_user_session())
        .merge(Router::new().route("/own", get(async || "own")).layer(ac.layer()));
    let url = serve(app).await;
    let session = site.browser.log_in(&site.emulator, "alice").await;
    let service = Browser::new(&url);
    let ask = async |path: &str, peer: &str| {
        service.send(service.get(path).header("x-peer", peer)).await.status().as_u16()
    };
    assert_eq!(ask("/any", "alice").await, 200);
    assert_eq!(ask("/any", "bob").await, 401);
    assert_eq!(ask("/own", "alice").await, 401);
    site.emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    poll_until("ended", async || {
        advance(Duration::from_secs(1), Duration::from_secs(1)).await;
        (ask("/any", "alice").await == 401).then_some(())
    })
    .await;
}
