//! A case-insensitive token store: a user's id has several spellings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use activeconnect_emulator::SessionReport;
use tower_activeconnect::enrollment::EnrollmentError;
use tower_activeconnect::events::Limit;
use tower_activeconnect::login::LoginError;
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::session::LogoutOutcome;
use tower_activeconnect::store::{StoreError, StoreErrorKind};
use tower_activeconnect::{ActiveconnectBuilder, MemoryTokenStore, TokenStore, UserId, UserToken};

use super::fixture::{Fixture, KNOWN, start};
use crate::support::{pending_session, poll_until};

/// A store without epochs, which fails while the flag is set.
#[derive(Clone, Default)]
struct CaseBlind {
    table: Arc<MemoryTokenStore>,
    fails: Arc<AtomicBool>,
}

impl CaseBlind {
    fn key(&self, user: &UserId) -> Result<UserId, StoreError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::from_kind(StoreErrorKind::Unavailable));
        }
        Ok(user.as_str().to_lowercase().into())
    }
}

impl TokenStore for CaseBlind {
    async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        self.table.token(&self.key(user)?).await
    }

    async fn assign(&self, user: &UserId, token: &UserToken) -> Result<UserToken, StoreError> {
        self.table.assign(&self.key(user)?, token).await
    }

    async fn remove(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        self.table.remove(&self.key(user)?).await
    }
}

async fn fixture(
    configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
) -> (Fixture, CaseBlind) {
    let store = CaseBlind::default();
    let store_handle = store.clone();
    let with_store = |builder: ActiveconnectBuilder| configure(builder.token_store(store_handle));
    (Fixture::new(&["alice"], with_store).await, store)
}

fn status(site: &Fixture, session: &SessionReport) -> SessionStatus {
    let sessions = site.emulator.state().sessions;
    sessions.iter().find(|now| now.session_token == session.session_token).unwrap().status
}

/// F46: each way to end a user's sessions ends those under other spellings of the id.
#[tokio::test]
async fn all_spellings_of_a_user_end() {
    let [lower, upper] = ["alice", "ALICE"].map(UserId::from);
    for how in ["end_all_sessions", "lost_device", "unenroll"] {
        let (site, _) = fixture(|builder| builder).await;
        let browser = site.browser();
        let session = browser.log_in(&site.emulator, "ALICE").await;
        for user in [&lower, &upper] {
            let listed = site.ac.sessions(user).await.unwrap();
            assert_eq!(listed.len(), 1);
            assert_eq!(listed[0].user(), &upper, "with the typed spelling");
        }
        assert!(site.ac.sessions(&"bob".into()).await.unwrap().is_empty());
        match how {
            "end_all_sessions" => {
                let outcome = site.ac.end_all_sessions(&lower).await.unwrap();
                assert_eq!(outcome, LogoutOutcome::Confirmed);
            }
            "lost_device" => {
                let grant = site.ac.enrollment_grant(&lower).unwrap();
                site.ac.lost_device(&grant).await.unwrap();
            }
            _ => site.ac.unenroll(&lower).await.unwrap(),
        }
        assert_eq!(browser.api("/").await.status(), 401, "{how}");
        assert_eq!(status(&site, &session), SessionStatus::Closed, "{how}");
        assert!(site.ac.sessions(&upper).await.unwrap().is_empty(), "{how}");
    }
}

/// F46: logins that are pending under another spelling are aborted.
#[tokio::test]
async fn attempts_of_all_spellings_are_aborted() {
    let (site, _) = fixture(|builder| builder).await;
    let browser = site.browser();
    assert_eq!(start(&browser, "ALICE", "203.0.113.7").await.status(), 202);
    let session = pending_session(&site.emulator).await;
    site.ac.end_all_sessions(&"alice".into()).await.unwrap();
    poll_until("withdrawn", async || {
        (status(&site, &session) == SessionStatus::Closed).then_some(())
    })
    .await;
}

#[tokio::test]
async fn spellings_share_the_session_limit() {
    let (site, _) = fixture(|builder| builder.max_sessions_per_user(1)).await;
    site.browser().log_in(&site.emulator, "ALICE").await;
    let error = site.ac.log_in(&"alice".into()).await.unwrap_err();
    assert!(matches!(error, LoginError::LimitReached(Limit::SessionsPerUser)), "{error}");
    assert_eq!(site.push_count(), 1);
}

/// With a store without epochs, the process keeps them by the user's token.
#[tokio::test]
async fn browsers_of_all_spellings_are_forgotten() {
    let (site, _) = fixture(|builder| builder).await;
    let browser = site.browser();
    browser.log_in(&site.emulator, "ALICE").await;
    site.ac.end_all_sessions(&"alice".into()).forget_browsers().await.unwrap();
    assert_eq!(start(&browser, "ALICE", "203.0.113.7").await.status(), 202);
    for _ in 0..50 {
        assert_eq!((browser.status().await.as_str(), site.push_count()), ("pending", 1));
    }
}

/// F46: without the store, the sessions of exactly this id end, and the caller learns that there
/// may be others.
#[tokio::test]
async fn failing_store_does_not_prevent_ends() {
    let [lower, upper] = ["alice", "ALICE"].map(UserId::from);
    for unenrolls in [false, true] {
        let (site, store) = fixture(|builder| builder).await;
        let (browser, other) = (site.browser(), site.browser());
        browser.log_in(&site.emulator, "ALICE").await;
        other.set_cookie(KNOWN, &browser.cookie(KNOWN).unwrap());
        other.log_in(&site.emulator, "alice").await;
        store.fails.store(true, Ordering::SeqCst);
        if unenrolls {
            let error = site.ac.unenroll(&lower).await.unwrap_err();
            assert!(matches!(error, EnrollmentError::Store(_)), "{error}");
        } else {
            let error = site.ac.end_all_sessions(&lower).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        }
        assert_eq!(other.api("/").await.status(), 401);
        assert_eq!(browser.api("/").await.status(), 200, "the error is reported");
        assert!(site.ac.sessions(&lower).await.is_err());
        store.fails.store(false, Ordering::SeqCst);
        assert_eq!(site.ac.sessions(&lower).await.unwrap().len(), 1);
        site.ac.end_all_sessions(&lower).await.unwrap();
        assert_eq!(browser.api("/").await.status(), 401);
        assert!(site.ac.sessions(&upper).await.unwrap().is_empty());
    }
}
